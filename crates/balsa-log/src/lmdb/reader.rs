//! Reads of what is durable, on any thread: each is one read transaction over the block rows of a range. Every record
//! is checked before it is given out.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::rows::{block_first, block_key};
use super::tree::{ReadTxn, Tree};
use crate::error::Error;
use crate::format::{Damage, GROUP};
use crate::read::{Filling, ReadOutcome};

/// Reads that are under way: each keeps all pages of its image of the tree from being used again.
#[derive(Clone, Default)]
pub(super) struct Reads(Arc<RwLock<()>>);

impl Reads {
    /// Waits until those that have begun are over; a read takes a MiB at most. Those that begin later see what is
    /// durable now.
    pub(super) fn wait(&self) {
        drop(self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The reading side of a home. Cloning shares the environment.
#[derive(Clone)]
pub(crate) struct Reader {
    tree: Tree,
    reads: Reads,
}

impl Reader {
    pub(super) fn new(tree: Tree, reads: Reads) -> Self {
        Self { tree, reads }
    }

    /// Fills in entries up to `hi`, or to the end of the log.
    pub(crate) fn read_into(&self, filling: &mut Filling<'_>, hi: u64) -> Result<ReadOutcome, Error> {
        let lo = filling.next();
        let tree = &self.tree;
        let _under_way = self.reads.0.read().unwrap_or_else(PoisonError::into_inner);
        let txn = tree.read_txn()?;
        let bounds = tree.bounds(&txn)?;
        // A truncation or a compaction may have overtaken the request; then there is less to read, or nothing.
        let hi = hi.min(bounds.last + 1);
        if lo < bounds.first || lo >= hi {
            return Ok(ReadOutcome::Filled(0));
        }
        filling.until(hi);
        let start = tree
            .rows
            .get_lower_than_or_equal_to(&txn, &block_key(GROUP, lo))
            .map_err(|error| tree.lmdb_error(error))?
            .and_then(|(key, _)| block_first(key))
            .ok_or_else(|| tree.damaged(filling.missing()))?;
        let (from, to) = (block_key(GROUP, start), block_key(GROUP, hi));
        let range = (Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()));
        for item in tree.rows.range(&txn, &range).map_err(|error| tree.lmdb_error(error))? {
            let (key, row) = item.map_err(|error| tree.lmdb_error(error))?;
            let (row, info) = tree
                .intact_block(key, row)
                .or_else(|damage| Err(self.damaged_at(&txn, key, bounds.first, damage)?))?;
            tree.check_place(key, &info)?;
            if let Some(outcome) = filling.take(row.block, &info).map_err(|damage| tree.damaged(damage))? {
                return Ok(outcome);
            }
        }
        Err(tree.damaged(filling.missing()))
    }

    /// What a damaged block is told as: with the entries that it held, where the next one says where it ended. The last
    /// one does not say so itself, now that it is damaged.
    fn damaged_at(&self, txn: &ReadTxn<'_>, key: &[u8], log_first: u64, damage: Damage) -> Result<Error, Error> {
        let tree = &self.tree;
        let next = tree.rows.get_greater_than(txn, key).map_err(|error| tree.lmdb_error(error))?;
        let next = next.and_then(|(key, _)| block_first(key));
        let range = block_first(key).zip(next.and_then(|next| next.checked_sub(1)));
        Ok(match range {
            Some((first, last)) => Error::Damaged {
                file: tree.file.to_path_buf(),
                first: first.max(log_first),
                last,
                index: damage.index,
                detail: damage.detail.to_owned(),
            },
            None => tree.damaged(damage),
        })
    }

    /// Waits until the environment is closed: reads that are under way finish first.
    pub(crate) fn close(self) {
        self.tree.close();
    }
}
