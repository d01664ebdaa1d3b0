//! The LMDB tree that holds every row, and what open reads from it. Everything read is checked before it is believed.
//!
//! One tree, not one for each kind of row: a group commit writes the pages from the root to the last leaf and one of the free
//! list. Each further tree would add its own leaf and an entry in a root above it, and each page is one more write to wait for.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};

use crate::directory::DATA_FILE;
use crate::error::Error;
use crate::format::block::{self, BlockInfo, Depth};
use crate::format::{Damage, rows};
use crate::log::{Log, TermRun};

/// The only group there is; every key carries it, so that more can come.
pub(crate) const GROUP: u64 = 0;

type Table = Database<'static, Bytes, Bytes>;
type DataFileEnv = Env<WithoutTls>;
/// Key and value.
type Row<'txn> = (&'txn [u8], &'txn [u8]);

/// The open tree of one environment. Cloning shares the environment.
#[derive(Clone)]
pub(crate) struct Tables {
    pub(crate) env: DataFileEnv,
    pub(crate) rows: Table,
    pub(crate) file: Arc<Path>,
}

/// First and last index of the log; `last` is `first` - 1 when it is empty.
pub(crate) struct Bounds {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Tables {
    /// Creates the tree in a directory without data.mdb, with an empty log. Durable when it returns.
    pub(crate) fn create(dir: &Path, map_bytes: usize, row: &rows::StoreRow) -> Result<Self, Error> {
        let file: Arc<Path> = dir.join(DATA_FILE).into();
        let env = open_environment(dir, map_bytes).map_err(|error| lmdb_error(&file, error))?;
        let create = || {
            let txn = env.write_txn()?;
            env.create_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
                let rows = opener.create_database::<Bytes, Bytes>(txn, None)?;
                let key = rows::log_key(GROUP);
                let log = Log::new();
                let log_row = rows::LogRow { first: log.first, last: log.last, hard_state: log.hard_state };
                rows.put(txn, rows::STORE_KEY, &row.encode())?;
                rows.put(txn, &key, &log_row.encode(&key))?;
                Ok(CommitOrAbort::<_, ()>::Commit(rows))
            })
        };
        let created = create().map_err(|error| lmdb_error(&file, error))?.commit();
        let rows = created.ok_or_else(|| damaged(&file, MISSING_TREE))?;
        Ok(Self { env, rows, file })
    }

    /// Opens the tree of a complete store.
    pub(crate) fn open(dir: &Path, map_bytes: usize) -> Result<Self, Error> {
        let file: Arc<Path> = dir.join(DATA_FILE).into();
        // LMDB makes a new store out of a missing or empty file; here that is damage.
        let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        if bytes == 0 {
            return Err(damaged(&file, Damage::new("the file is missing or empty")));
        }
        let env = open_environment(dir, map_bytes).map_err(|error| lmdb_error(&file, error))?;
        // Before any page is touched: a page beyond the end of the file would end the process (SIGBUS).
        if used_bytes(&env) > bytes {
            return Err(damaged(&file, Damage::new("the file is shorter than its last page")));
        }
        let open = || {
            let txn = env.read_txn()?;
            env.open_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
                let rows = opener.open_database::<Bytes, Bytes>(txn, None)?;
                Ok(CommitOrAbort::<_, ()>::Commit(rows))
            })
        };
        match open().map_err(|error| lmdb_error(&file, error))?.commit() {
            Some(Some(rows)) => Ok(Self { env, rows, file }),
            _ => Err(damaged(&file, MISSING_TREE)),
        }
    }

    /// Bytes of the file that hold pages.
    pub(crate) fn used_bytes(&self) -> u64 {
        used_bytes(&self.env)
    }

    pub(crate) fn damaged(&self, damage: Damage) -> Error {
        damaged(&self.file, damage)
    }

    pub(crate) fn lmdb_error(&self, error: heed::Error) -> Error {
        lmdb_error(&self.file, error)
    }

    pub(crate) fn read_txn(&self) -> Result<RoTxn<'_, WithoutTls>, Error> {
        self.env.read_txn().map_err(|error| self.lmdb_error(error))
    }

    pub(crate) fn write_txn(&self) -> Result<RwTxn<'_>, Error> {
        self.env.write_txn().map_err(|error| self.lmdb_error(error))
    }

    fn row<'txn>(&self, txn: &'txn RoTxn<'_, WithoutTls>, key: &[u8]) -> Result<Option<&'txn [u8]>, Error> {
        self.rows.get(txn, key).map_err(|error| self.lmdb_error(error))
    }

    pub(crate) fn load_store_row(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<rows::StoreRow, Error> {
        let row = self.row(txn, rows::STORE_KEY)?.ok_or_else(|| self.damaged(MISSING_ROW))?;
        rows::StoreRow::decode(row).map_err(|damage| self.damaged(damage))
    }

    fn load_log_row(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<rows::LogRow, Error> {
        let key = rows::log_key(GROUP);
        let row = self.row(txn, &key)?.ok_or_else(|| self.damaged(MISSING_ROW))?;
        rows::LogRow::decode(&key, row).map_err(|damage| self.damaged(damage))
    }

    /// The row of the last block, with its key; `None` when the log is empty.
    fn last_block_row<'txn>(&self, txn: &'txn RoTxn<'_, WithoutTls>) -> Result<Option<Row<'txn>>, Error> {
        let last = self.rows.last(txn).map_err(|error| self.lmdb_error(error))?;
        Ok(last.filter(|(key, _)| rows::block_first(key).is_some()))
    }

    /// The bounds of the log, without a look at its entries.
    pub(crate) fn bounds(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Bounds, Error> {
        let row = self.load_log_row(txn)?;
        let last = match self.last_block_row(txn)? {
            None => row.first - 1,
            Some((_, bytes)) => rows::block_row_last(bytes).ok_or_else(|| self.damaged(LAST_MISSING))?,
        };
        Ok(Bounds { first: row.first, last })
    }

    /// Reads everything but the entries, and checks that it fits together and to the last block. Never scans the log.
    pub(crate) fn load_log(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Log, Error> {
        let row = self.load_log_row(txn)?;
        let mut log = Log {
            first: row.first,
            last: row.last,
            hard_state: row.hard_state,
            terms: self.load_terms(txn)?,
            configurations: self.load_configurations(txn)?,
        };
        let last_block = self.last_block_row(txn)?.map(|(key, bytes)| self.check_block(key, bytes)).transpose()?;
        let last = last_block.map_or(Some(log.first), |(_, info)| info.last.checked_add(1)).unwrap_or_default() - 1;
        if last < log.last {
            return Err(self.damaged(Damage::at(log.last, "the last entry is missing")));
        }
        if let Some((block, info)) = last_block
            && info.last > log.last
        {
            log.last = info.last;
            log.hard_state.commit = block.commit;
        }
        check_log(&log).map_err(|damage| self.damaged(damage))?;
        Ok(log)
    }

    fn load_terms(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Vec<TermRun>, Error> {
        let mut runs = Vec::new();
        let prefix = rows::terms_prefix(GROUP);
        for item in self.rows.prefix_iter(txn, &prefix).map_err(|error| self.lmdb_error(error))? {
            let (key, row) = item.map_err(|error| self.lmdb_error(error))?;
            runs.push(rows::decode_term(key, row).map_err(|damage| self.damaged(damage))?);
        }
        Ok(runs)
    }

    fn load_configurations(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let key = rows::configurations_key(GROUP);
        self.row(txn, &key)?.map_or_else(
            || Ok(Vec::new()),
            |row| rows::decode_configurations(&key, row).map_err(|damage| self.damaged(damage)),
        )
    }

    pub(crate) fn load_facts(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut facts = Vec::new();
        let prefix = rows::facts_prefix(GROUP);
        for item in self.rows.prefix_iter(txn, &prefix).map_err(|error| self.lmdb_error(error))? {
            let (key, row) = item.map_err(|error| self.lmdb_error(error))?;
            let name =
                rows::fact_name(key).ok_or_else(|| self.damaged(Damage::new("the name of a fact is not UTF-8")))?;
            let value = rows::without_crc(key, row).map_err(|damage| self.damaged(damage))?;
            facts.push((name.to_owned(), value.to_vec()));
        }
        Ok(facts)
    }

    /// Checks a stored block against its key and every CRC.
    pub(crate) fn check_block<'row>(
        &self,
        key: &[u8],
        row: &'row [u8],
    ) -> Result<(rows::BlockRow<'row>, BlockInfo), Error> {
        let first = rows::block_first(key).ok_or_else(|| self.damaged(Damage::new("a key is not that of a block")))?;
        let at_first = |damage: Damage| Damage { index: damage.index.or(Some(first)), detail: damage.detail };
        let row = rows::decode_block(key, row).map_err(|damage| self.damaged(at_first(damage)))?;
        let info = block::check(row.block, Depth::Records).map_err(|damage| self.damaged(at_first(damage)))?;
        if info.first == first && info.group == GROUP {
            Ok((row, info))
        } else {
            Err(self.damaged(Damage::at(first, "a block stands under a key that is not its own")))
        }
    }
}

const MISSING_TREE: Damage = Damage { index: None, detail: "the tree of rows is missing" };
const MISSING_ROW: Damage = Damage { index: None, detail: "the row of the store or of the log is missing" };
const LAST_MISSING: Damage = Damage { index: None, detail: "the last block cannot be read" };

fn check_log(log: &Log) -> Result<(), Damage> {
    if log.first == 0 || log.last.checked_add(1).is_none_or(|end| end < log.first) {
        return Err(Damage::new("the bounds of the log are not in order"));
    }
    let empty = log.last + 1 == log.first;
    let covers = match (log.terms.first(), log.terms.last()) {
        (Some(first), Some(last)) => !empty && first.first == log.first && last.first <= log.last,
        _ => empty,
    };
    if !covers || !log.terms.is_sorted_by(|a, b| a.first < b.first) {
        return Err(Damage::new("the term runs do not cover the log"));
    }
    let within = log.configurations.iter().all(|(index, _)| (log.first..=log.last).contains(index));
    if !within || !log.configurations.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(Damage::new("the list of configuration entries does not fit the log"));
    }
    Ok(())
}

/// Every key from `from` to `end`, both included: of one kind of row and one group, at or behind a position.
pub(crate) fn keys_from<'a>(
    from: &'a rows::PositionKey,
    end: &'a rows::PositionKey,
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from.as_slice()), Bound::Included(end.as_slice()))
}

