//! The LMDB tree that holds every row. Everything read from it is checked before it is believed.
//!
//! One tree, not one for each kind of row: a group commit writes the pages from the root to the last leaf and one of
//! the free list. Each further tree would add its own leaf and an entry in a root above it, and each page is one more
//! write to wait for (docs/adr/0005).

use std::path::Path;
use std::sync::Arc;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, RoTxn, RwTxn, WithoutTls};

use super::DATA_FILE;
use super::audit::audit;
use super::environment::{self, Environment};
use super::rows;
use crate::error::Error;
use crate::format::block::{self, BlockInfo, Depth};
use crate::format::{Damage, GROUP};
use crate::log::Log;

const MISSING_TREE: Damage = Damage { index: None, detail: "the tree of rows is missing" };
const MISSING_ROW: Damage = Damage { index: None, detail: "the row of the store or of the log is missing" };
const NOT_OF_A_BLOCK: Damage = Damage { index: None, detail: "a key is not that of a block" };
const LAST_MISSING: Damage = Damage { index: None, detail: "the last block cannot be read" };

/// A read transaction: one image of the tree, whatever is written meanwhile.
pub(super) type ReadTxn<'env> = RoTxn<'env, WithoutTls>;
/// Key and value.
pub(super) type Row<'txn> = (&'txn [u8], &'txn [u8]);

/// The open tree of one environment. Cloning shares the environment.
#[derive(Clone)]
pub(super) struct Tree {
    environment: Environment,
    /// Every row, by its key (`rows.rs`).
    pub(super) rows: Database<'static, Bytes, Bytes>,
    /// Path of data.mdb: what errors name.
    pub(super) file: Arc<Path>,
}

