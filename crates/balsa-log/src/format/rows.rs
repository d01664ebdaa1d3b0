//! The rows of the tree. LMDB pages carry no checksum, so each row ends with its own: a CRC over key, then value. The block in
//! a block row carries that of the block besides.

use super::{Damage, block, read_size, read_u32, read_u64, read_u64_be};
use crate::log::{HardState, TermRun};

/// The version that this build writes, and the only one that it reads.
pub(crate) const FORMAT_VERSION: u32 = 2;

// The first byte of a key names the kind of its row. Blocks stand last: a new one is then always the last row of the tree.
const STORE: u8 = 1;
const LOG: u8 = 2;
const CONFIGURATIONS: u8 = 3;
const TERM: u8 = 4;
const FACT: u8 = 5;
const BLOCK: u8 = 6;

/// Key of the row of the store.
pub(crate) const STORE_KEY: &[u8] = &[STORE];

/// `kind | group u64 BE | position u64 BE`: the key of a block and of a term run.
pub(crate) type PositionKey = [u8; 17];

fn position_key(kind: u8, group: u64, position: u64) -> PositionKey {
    let mut key = [kind; 17];
    let (_, numbers) = key.split_at_mut(1);
    let (high, low) = numbers.split_at_mut(8);
    high.copy_from_slice(&group.to_be_bytes());
    low.copy_from_slice(&position.to_be_bytes());
    key
}

/// The key of the block that begins at `first`.
pub(crate) fn block_key(group: u64, first: u64) -> PositionKey {
    position_key(BLOCK, group, first)
}

/// The key of the term run that begins at `first`.
pub(crate) fn term_key(group: u64, first: u64) -> PositionKey {
    position_key(TERM, group, first)
}

/// The first index of the block under this key; `None` when it is no key of a block.
pub(crate) fn block_first(key: &[u8]) -> Option<u64> {
    if key.len() == 17 && key.first() == Some(&BLOCK) { read_u64_be(key, 9) } else { None }
}

fn group_key(kind: u8, group: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&group.to_be_bytes());
    key
}

pub(crate) fn log_key(group: u64) -> Vec<u8> {
    group_key(LOG, group)
}

pub(crate) fn configurations_key(group: u64) -> Vec<u8> {
    group_key(CONFIGURATIONS, group)
}

/// What every key of a term run of the group begins with.
pub(crate) fn terms_prefix(group: u64) -> Vec<u8> {
    group_key(TERM, group)
}

/// What every key of a fact of the group begins with.
pub(crate) fn facts_prefix(group: u64) -> Vec<u8> {
    group_key(FACT, group)
}

pub(crate) fn fact_key(group: u64, name: &str) -> Vec<u8> {
    let mut key = facts_prefix(group);
    key.extend_from_slice(name.as_bytes());
    key
}

pub(crate) fn fact_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(9..)?).ok()
}

/// Bytes of a block row behind its block.
const BLOCK_TRAILER_BYTES: usize = 12;

/// Fills `row` with the row of a block: the block, then the commit index known when it was written. A group commit that only
/// appends thus writes no other row, and a page less.
pub(crate) fn encode_block(row: &mut Vec<u8>, key: &[u8], block: &[u8], commit: u64) {
    let commit = commit.to_le_bytes();
    row.clear();
    row.extend_from_slice(block);
    row.extend_from_slice(&commit);
    row.extend_from_slice(&crc(key, &commit).to_le_bytes());
}

/// The row of a block. The block itself is not checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockRow<'a> {
    pub(crate) block: &'a [u8],
    pub(crate) commit: u64,
}

pub(crate) fn decode_block<'a>(key: &[u8], row: &'a [u8]) -> Result<BlockRow<'a>, Damage> {
    let at = row.len().checked_sub(BLOCK_TRAILER_BYTES);
    let (block, trailer) = at.and_then(|at| row.split_at_checked(at)).ok_or(SHORT_ROW)?;
    let commit = read_u64(without_crc(key, trailer)?, 0).ok_or(SHORT_ROW)?;
    Ok(BlockRow { block, commit })
}

/// The index of the last entry of a block row, without a look at the entries.
pub(crate) fn block_row_last(row: &[u8]) -> Option<u64> {
    block::last_index(row.get(..row.len().checked_sub(BLOCK_TRAILER_BYTES)?)?)
}

fn crc(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

/// Closes a row.
pub(crate) fn with_crc(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    value.extend_from_slice(&crc(key, &value).to_le_bytes());
    value
}

/// Checks a row and returns its value.
pub(crate) fn without_crc<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], Damage> {
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
pub(crate) struct StoreRow {
    pub(crate) version: u32,
    /// Set by close, cleared by open.
    pub(crate) clean: bool,
    pub(crate) boot_counter: u64,
    /// Names these files.
    pub(crate) uuid: [u8; 16],
    /// Names this store to its peers.
    pub(crate) incarnation: [u8; 16],
}

impl StoreRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = self.version.to_le_bytes().to_vec();
        row.extend_from_slice(&u32::from(self.clean).to_le_bytes());
        row.extend_from_slice(&self.boot_counter.to_le_bytes());
        row.extend_from_slice(&self.uuid);
        row.extend_from_slice(&self.incarnation);
        with_crc(STORE_KEY, row)
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, Damage> {
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

/// The row of one group: bounds of its log and hard state, as they were when the row was written. Blocks behind `last` came
/// later, with nothing but appends between, and the row of the last one has the newer commit index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) hard_state: HardState,
}

impl LogRow {
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut row = self.first.to_le_bytes().to_vec();
        row.extend_from_slice(&self.last.to_le_bytes());
        row.extend_from_slice(&self.hard_state.term.to_le_bytes());
        row.extend_from_slice(&self.hard_state.commit.to_le_bytes());
        row.extend_from_slice(self.hard_state.voted_for.as_deref().unwrap_or_default().as_bytes());
        with_crc(key, row)
    }

    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Self, Damage> {
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

/// The row of one term run; its key holds where the run begins.
pub(crate) fn encode_term(key: &[u8], term: u64) -> Vec<u8> {
    with_crc(key, term.to_le_bytes().to_vec())
}

pub(crate) fn decode_term(key: &[u8], row: &[u8]) -> Result<TermRun, Damage> {
    let value = without_crc(key, row)?;
    let run = || Some(TermRun { first: read_u64_be(key, 9)?, term: read_u64(value, 0)? });
    run().ok_or(SHORT_ROW)
}

/// The ordered list of the configuration entries of one group.
pub(crate) fn encode_configurations(key: &[u8], list: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut row = Vec::new();
    for (index, payload) in list {
        row.extend_from_slice(&index.to_le_bytes());
        row.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        row.extend_from_slice(payload);
    }
    with_crc(key, row)
}

pub(crate) fn decode_configurations(key: &[u8], row: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, Damage> {
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
