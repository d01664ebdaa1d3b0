//! One group commit as an LMDB transaction: the steps of a plan, applied to the tree and to the log in memory.

use heed::{PutFlags, RwTxn};

use crate::error::Error;
use crate::format::block::{self, BlockInfo};
use crate::format::{Damage, rows};
use crate::log::{HardState, Log, TermRun};
use crate::plan::{Plan, Step};
use crate::tables::{GROUP, Tables, keys_from};

/// A transaction under way. Dropped before `commit`, it leaves the file as it was, but not the log in memory: the writer
/// ends with the error that made it drop it.
pub(crate) struct Transaction<'a> {
    tables: &'a Tables,
    log: &'a mut Log,
    txn: RwTxn<'a>,
    /// Where block rows are put together.
    scratch: &'a mut Vec<u8>,
    /// What the new block rows say of the commit index.
    commit: u64,
    configurations_changed: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn begin(tables: &'a Tables, log: &'a mut Log, scratch: &'a mut Vec<u8>) -> Result<Self, Error> {
        let commit = log.hard_state.commit;
        Ok(Self { tables, log, txn: tables.write_txn()?, scratch, commit, configurations_changed: false })
    }

    /// Writes everything that a plan wants, but does not commit it.
    pub(crate) fn write(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        self.commit = plan.commit;
        for step in &plan.steps {
            self.apply(step)?;
        }
        if !plan.only_appends {
            put_log(self.tables, &mut self.txn, self.log).map_err(|error| self.tables.lmdb_error(error))?;
        }
        if self.configurations_changed {
            self.put_configurations().map_err(|error| self.tables.lmdb_error(error))?;
        }
        Ok(())
    }

    /// With full sync: durable when it returns.
    pub(crate) fn commit(self) -> Result<(), Error> {
        self.txn.commit().map_err(|error| self.tables.lmdb_error(error))
    }

    fn apply(&mut self, step: &Step<'_>) -> Result<(), Error> {
        let written = match step {
            Step::Append { block, info } => self.append(block, info),
            Step::TruncateSuffix { from } => return self.truncate_suffix(*from),
            Step::HardState { term, commit, voted_for } => {
                let voted_for = voted_for.map(ToOwned::to_owned);
                self.log.hard_state = HardState { term: *term, commit: *commit, voted_for };
                Ok(())
            }
            Step::Put { key, value } => {
                let key = rows::fact_key(GROUP, key);
                self.tables.rows.put(&mut self.txn, &key, &rows::with_crc(&key, value.to_vec()))
            }
            Step::Delete { key } => {
                self.tables.rows.delete(&mut self.txn, &rows::fact_key(GROUP, key)).map(|_existed| ())
            }
        };
        written.map_err(|error| self.tables.lmdb_error(error))
    }

    fn append(&mut self, bytes: &[u8], info: &BlockInfo) -> heed::Result<()> {
        let Self { tables, log, txn, .. } = self;
        let key = rows::block_key(GROUP, info.first);
        rows::encode_block(self.scratch, &key, bytes, self.commit);
        // The blocks of the only group are the last rows of the tree.
        tables.rows.put_with_flags(txn, PutFlags::APPEND, &key, self.scratch)?;
        if log.terms.last().is_none_or(|run| run.term != info.term) {
            log.terms.push(TermRun { first: info.first, term: info.term });
            let key = rows::term_key(GROUP, info.first);
            tables.rows.put(txn, &key, &rows::encode_term(&key, info.term))?;
        }
        log.last = info.last;
        if info.is_configuration {
            log.configurations.push((info.first, block::only_payload(bytes).to_vec()));
            self.configurations_changed = true;
        }
        Ok(())
    }

    fn truncate_suffix(&mut self, from: u64) -> Result<(), Error> {
        self.cut_block(from)?;
        let Self { tables, log, txn, .. } = self;
        for key_of in [rows::block_key, rows::term_key] {
            let (key, end) = (key_of(GROUP, from), key_of(GROUP, u64::MAX));
            tables.rows.delete_range(txn, &keys_from(&key, &end)).map_err(|error| tables.lmdb_error(error))?;
        }
        log.last = from - 1;
        log.terms.retain(|run| run.first < from);
        let configurations = log.configurations.len();
        log.configurations.retain(|(index, _)| *index < from);
        self.configurations_changed |= log.configurations.len() != configurations;
        Ok(())
    }

    /// Replaces the block that `from` cuts through by its shortened copy.
    fn cut_block(&mut self, from: u64) -> Result<(), Error> {
        let tables = self.tables;
        let key = rows::block_key(GROUP, from);
        let before = tables.rows.get_lower_than(&self.txn, &key).map_err(|error| tables.lmdb_error(error))?;
        let Some((key, row)) = before.filter(|(key, _)| rows::block_first(key).is_some()) else { return Ok(()) };
        let (row, info) = tables.check_block(key, row)?;
        if info.last < from {
            return Ok(());
        }
        let mut shortened = vec![0; row.block.len()];
        let length = block::clip(row.block, info.first, from, &mut shortened);
        let shortened = length
            .and_then(|length| shortened.get(..length))
            .ok_or_else(|| tables.damaged(Damage::at(info.first, "a block cannot be shortened")))?;
        let key = rows::block_key(GROUP, info.first);
        rows::encode_block(self.scratch, &key, shortened, self.commit);
        tables.rows.put(&mut self.txn, &key, self.scratch).map_err(|error| tables.lmdb_error(error))
    }

    fn put_configurations(&mut self) -> heed::Result<()> {
        let key = rows::configurations_key(GROUP);
        let row = rows::encode_configurations(&key, &self.log.configurations);
        self.tables.rows.put(&mut self.txn, &key, &row)
    }
}

pub(crate) fn put_log(tables: &Tables, txn: &mut RwTxn<'_>, log: &Log) -> heed::Result<()> {
    let key = rows::log_key(GROUP);
    let row = rows::LogRow { first: log.first, last: log.last, hard_state: log.hard_state.clone() };
    tables.rows.put(txn, &key, &row.encode(&key))
}
