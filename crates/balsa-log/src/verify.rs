//! Everything that is damaged in a directory, and what is lost by it, where an open ends at the first thing. Nothing is
//! changed, and nothing is believed: the data file is read page by page, and mapped only when it was found sound.

use std::path::{Path, PathBuf};

use crate::directory::{self, Contents};
use crate::error::Error;
use crate::filesystem;
use crate::journal::{Journal, JournalRow, segment_name};
use crate::lmdb::{self, ENGINE, Surveyed};
use crate::lock::DirectoryLock;
use crate::opening;
use crate::store::Options;

/// A report stays readable, and short whatever a disk has done; what is beyond it is counted.
pub const FINDINGS_MAX: usize = 256;

/// What is lost by damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing that the store still needs.
    Nothing,
    /// Entries: what of them was committed, other servers have too.
    Log,
    /// What no other server has, or perhaps that: the vote, the term, facts, what the store is known by.
    State,
}

/// One thing that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Where.
    pub file: PathBuf,
    /// The broken rule.
    pub detail: String,
    /// What it costs.
    pub loss: Loss,
    /// First and last entry that it costs; no last one where nobody knows how far it reaches.
    pub entries: Option<(u64, Option<u64>)>,
}

/// Bounded by [`FINDINGS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    left_off: u64,
}

impl Findings {
    /// Answers with its place; `None` when it was only counted.
    pub(crate) fn add(
        &mut self,
        file: &Path,
        detail: &str,
        loss: Loss,
        entries: Option<(u64, Option<u64>)>,
    ) -> Option<usize> {
        if self.list.len() == FINDINGS_MAX {
            self.left_off += 1;
            return None;
        }
        self.list.push(Finding { file: file.to_owned(), detail: detail.to_owned(), loss, entries });
        Some(self.list.len() - 1)
    }

    /// It costs no entry behind this one.
    pub(crate) fn end_at(&mut self, at: usize, last: u64) {
        if let Some(finding) = self.list.get_mut(at)
            && let Some((first, end)) = &mut finding.entries
        {
            if last >= *first {
                *end = Some(last);
            } else {
                finding.entries = None;
            }
        }
    }

    /// Entries below `first` are not of the log any more: a compaction has left them behind.
    pub(crate) fn forget_before(&mut self, file: &Path, first: u64) {
        for finding in self.list.iter_mut().filter(|finding| finding.file == file) {
            finding.entries = match finding.entries {
                Some((_, Some(last))) if last < first => None,
                Some((begin, last)) => Some((begin.max(first), last)),
                None => None,
            };
            if finding.loss == Loss::Log && finding.entries.is_none() {
                finding.loss = Loss::Nothing;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What a verification has found; what is damaged is missing from what is told of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// At most [`FINDINGS_MAX`], in the order of the log.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub left_off: u64,
    /// The first entry that the log keeps.
    pub first: Option<u64>,
    /// The last one, those in the journal included where everything is sound.
    pub last: Option<u64>,
    /// Bytes of rows that are intact.
    pub bytes: u64,
    /// The payload of the newest configuration that LMDB holds.
    pub configuration: Option<Vec<u8>>,
    /// Of the snapshot on which the log stands.
    pub snapshot_id: Option<[u8; 16]>,
    /// Whose folder it is.
    pub server_id: Option<String>,
}

/// Reads every page, row and batch in `dir` under its lock; `None` where there is no store. Damage is what it answers
/// with; an error is anything else that refuses an open.
pub fn verify(dir: &Path, options: &Options) -> Result<Option<Verification>, Error> {
    if !dir.exists() {
        return Ok(None);
    }
    filesystem::inspect(dir, options.allow_remote)?;
    if let Contents::Nothing = directory::inspect(dir, options.mode.engines())? {
        return Ok(None);
    }
    let _lock = DirectoryLock::acquire(dir)?;
    let mut findings = Findings::default();
    let mut found = lmdb::survey(dir, &mut findings)?;
    if let Some(version) = found.version()
        && version != ENGINE.version
    {
        return Err(ENGINE.wrong_version(dir, version));
    }
    if let Some(row) = found.unread_journal() {
        verify_journal(dir, &row, &found, &mut findings)?;
    }
    // Whether all of it fits together is what an open asks.
    if findings.is_empty() {
        match opening::look(dir, options).and_then(|looked| opening::last_of(&looked)) {
            Ok(last) => found.last = Some(last),
            Err(error) => damage(error, &mut findings, Loss::State, None)?,
        }
    }
    let Surveyed { first, last, bytes, configuration, snapshot_id, server_id, .. } = found;
    let Findings { list: findings, left_off } = findings;
    Ok(Some(Verification { findings, left_off, first, last, bytes, configuration, snapshot_id, server_id }))
}

/// The segments behind a store that was not closed. They hold votes and facts as well as entries.
fn verify_journal(dir: &Path, row: &JournalRow, found: &Surveyed, findings: &mut Findings) -> Result<(), Error> {
    let entries = found.last.map(|last| (last.saturating_add(1), None));
    let mut is_there = true;
    for number in 1..=row.segments {
        let path = dir.join(segment_name(number));
        let detail = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() == u64::from(row.segment_bytes) => continue,
            Ok(metadata) => format!("the file has {} bytes instead of {}", metadata.len(), row.segment_bytes),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                "the file is missing, and the store was not closed".to_owned()
            }
            Err(cause) => return Err(Error::io(format!("reading {}", path.display()), cause)),
        };
        findings.add(&path, &detail, Loss::State, entries);
        is_there = false;
    }
    match Journal::recover(dir, row) {
        Err(error) if is_there => damage(error, findings, Loss::State, entries),
        _ => Ok(()),
    }
}

fn damage(error: Error, findings: &mut Findings, loss: Loss, entries: Option<(u64, Option<u64>)>) -> Result<(), Error> {
    let Error::Corrupt { file, index, detail } = error else { return Err(error) };
    findings.add(&file, &detail, loss, index.map(|index| (index, None)).or(entries));
    Ok(())
}
