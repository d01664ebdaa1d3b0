//! One group commit as an LMDB transaction: the steps of a plan, applied to the log in memory and to the tree.

use std::ops::Bound;

use heed::{PutFlags, RwTxn};

use super::rows::{self, PositionKey};
use super::sweep::{Slice, sweep};
use super::tree::Tree;
use crate::error::Error;
use crate::format::block::{self, BlockInfo};
use crate::format::operation::Compact;
use crate::format::snapshot::Snapshot;
use crate::format::{Damage, GROUP};
use crate::journal::JournalRow;
use crate::log::Log;
use crate::plan::{Plan, Step};

/// A transaction under way. Dropped before `commit`, it leaves the file as it was, but not the log in memory: the
/// writer ends with the error that made it drop it.
pub(super) struct Transaction<'a> {
    tree: &'a Tree,
    /// Invariant: after each step, what the rows in `txn` say, but for the rows that `write` puts once at its end.
    log: &'a mut Log,
    txn: RwTxn<'a>,
    /// Where block rows are put together.
    scratch: &'a mut Vec<u8>,
    /// What the new block rows say of the commit index: that of the log when the plan is done.
    commit: u64,
    /// Whether the row of the configurations is to be written again.
    configurations_changed: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(tree: &'a Tree, log: &'a mut Log, scratch: &'a mut Vec<u8>) -> Result<Self, Error> {
        let commit = log.hard_state.commit;
        Ok(Self { tree, log, txn: tree.write_txn()?, scratch, commit, configurations_changed: false })
    }

    /// Writes everything that a plan wants, but does not commit it.
    pub(super) fn write(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        self.commit = plan.commit;
        for step in &plan.steps {
            self.apply(step)?;
        }
        if !plan.only_appends {
            put_log(self.tree, &mut self.txn, self.log).map_err(|error| self.tree.lmdb_error(error))?;
        }
        if self.configurations_changed {
            self.put_configurations().map_err(|error| self.tree.lmdb_error(error))?;
        }
        Ok(())
    }

    /// What the home holds of the journal once this is committed.
    pub(super) fn put_journal(&mut self, row: &JournalRow) -> Result<(), Error> {
        let put = self.tree.rows.put(&mut self.txn, rows::JOURNAL_KEY, &rows::encode_journal(row));
        put.map_err(|error| self.tree.lmdb_error(error))
    }

    /// Removes a slice of the blocks that compactions have left behind. Whether there is more.
    pub(super) fn sweep(&mut self, slice: &Slice) -> Result<bool, Error> {
        sweep(self.tree, &mut self.txn, self.log, slice)
    }

    /// With full sync: durable when it returns.
    pub(super) fn commit(self) -> Result<(), Error> {
        self.txn.commit().map_err(|error| self.tree.lmdb_error(error))
    }

    fn apply(&mut self, step: &Step<'_>) -> Result<(), Error> {
        let written = match step {
            Step::Append { block, info } => self.append(block, info),
            Step::TruncateSuffix { from } => return self.truncate_suffix(*from),
            Step::Compact(compact) => return self.compact(compact),
            Step::HardState { .. } => {
                self.log.follow(step);
                Ok(())
            }
            Step::Put { key, value } => {
                let key = rows::fact_key(GROUP, key);
                self.tree.rows.put(&mut self.txn, &key, &rows::with_crc(&key, value.to_vec()))
            }
            Step::Delete { key } => {
                self.tree.rows.delete(&mut self.txn, &rows::fact_key(GROUP, key)).map(|_existed| ())
            }
        };
        written.map_err(|error| self.tree.lmdb_error(error))
    }

    fn append(&mut self, bytes: &[u8], info: &BlockInfo) -> heed::Result<()> {
        let Self { tree, log, txn, .. } = self;
        let key = rows::block_key(GROUP, info.first);
        rows::encode_block(self.scratch, &key, bytes, self.commit);
        // The blocks of the only group are the last rows of the tree.
        tree.rows.put_with_flags(txn, PutFlags::APPEND, &key, self.scratch)?;
        if log.begins_run(info.term) {
            let key = rows::term_key(GROUP, info.first);
            tree.rows.put(txn, &key, &rows::encode_term(&key, info.term))?;
        }
        log.append(bytes, info);
        self.configurations_changed |= info.is_configuration;
        Ok(())
    }

    fn truncate_suffix(&mut self, from: u64) -> Result<(), Error> {
        self.cut_block(from)?;
        let Self { tree, log, txn, .. } = self;
        for key_of in [rows::block_key, rows::term_key] {
            let (key, end) = (key_of(GROUP, from), key_of(GROUP, u64::MAX));
            tree.rows.delete_range(txn, &keys_from(&key, &end)).map_err(|error| tree.lmdb_error(error))?;
        }
        let configurations = log.configurations.len();
        log.truncate_suffix(from);
        self.configurations_changed |= log.configurations.len() != configurations;
        Ok(())
    }

    /// Moves `first`, and leaves the blocks below it for sweeps.
    fn compact(&mut self, compact: &Compact<'_>) -> Result<(), Error> {
        let Compact { first, prev_term, snapshot, keep_suffix } = compact;
        if !keep_suffix && *first <= self.log.last {
            self.truncate_suffix(*first)?;
        }
        let configurations = self.log.configurations.len();
        self.log.truncate_prefix(*first, *prev_term, snapshot.owned());
        self.configurations_changed |= self.log.configurations.len() != configurations;
        self.put_prefix(snapshot, *prev_term).map_err(|error| self.tree.lmdb_error(error))
    }

    /// The rows that say how the log begins.
    fn put_prefix(&mut self, snapshot: &Snapshot<&[u8]>, prev_term: u64) -> heed::Result<()> {
        let Self { tree, log, txn, .. } = self;
        let key = rows::snapshot_key(GROUP);
        tree.rows.put(txn, &key, &rows::encode_snapshot(&key, prev_term, snapshot))?;
        let (start, first) = (rows::term_key(GROUP, 0), rows::term_key(GROUP, log.first));
        tree.rows.delete_range(txn, &keys_from(&start, &first))?;
        match log.terms.first() {
            Some(run) => tree.rows.put(txn, &first, &rows::encode_term(&first, run.term)),
            None => Ok(()),
        }
    }

    /// Replaces the block that `from` cuts through by its shortened copy.
    fn cut_block(&mut self, from: u64) -> Result<(), Error> {
        let tree = self.tree;
        let key = rows::block_key(GROUP, from);
        let before = tree.rows.get_lower_than(&self.txn, &key).map_err(|error| tree.lmdb_error(error))?;
        let Some((key, row)) = before.filter(|(key, _)| rows::block_first(key).is_some()) else { return Ok(()) };
        let (row, info) = tree.check_block(key, row)?;
        if info.last < from {
            return Ok(());
        }
        let mut shortened = vec![0; row.block.len()];
        let length = block::clip(row.block, info.first, from, &mut shortened);
        let shortened = length
            .and_then(|length| shortened.get(..length))
            .ok_or_else(|| tree.damaged(Damage::at(info.first, "a block cannot be shortened")))?;
        let key = rows::block_key(GROUP, info.first);
        rows::encode_block(self.scratch, &key, shortened, self.commit);
        tree.rows.put(&mut self.txn, &key, self.scratch).map_err(|error| tree.lmdb_error(error))
    }

    fn put_configurations(&mut self) -> heed::Result<()> {
        let key = rows::configurations_key(GROUP);
        let row = rows::encode_configurations(&key, &self.log.configurations);
        self.tree.rows.put(&mut self.txn, &key, &row)
    }
}