/// First and last index of the log; `last` is `first` - 1 when it is empty.
pub(super) struct Bounds {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Tree {
    /// Creates the tree in a directory without data.mdb, with an empty log. Durable when it returns.
    pub(super) fn create(dir: &Path, map_bytes: usize, row: &rows::StoreRow) -> Result<Self, Error> {
        let file: Arc<Path> = dir.join(DATA_FILE).into();
        let environment = environment::open(dir, map_bytes)?;
        let create = || {
            let txn = environment.write_txn()?;
            environment.create_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
                let rows = opener.create_database::<Bytes, Bytes>(txn, None)?;
                let (key, log) = (rows::log_key(GROUP), rows::LogRow::of(&Log::new()));
                rows.put(txn, rows::STORE_KEY, &row.encode())?;
                rows.put(txn, &key, &log.encode(&key))?;
                Ok(CommitOrAbort::<_, ()>::Commit(rows))
            })
        };
        let created = create().map_err(|error| environment::lmdb_error(&file, error))?.commit();
        let rows = created.ok_or_else(|| environment::damaged(&file, MISSING_TREE))?;
        Ok(Self { environment, rows, file })
    }

    /// Opens the tree of a complete store.
    pub(super) fn open(dir: &Path, map_bytes: usize) -> Result<Self, Error> {
        let file: Arc<Path> = dir.join(DATA_FILE).into();
        // LMDB makes a new store out of a missing or empty file; here that is damage.
        let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        if bytes == 0 {
            return Err(environment::damaged(&file, Damage::new("the file is missing or empty")));
        }
        audit(&file)?;
        let environment = environment::open(dir, map_bytes)?;
        let open = || {
            let txn = environment.read_txn()?;
            environment.open_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
                let rows = opener.open_database::<Bytes, Bytes>(txn, None)?;
                Ok(CommitOrAbort::<_, ()>::Commit(rows))
            })
        };
        match open().map_err(|error| environment::lmdb_error(&file, error))?.commit() {
            Some(Some(rows)) => Ok(Self { environment, rows, file }),
            _ => Err(environment::damaged(&file, MISSING_TREE)),
        }
    }

    /// Waits until every clone is gone, and the environment with them; no new transaction begins.
    pub(super) fn close(self) {
        self.environment.prepare_for_closing().wait();
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The part of the file that pages have reached.
    pub(super) fn reached_bytes(&self) -> u64 {
        environment::reached_bytes(&self.environment)
    }

    pub(super) fn page_bytes(&self) -> u64 {
        environment::page_bytes(&self.environment)
    }

    /// Bytes of pages that hold something.
    pub(super) fn used_bytes(&self) -> u64 {
        environment::used_bytes(&self.environment)
    }

    /// The bound of `used_bytes`.
    pub(super) fn map_bytes(&self) -> u64 {
        environment::map_bytes(&self.environment)
    }

    pub(super) fn damaged(&self, damage: Damage) -> Error {
        environment::damaged(&self.file, damage)
    }

    pub(super) fn lmdb_error(&self, error: heed::Error) -> Error {
        environment::lmdb_error(&self.file, error)
    }

    pub(super) fn read_txn(&self) -> Result<ReadTxn<'_>, Error> {
        self.environment.read_txn().map_err(|error| self.lmdb_error(error))
    }

    pub(super) fn write_txn(&self) -> Result<RwTxn<'_>, Error> {
        self.environment.write_txn().map_err(|error| self.lmdb_error(error))
    }

    pub(super) fn row<'txn>(&self, txn: &'txn ReadTxn<'_>, key: &[u8]) -> Result<Option<&'txn [u8]>, Error> {
        self.rows.get(txn, key).map_err(|error| self.lmdb_error(error))
    }

    pub(super) fn store_row(&self, txn: &ReadTxn<'_>) -> Result<rows::StoreRow, Error> {
        let row = self.row(txn, rows::STORE_KEY)?.ok_or_else(|| self.damaged(MISSING_ROW))?;
        rows::StoreRow::decode(row).map_err(|damage| self.damaged(damage))
    }

    pub(super) fn log_row(&self, txn: &ReadTxn<'_>) -> Result<rows::LogRow, Error> {
        let key = rows::log_key(GROUP);
        let row = self.row(txn, &key)?.ok_or_else(|| self.damaged(MISSING_ROW))?;
        rows::LogRow::decode(&key, row).map_err(|damage| self.damaged(damage))
    }

    /// The row of the last block, with its key; `None` when there is no block at all.
    pub(super) fn last_block_row<'txn>(&self, txn: &'txn ReadTxn<'_>) -> Result<Option<Row<'txn>>, Error> {
        let last = self.rows.last(txn).map_err(|error| self.lmdb_error(error))?;
        Ok(last.filter(|(key, _)| rows::block_first(key).is_some()))
    }

    /// The bounds of the log, without a look at its entries.
    pub(super) fn bounds(&self, txn: &ReadTxn<'_>) -> Result<Bounds, Error> {
        let row = self.log_row(txn)?;
        let last = match self.last_block_row(txn)? {
            None => 0,
            Some((_, bytes)) => rows::block_row_last(bytes).ok_or_else(|| self.damaged(LAST_MISSING))?,
        };
        // What is left over of a log that was compacted ends before `first`.
        Ok(Bounds { first: row.first, last: last.max(row.first.saturating_sub(1)) })
    }

    /// Checks a stored block against its key and every CRC.
    pub(super) fn check_block<'row>(
        &self,
        key: &[u8],
        row: &'row [u8],
    ) -> Result<(rows::BlockRow<'row>, BlockInfo), Error> {
        let (row, info) = self.intact_block(key, row).map_err(|damage| self.damaged(damage))?;
        self.check_place(key, &info)?;
        Ok((row, info))
    }

    /// Checks a stored block against every CRC.
    pub(super) fn intact_block<'row>(
        &self,
        key: &[u8],
        row: &'row [u8],
    ) -> Result<(rows::BlockRow<'row>, BlockInfo), Damage> {
        let first = rows::block_first(key).ok_or(NOT_OF_A_BLOCK)?;
        let at_first = |damage: Damage| Damage { index: damage.index.or(Some(first)), detail: damage.detail };
        let row = rows::decode_block(key, row).map_err(at_first)?;
        let info = block::check(row.block, Depth::Records).map_err(at_first)?;
        Ok((row, info))
    }

    /// Checks an intact block against its key.
    pub(super) fn check_place(&self, key: &[u8], info: &BlockInfo) -> Result<(), Error> {
        let first = rows::block_first(key).ok_or_else(|| self.damaged(NOT_OF_A_BLOCK))?;
        if info.first == first && info.group == GROUP {
            Ok(())
        } else {
            Err(self.damaged(Damage::at(first, "a block stands under a key that is not its own")))
        }
    }
}
