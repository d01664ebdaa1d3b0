//! The bytes of the rows of the tree (docs/storage-format.md, LMDB). Nothing outside this file knows an offset in a row
//! or a byte of a key.
//!
//! LMDB's pages carry no checksum, so each row ends with its own: a CRC over key, then value. The block in a block row
//! carries that of the block besides.

use crate::format::snapshot::{SNAPSHOT_BYTES, Snapshot};
use crate::format::{Damage, GROUP, block, read_size, read_u32, read_u64, read_u64_be};
use crate::journal::{JournalRow, Position};
use crate::log::{HardState, Log, TermRun};

/// The version that this build writes, and the only one that it reads.
pub(super) const FORMAT_VERSION: u32 = 2;

// The first byte of a key names the kind of its row. Blocks stand last: a new one is then always the last row of the
// tree.
const SNAPSHOT: u8 = 0;
const STORE: u8 = 1;
const LOG: u8 = 2;
const CONFIGURATIONS: u8 = 3;
const TERM: u8 = 4;
const FACT: u8 = 5;
const BLOCK: u8 = 6;

/// Key of the row of the store.
pub(super) const STORE_KEY: &[u8] = &[STORE];

/// Key of the row of the journal.
pub(super) const JOURNAL_KEY: &[u8] = &[STORE, 1];

/// `kind | group u64 BE | position u64 BE`: the key of a block and of a term run.
pub(super) type PositionKey = [u8; 17];

fn position_key(kind: u8, group: u64, position: u64) -> PositionKey {
    let mut key = [kind; 17];
    let (_, numbers) = key.split_at_mut(1);
    let (high, low) = numbers.split_at_mut(8);
    high.copy_from_slice(&group.to_be_bytes());
    low.copy_from_slice(&position.to_be_bytes());
    key
}

/// The key of the block that begins at `first`.
pub(super) fn block_key(group: u64, first: u64) -> PositionKey {
    position_key(BLOCK, group, first)
}

/// The key of the term run that begins at `first`.
pub(super) fn term_key(group: u64, first: u64) -> PositionKey {
    position_key(TERM, group, first)
}

/// The first index of the block under this key; `None` when it is no key of a block.
pub(super) fn block_first(key: &[u8]) -> Option<u64> {
    if key.len() == 17 && key.first() == Some(&BLOCK) { read_u64_be(key, 9) } else { None }
}

/// Whether a row can have this key. What has another one stands where nobody looks for it.
pub(super) fn is_key(key: &[u8]) -> bool {
    let Some((kind, rest)) = key.split_first() else { return false };
    let of_group = rest.split_at_checked(8).filter(|(group, _)| **group == GROUP.to_be_bytes()).map(|(_, rest)| rest);
    match (*kind, of_group) {
        (STORE, _) => [STORE_KEY, JOURNAL_KEY].contains(&key),
        (SNAPSHOT | LOG | CONFIGURATIONS, Some(rest)) => rest.is_empty(),
        (TERM | BLOCK, Some(rest)) => rest.len() == 8,
        (FACT, Some(rest)) => !rest.is_empty(),
        _ => false,
    }
}

fn group_key(kind: u8, group: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&group.to_be_bytes());
    key
}

pub(super) fn log_key(group: u64) -> Vec<u8> {
    group_key(LOG, group)
}

pub(super) fn snapshot_key(group: u64) -> Vec<u8> {
    group_key(SNAPSHOT, group)
}

pub(super) fn configurations_key(group: u64) -> Vec<u8> {
    group_key(CONFIGURATIONS, group)
}

/// What every key of a term run of the group begins with.
pub(super) fn terms_prefix(group: u64) -> Vec<u8> {
    group_key(TERM, group)
}

/// What every key of a fact of the group begins with.
pub(super) fn facts_prefix(group: u64) -> Vec<u8> {
    group_key(FACT, group)
}

pub(super) fn fact_key(group: u64, name: &str) -> Vec<u8> {
    let mut key = facts_prefix(group);
    key.extend_from_slice(name.as_bytes());
    key
}

pub(super) fn fact_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(9..)?).ok()
}

