//! Blocks below `first`. A compaction moves `first` in the transaction of its ticket, and may leave any number of blocks
//! behind; they are removed a slice at a time, beside the group commits that follow and, while none comes, in
//! transactions of their own. So nobody waits for a long one.
//!
//! What must hold:
//! - What is left over ends before `first`: none of it can be read, pass for the end of the log at an open, or stand
//!   where a new block goes. A compaction that keeps nothing therefore removes the blocks that reach beyond its
//!   snapshot in its own transaction, as a truncation does: they are what leaders before left uncommitted.
//! - The block in which `first` lies stays, whole; reads clip it.
//! - A slice is at least twice what the group commit beside it adds, so that what is left over shrinks under any load.

use std::ops::Bound;

use heed::{RoTxn, RwTxn};

use super::rows;
use super::tree::Tree;
use crate::error::Error;
use crate::format::{Damage, GROUP, length};
use crate::log::Log;
use crate::plan::Plan;

/// Each block of many pages has one of them read before they are free: some milliseconds on a cold disk.
const SLICE_BLOCKS: usize = 256;
const SLICE_BYTES: u64 = 4 << 20;
/// How much faster blocks go than they come.
const OUTPACE: u64 = 2;

/// What one transaction removes at most, besides one more block.
pub(super) struct Slice {
    blocks: usize,
    bytes: u64,
}

impl Slice {
    /// Of a transaction that does nothing else.
    pub(super) fn alone() -> Self {
        Self { blocks: SLICE_BLOCKS, bytes: SLICE_BYTES }
    }

    /// Of the transaction of a plan.
    pub(super) fn beside(plan: &Plan<'_>) -> Self {
        let twice = usize::try_from(OUTPACE).unwrap_or(usize::MAX).saturating_mul(plan.steps.len());
        Self { blocks: SLICE_BLOCKS.max(twice), bytes: SLICE_BYTES.max(OUTPACE.saturating_mul(plan.bytes)) }
    }
}

/// Removes a slice of what is left over, the oldest first. Whether there is more.
pub(super) fn sweep(tree: &Tree, txn: &mut RwTxn<'_>, log: &Log, slice: &Slice) -> Result<bool, Error> {
    let (start, kept) = (rows::block_key(GROUP, 0), rows::block_key(GROUP, first_kept(tree, txn, log)?));
    let end = slice_end(tree, txn, &start, &kept, slice)?;
    let range = (Bound::Included(start.as_slice()), Bound::Excluded(end.as_slice()));
    tree.rows.delete_range(txn, &range).map_err(|error| tree.lmdb_error(error))?;
    Ok(end != kept)
}

/// Whether there is something to sweep. It reads no block.
pub(super) fn is_left_over(tree: &Tree, txn: &RoTxn<'_>, log: &Log) -> Result<bool, Error> {
    let start = rows::block_key(GROUP, 0);
    let oldest = tree.rows.get_greater_than(txn, &start).map_err(|error| tree.lmdb_error(error))?;
    let oldest = oldest.and_then(|(key, _)| rows::block_first(key));
    let kept = first_kept(tree, txn, log)?;
    Ok(oldest.is_some_and(|oldest| oldest < kept))
}

/// Where the first block of the log begins; `first` when the log is empty. It goes by keys alone: blocks touch each
/// other, so one that begins at or before `first` is the one it lies in, or ends before it.
fn first_kept(tree: &Tree, txn: &RoTxn<'_>, log: &Log) -> Result<u64, Error> {
    if log.last < log.first {
        return Ok(log.first);
    }
    let found = tree.rows.get_lower_than_or_equal_to(txn, &rows::block_key(GROUP, log.first));
    let found = found.map_err(|error| tree.lmdb_error(error))?;
    let first = found.and_then(|(key, _)| rows::block_first(key));
    first.ok_or_else(|| tree.damaged(Damage::at(log.first, "the first entry is missing")))
}

/// The key of the first block that this slice leaves.
fn slice_end(
    tree: &Tree,
    txn: &RoTxn<'_>,
    start: &rows::PositionKey,
    kept: &rows::PositionKey,
    slice: &Slice,
) -> Result<rows::PositionKey, Error> {
    let range = (Bound::Included(start.as_slice()), Bound::Excluded(kept.as_slice()));
    let (mut blocks, mut bytes) = (0, 0_u64);
    for item in tree.rows.range(txn, &range).map_err(|error| tree.lmdb_error(error))? {
        let (key, row) = item.map_err(|error| tree.lmdb_error(error))?;
        if blocks == slice.blocks || bytes >= slice.bytes {
            return key.try_into().map_err(|_| tree.damaged(Damage::new("a key is not that of a block")));
        }
        blocks += 1;
        bytes += length(row);
    }
    Ok(*kept)
}
