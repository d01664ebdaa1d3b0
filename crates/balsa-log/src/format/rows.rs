//! The rows outside `blk`. LMDB pages carry no checksum, so each row ends with its own: a CRC over key, then value.

use super::{Damage, read_size, read_u32, read_u64, read_u64_be};
use crate::log::{HardState, TermRun};

/// The version that this build writes, and the only one that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Key of the store row in `meta`.
pub(crate) const STORE_KEY: &[u8] = b"store";
const LOG_PREFIX: &[u8] = b"log";
const CONFIGURATIONS_PREFIX: &[u8] = b"configurations";

/// `group u64 BE | position u64 BE`: the key of `blk` and `terms`.
pub(crate) fn position_key(group: u64, position: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let (high, low) = key.split_at_mut(8);
    high.copy_from_slice(&group.to_be_bytes());
    low.copy_from_slice(&position.to_be_bytes());
    key
}

/// The position of a key of `blk` or `terms`.
pub(crate) fn key_position(key: &[u8]) -> Option<u64> {
    if key.len() == 16 { read_u64_be(key, 8) } else { None }
}

pub(crate) fn log_key(group: u64) -> Vec<u8> {
    group_key(LOG_PREFIX, group)
}

pub(crate) fn configurations_key(group: u64) -> Vec<u8> {
    group_key(CONFIGURATIONS_PREFIX, group)
}

fn group_key(prefix: &[u8], group: u64) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&group.to_be_bytes());
    key
}

pub(crate) fn fact_key(group: u64, name: &str) -> Vec<u8> {
    let mut key = group.to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

pub(crate) fn fact_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(8..)?).ok()
}

/// Closes a row.
pub(crate) fn with_crc(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// Checks a row and returns its value.
pub(crate) fn without_crc<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (value, crc) = row.len().checked_sub(4).and_then(|end| row.split_at_checked(end)).ok_or(SHORT_ROW)?;
    if read_u32(crc, 0) == Some(crc32c::crc32c_append(crc32c::crc32c(key), value)) {
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

/// The row of one group: bounds of its log and hard state.
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
    let run = || Some(TermRun { first: key_position(key)?, term: read_u64(value, 0)? });
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