/// Bytes of a block row behind its block.
const BLOCK_TRAILER_BYTES: usize = 12;

/// Fills `row` with the row of a block: the block, then the commit index known when it was written. A group commit that
/// only appends thus writes no other row, and a page less.
pub(super) fn encode_block(row: &mut Vec<u8>, key: &[u8], block: &[u8], commit: u64) {
    let commit = commit.to_le_bytes();
    row.clear();
    row.extend_from_slice(block);
    row.extend_from_slice(&commit);
    row.extend_from_slice(&crc(key, &commit).to_le_bytes());
}

/// The row of a block. The block itself is not checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockRow<'a> {
    pub(super) block: &'a [u8],
    /// The commit index that was known when the row was written.
    pub(super) commit: u64,
}

pub(super) fn decode_block<'a>(key: &[u8], row: &'a [u8]) -> Result<BlockRow<'a>, Damage> {
    let at = row.len().checked_sub(BLOCK_TRAILER_BYTES);
    let (block, trailer) = at.and_then(|at| row.split_at_checked(at)).ok_or(SHORT_ROW)?;
    let commit = read_u64(without_crc(key, trailer)?, 0).ok_or(SHORT_ROW)?;
    Ok(BlockRow { block, commit })
}

/// The index of the last entry of a block row, without a look at the entries.
pub(super) fn block_row_last(row: &[u8]) -> Option<u64> {
    block::last_index(row.get(..row.len().checked_sub(BLOCK_TRAILER_BYTES)?)?)
}

fn crc(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

/// Closes a row.
pub(super) fn with_crc(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    value.extend_from_slice(&crc(key, &value).to_le_bytes());
    value
}

/// Checks a row and returns its value.
pub(super) fn without_crc<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (value, sealed) = row.len().checked_sub(4).and_then(|end| row.split_at_checked(end)).ok_or(SHORT_ROW)?;
    if read_u32(sealed, 0) == Some(crc(key, value)) {
        Ok(value)
    } else {
        Err(Damage::new("the checksum of a row is wrong"))
    }
}

const SHORT_ROW: Damage = Damage { index: None, detail: "a row is cut short" };

/// The row of the store itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoreRow {
    /// Of the format; written once, by the creation.
    pub(super) version: u32,
    /// Set by an orderly close, cleared by open.
    pub(super) clean: bool,
    /// Grows by one at each open; 0 only before the first.
    pub(super) boot_counter: u64,
    /// Names these files; drawn by the creation.
    pub(super) uuid: [u8; 16],
    /// Names this store to its peers; drawn by the creation.
    pub(super) incarnation: [u8; 16],
}

impl StoreRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = self.version.to_le_bytes().to_vec();
        row.extend_from_slice(&u32::from(self.clean).to_le_bytes());
        row.extend_from_slice(&self.boot_counter.to_le_bytes());
        row.extend_from_slice(&self.uuid);
        row.extend_from_slice(&self.incarnation);
        with_crc(STORE_KEY, row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Damage> {
        let value = without_crc(STORE_KEY, row)?;
        let fields = || {
            Some(Self {
                version: read_u32(value, 0)?,
                clean: read_u32(value, 4)? & 1 == 1,
                boot_counter: read_u64(value, 8)?,
                uuid: value.get(16..32)?.try_into().ok()?,
                incarnation: value.get(32..48)?.try_into().ok()?,
            })
        };
        fields().ok_or(SHORT_ROW)
    }
}

/// The row of the journal in front of this home.
pub(super) fn encode_journal(row: &JournalRow) -> Vec<u8> {
    let JournalRow { salt, position: Position { sequence, crc }, segments, segment_bytes } = row;
    let mut value = salt.to_le_bytes().to_vec();
    value.extend_from_slice(&sequence.to_le_bytes());
    for number in [crc, segments, segment_bytes] {
        value.extend_from_slice(&number.to_le_bytes());
    }
    with_crc(JOURNAL_KEY, value)
}