/// Writes the rows of the store, of the journal and of the log in a transaction of its own, with full sync.
pub(super) fn put_store(
    tree: &Tree,
    store: &rows::StoreRow,
    journal: Option<&JournalRow>,
    log: &Log,
) -> Result<(), Error> {
    let write = || {
        let mut txn = tree.environment().write_txn()?;
        tree.rows.put(&mut txn, rows::STORE_KEY, &store.encode())?;
        match journal {
            Some(row) => tree.rows.put(&mut txn, rows::JOURNAL_KEY, &rows::encode_journal(row))?,
            None => tree.rows.delete(&mut txn, rows::JOURNAL_KEY).map(|_existed| ())?,
        }
        put_log(tree, &mut txn, log)?;
        txn.commit()
    };
    write().map_err(|error| tree.lmdb_error(error))
}

/// Writes the row of the log as it stands.
pub(super) fn put_log(tree: &Tree, txn: &mut RwTxn<'_>, log: &Log) -> heed::Result<()> {
    let key = rows::log_key(GROUP);
    tree.rows.put(txn, &key, &rows::LogRow::of(log).encode(&key))
}

/// Every key from `from` to `end`, both included: of one kind of row and one group, at or behind a position.
fn keys_from<'a>(from: &'a PositionKey, end: &'a PositionKey) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from.as_slice()), Bound::Included(end.as_slice()))
}
