//! Everything that is damaged in a data file, and what of it is lost: the walk of an audit that goes on behind each flaw,
//! and every row that can be reached held against its checksums. The file is read as any other, and never mapped.

use std::path::Path;

use super::DATA_FILE;
use super::audit::{Unreached, Witness, survey as survey_pages};
use super::rows::{self, LogRow, StoreRow};
use crate::error::Error;
use crate::format::block::{self, Depth};
use crate::format::{Damage, GROUP, length};
use crate::journal::JournalRow;
use crate::verify::{Findings, Loss};

/// The fact that says whose folder it is.
const SERVER_ID_FACT: &str = "serverId";

/// What a survey has found besides damage; what is damaged is missing from it.
#[derive(Default)]
pub(crate) struct Surveyed {
    store: Option<StoreRow>,
    journal: Option<JournalRow>,
    /// Bounds of the log.
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
    /// Bytes of rows that are intact.
    pub(crate) bytes: u64,
    /// The payload of the newest configuration.
    pub(crate) configuration: Option<Vec<u8>>,
    /// Of the snapshot on which the log stands.
    pub(crate) snapshot_id: Option<[u8; 16]>,
    /// Whose folder it is.
    pub(crate) server_id: Option<String>,
}

impl Surveyed {
    /// Of the format.
    pub(crate) fn version(&self) -> Option<u32> {
        self.store.as_ref().map(|row| row.version)
    }

    /// Of a journal that an open would read: behind an orderly close nobody does.
    pub(crate) fn unread_journal(&self) -> Option<JournalRow> {
        self.journal.filter(|_| self.store.as_ref().is_none_or(|row| !row.clean))
    }
}

/// Looks at every page and every row of the data file in `dir`, whose lock is held. An error is one of the system.
pub(crate) fn survey(dir: &Path, findings: &mut Findings) -> Result<Surveyed, Error> {
    let file = dir.join(DATA_FILE);
    if std::fs::metadata(&file).map_or(0, |metadata| metadata.len()) == 0 {
        findings.add(&file, "the file is missing or empty", Loss::State, Some((1, None)));
        return Ok(Surveyed::default());
    }
    let (found, log, newest) = (Surveyed::default(), None, None);
    let mut surveyor =
        Surveyor { file: &file, findings, found, log, next: 1, newest, open_end: None, is_open: false, is_whole: true };
    survey_pages(&file, &mut surveyor)?;
    Ok(surveyor.end())
}

struct Surveyor<'a> {
    file: &'a Path,
    findings: &'a mut Findings,
    found: Surveyed,
    log: Option<LogRow>,
    /// The entry that the next block must begin with; rises with each block.
    next: u64,
    /// The last entry of an intact block.
    newest: Option<u64>,
    /// The finding that takes in every entry up to the next block.
    open_end: Option<usize>,
    /// Whether there is one, also where it was only counted.
    is_open: bool,
    /// Whether every row was reached.
    is_whole: bool,
}

impl Witness for Surveyor<'_> {
    fn flaw(&mut self, detail: &'static str, unreached: Unreached<'_>) {
        match unreached {
            Unreached::Nothing => self.add(detail, Loss::Nothing, None),
            Unreached::Unknown => self.add(detail, Loss::State, None),
            Unreached::Rows(low, high) => {
                self.is_whole = false;
                let Some(first) = rows::block_first(low) else {
                    let has_blocks = high.is_none_or(|high| rows::block_first(high).is_some());
                    self.add(detail, Loss::State, has_blocks.then_some((self.next, None)));
                    return;
                };
                self.close_end(first);
                self.lost_entries(detail, first);
            }
        }
    }

    fn row(&mut self, key: &[u8], value: &[u8]) {
        let read = match rows::block_first(key) {
            Some(first) => return self.block(first, key, value),
            None => self.small_row(key, value),
        };
        match read {
            Ok(()) => self.found.bytes += length(value),
            Err(damage) => self.add(damage.detail, Loss::State, None),
        }
    }
}