fn used_bytes(env: &DataFileEnv) -> u64 {
    let pages = u64::try_from(env.info().last_page_number).unwrap_or(u64::MAX).saturating_add(1);
    pages.saturating_mul(u64::from(env.unnamed_database_stat().page_size))
}

/// The largest pool of libuv threads: each reads at most once at a time.
const READERS_MAX: u32 = 1024;

#[allow(unsafe_code)]
fn open_environment(dir: &Path, map_bytes: usize) -> heed::Result<DataFileEnv> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes).max_readers(READERS_MAX);
    // SAFETY: NO_READ_AHEAD is a hint to the kernel; none of the flags that give up syncing or locking is set.
    // Opening maps the file, which is sound as long as nobody else writes or shrinks it: the directory lock, taken
    // before and released after the environment is closed, keeps every other opener of ours out (of this process too),
    // and only LMDB writes the pages. `Reservation` extends the file, and never shrinks it.
    unsafe { options.flags(EnvFlags::NO_READ_AHEAD).open(dir) }
}

fn damaged(file: &Path, damage: Damage) -> Error {
    Error::Corrupt { file: file.to_owned(), index: damage.index, detail: damage.detail.to_owned() }
}

fn lmdb_error(file: &Path, error: heed::Error) -> Error {
    match error {
        heed::Error::Io(cause) => Error::io(format!("LMDB on {}", file.display()), cause),
        heed::Error::Mdb(MdbError::MapFull) => Error::Full {
            detail: format!(
                "{} has reached the size of its map. Take a snapshot and compact, or use a new store.",
                file.display()
            ),
        },
        heed::Error::EnvAlreadyOpened => Error::Locked {
            dir: file.parent().unwrap_or(file).to_owned(),
            holder: format!("this process ({})", std::process::id()),
        },
        heed::Error::Mdb(
            kind @ (MdbError::PageNotFound
            | MdbError::Corrupted
            | MdbError::Invalid
            | MdbError::VersionMismatch
            | MdbError::Incompatible
            | MdbError::BadValSize),
        ) => Error::Corrupt { file: file.to_owned(), index: None, detail: kind.to_string() },
        other => Error::io(format!("LMDB on {}", file.display()), std::io::Error::other(other)),
    }
}