pub(super) fn decode_journal(row: &[u8]) -> Result<JournalRow, Damage> {
    let value = without_crc(JOURNAL_KEY, row)?;
    let fields = || {
        Some(JournalRow {
            salt: read_u64(value, 0)?,
            position: Position { sequence: read_u64(value, 8)?, crc: read_u32(value, 16)? },
            segments: read_u32(value, 20)?,
            segment_bytes: read_u32(value, 24)?,
        })
    };
    fields().ok_or(SHORT_ROW)
}

/// The row of one group: bounds of its log and hard state, as they were when the row was written. Blocks behind `last`
/// came later, with nothing but appends between, and the row of the last one has the newer commit index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogRow {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) hard_state: HardState,
}

impl LogRow {
    /// What the row says of a log.
    pub(super) fn of(log: &Log) -> Self {
        Self { first: log.first, last: log.last, hard_state: log.hard_state.clone() }
    }

    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut row = self.first.to_le_bytes().to_vec();
        row.extend_from_slice(&self.last.to_le_bytes());
        row.extend_from_slice(&self.hard_state.term.to_le_bytes());
        row.extend_from_slice(&self.hard_state.commit.to_le_bytes());
        row.extend_from_slice(self.hard_state.voted_for.as_deref().unwrap_or_default().as_bytes());
        with_crc(key, row)
    }

    pub(super) fn decode(key: &[u8], row: &[u8]) -> Result<Self, Damage> {
        let value = without_crc(key, row)?;
        let fields = || {
            let id = std::str::from_utf8(value.get(32..)?).ok()?;
            Some(Self {
                first: read_u64(value, 0)?,
                last: read_u64(value, 8)?,
                hard_state: HardState {
                    term: read_u64(value, 16)?,
                    commit: read_u64(value, 24)?,
                    voted_for: if id.is_empty() { None } else { Some(id.to_owned()) },
                },
            })
        };
        fields().ok_or(SHORT_ROW)
    }
}

/// The row of the snapshot on which the log stands, and the term of the entry before `first`.
pub(super) fn encode_snapshot(key: &[u8], prev_term: u64, snapshot: &Snapshot<&[u8]>) -> Vec<u8> {
    let mut row = prev_term.to_le_bytes().to_vec();
    snapshot.write(&mut row);
    row.extend_from_slice(snapshot.configuration);
    with_crc(key, row)
}

pub(super) fn decode_snapshot<'a>(key: &[u8], row: &'a [u8]) -> Result<(u64, Snapshot<&'a [u8]>), Damage> {
    let value = without_crc(key, row)?;
    let (prev_term, rest) = read_u64(value, 0).zip(value.get(8..)).ok_or(SHORT_ROW)?;
    let configuration = rest.get(SNAPSHOT_BYTES..).ok_or(SHORT_ROW)?;
    Ok((prev_term, Snapshot::read(rest, 0, configuration)?))
}

/// The row of one term run; its key holds where the run begins.
pub(super) fn encode_term(key: &[u8], term: u64) -> Vec<u8> {
    with_crc(key, term.to_le_bytes().to_vec())
}

pub(super) fn decode_term(key: &[u8], row: &[u8]) -> Result<TermRun, Damage> {
    let value = without_crc(key, row)?;
    let run = || Some(TermRun { first: read_u64_be(key, 9)?, term: read_u64(value, 0)? });
    run().ok_or(SHORT_ROW)
}

/// The ordered list of the configuration entries of one group.
pub(super) fn encode_configurations(key: &[u8], list: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut row = Vec::new();
    for (index, payload) in list {
        row.extend_from_slice(&index.to_le_bytes());
        row.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        row.extend_from_slice(payload);
    }
    with_crc(key, row)
}

pub(super) fn decode_configurations(key: &[u8], row: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, Damage> {
    let mut rest = without_crc(key, row)?;
    let mut list = Vec::new();
    while !rest.is_empty() {
        let mut split = || {
            let end = read_size(rest, 8)?.checked_add(12)?;
            let item = (read_u64(rest, 0)?, rest.get(12..end)?.to_vec());
            rest = rest.get(end..)?;
            Some(item)
        };
        list.push(split().ok_or(SHORT_ROW)?);
    }
    Ok(list)
}
