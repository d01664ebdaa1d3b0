//! Reads: whole sealed blocks, clipped to the range asked for, into the caller's buffer. Every record is checked first.

use std::ops::Bound;

use crate::error::Error;
use crate::format::Damage;
use crate::format::block;
use crate::format::rows::{block_first, block_key};
use crate::tables::{GROUP, Tables};

/// What a read did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes of blocks, one after the other, stand at the front of the buffer. 0: the log has no entry `lo`.
    Filled(usize),
    /// The buffer is too small for the first entry, which needs so many bytes.
    TooSmall(usize),
}

/// Reads entries `lo .. hi`, at most `bytes_max` but at least one entry.
pub(crate) fn read_into(
    tables: &Tables,
    lo: u64,
    hi: u64,
    bytes_max: usize,
    out: &mut [u8],
) -> Result<ReadOutcome, Error> {
    let txn = tables.read_txn()?;
    let bounds = tables.bounds(&txn)?;
    // A truncation may have overtaken the request; then there is less to read, or nothing.
    let hi = hi.min(bounds.last + 1);
    if lo < bounds.first || lo >= hi {
        return Ok(ReadOutcome::Filled(0));
    }
    let start = tables
        .rows
        .get_lower_than_or_equal_to(&txn, &block_key(GROUP, lo))
        .map_err(|error| tables.lmdb_error(error))?
        .and_then(|(key, _)| block_first(key))
        .ok_or_else(|| tables.damaged(Damage::at(lo, MISSING)))?;
    let (from, to) = (block_key(GROUP, start), block_key(GROUP, hi));
    let range = (Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()));
    let mut next = lo;
    let mut filled = 0;
    for item in tables.rows.range(&txn, &range).map_err(|error| tables.lmdb_error(error))? {
        let (key, row) = item.map_err(|error| tables.lmdb_error(error))?;
        let (row, info) = tables.check_block(key, row)?;
        let bytes = row.block;
        let contiguous = if filled == 0 { (info.first..=info.last).contains(&next) } else { info.first == next };
        if !contiguous {
            return Err(tables.damaged(Damage::at(next, MISSING)));
        }
        let end = hi.min(info.last + 1);
        let room = bytes_max.saturating_sub(filled);
        let end = if filled == 0 { fitting_end(bytes, next, end, room) } else { end };
        let length = block::clipped_bytes(bytes, next, end).unwrap_or(usize::MAX);
        if filled > 0 && length > room {
            return Ok(ReadOutcome::Filled(filled));
        }
        let rest = out.get_mut(filled..).unwrap_or_default();
        if length > rest.len() {
            return Ok(if filled == 0 { ReadOutcome::TooSmall(length) } else { ReadOutcome::Filled(filled) });
        }
        if copy(bytes, next, end, rest) != Some(length) {
            return Err(tables.damaged(Damage::at(next, "a block cannot be clipped")));
        }
        filled += length;
        next = end;
        if next == hi || next <= info.last {
            return Ok(ReadOutcome::Filled(filled));
        }
    }
    Err(tables.damaged(Damage::at(next, MISSING)))
}

const MISSING: &str = "an entry is missing";

/// The largest end for which the entries `lo .. end` fit into `room`; at least one entry.
fn fitting_end(bytes: &[u8], lo: u64, hi: u64, room: usize) -> u64 {
    if block::clipped_bytes(bytes, lo, hi).is_some_and(|length| length <= room) {
        return hi;
    }
    (lo + 2..hi)
        .take_while(|end| block::clipped_bytes(bytes, lo, *end).is_some_and(|length| length <= room))
        .last()
        .unwrap_or(lo + 1)
}

fn copy(bytes: &[u8], lo: u64, hi: u64, out: &mut [u8]) -> Option<usize> {
    if block::clipped_bytes(bytes, lo, hi)? == bytes.len() {
        out.get_mut(..bytes.len())?.copy_from_slice(bytes);
        return Some(bytes.len());
    }
    block::clip(bytes, lo, hi, out)
}