impl Surveyor<'_> {
    fn add(&mut self, detail: &str, loss: Loss, entries: Option<(u64, Option<u64>)>) {
        let at = self.findings.add(self.file, detail, loss, entries);
        if let Some((_, None)) = entries {
            (self.open_end, self.is_open) = (at, true);
        }
    }

    /// Entries from `first` up to the next block; of a log that was compacted, what stayed behind is no loss.
    fn lost_entries(&mut self, detail: &str, first: u64) {
        // One finding after the other: what was lost before ends here.
        self.add(detail, Loss::Log, Some((first, None)));
    }

    fn close_end(&mut self, next: u64) {
        self.is_open = false;
        if let Some(at) = self.open_end.take() {
            self.findings.end_at(at, next.saturating_sub(1));
        }
        self.next = self.next.max(next);
    }

    fn block(&mut self, first: u64, key: &[u8], value: &[u8]) {
        let checked = rows::decode_block(key, value).and_then(|row| block::check(row.block, Depth::Records));
        let checked = checked.and_then(|info| {
            if info.first == first && info.group == GROUP {
                Ok(info)
            } else {
                Err(Damage::new("a block stands under a key that is not its own"))
            }
        });
        let expected = self.next;
        let is_told = self.is_open;
        self.close_end(first);
        let begin = self.log.as_ref().map_or(expected, |log| log.first.max(expected));
        if first > begin && !is_told && (self.newest.is_some() || self.log.is_some()) {
            self.add("entries are missing", Loss::Log, Some((begin, Some(first - 1))));
        }
        match checked {
            Ok(info) => {
                self.found.bytes += length(value);
                self.next = info.last.saturating_add(1);
                self.newest = Some(info.last);
            }
            Err(damage) => {
                self.next = first;
                self.lost_entries(damage.detail, first);
            }
        }
    }

    /// Any row that is no block.
    fn small_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damage> {
        if !rows::is_key(key) {
            return Err(Damage::new("a row has a key that no row has"));
        }
        if key == rows::STORE_KEY {
            self.found.store = Some(StoreRow::decode(value)?);
        } else if key == rows::JOURNAL_KEY {
            self.found.journal = Some(rows::decode_journal(value)?);
        } else if key == rows::log_key(GROUP) {
            self.log = Some(LogRow::decode(key, value)?);
        } else if key == rows::snapshot_key(GROUP) {
            let (_, snapshot) = rows::decode_snapshot(key, value)?;
            self.found.configuration = Some(snapshot.configuration.to_vec());
            self.found.snapshot_id = Some(snapshot.id);
        } else if key == rows::configurations_key(GROUP) {
            let newest = rows::decode_configurations(key, value)?.pop();
            self.found.configuration = newest.map(|(_, payload)| payload).or(self.found.configuration.take());
        } else if key.starts_with(&rows::terms_prefix(GROUP)) {
            rows::decode_term(key, value)?;
        } else {
            let value = rows::without_crc(key, value)?;
            let name = rows::fact_name(key).ok_or_else(|| Damage::new("the name of a fact is not UTF-8"))?;
            if name == SERVER_ID_FACT {
                self.found.server_id = std::str::from_utf8(value).ok().map(ToOwned::to_owned);
            }
        }
        Ok(())
    }

    /// What must be there, and is not; and where the log ends.
    fn end(mut self) -> Surveyed {
        if self.is_whole && self.found.store.is_none() && self.findings.is_empty() {
            self.add("the row of the store is missing", Loss::State, None);
        }
        if self.is_whole && self.log.is_none() && self.findings.is_empty() {
            self.add("the row of the log is missing", Loss::State, None);
        }
        let said = self.log.as_ref().map(|log| (log.first, log.last));
        if let Some((first, last)) = said {
            let begin = self.next.max(first);
            if last >= begin && !self.is_open {
                self.add("the last entries are missing", Loss::Log, Some((begin, Some(last))));
            }
            self.close_end(last.saturating_add(1).max(self.next));
            self.findings.forget_before(self.file, first);
            self.found.first = Some(first);
        }
        self.found.last = said.map(|(_, last)| last).max(self.newest);
        self.found
    }
}
