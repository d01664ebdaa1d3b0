//! What an open reads: every row but the blocks, and the last block. It checks that all of it fits together, and never
//! scans the log.

use std::ops::Bound;
use std::path::Path;

use super::ENGINE;
use super::rows::{self, StoreRow};
use super::sweep;
use super::tree::{ReadTxn, Tree};
use crate::error::Error;
use crate::format::snapshot::Snapshot;
use crate::format::{Damage, GROUP};
use crate::journal::JournalRow;
use crate::log::{Log, TermRun};

/// The rows of a tree, but for the blocks.
pub(super) struct Loaded {
    pub(super) store: StoreRow,
    /// Of the journal in front of it; `None` where there is none.
    pub(super) journal: Option<JournalRow>,
    pub(super) log: Log,
    /// Whether compactions have left blocks behind.
    pub(super) is_left_over: bool,
    /// In the order of their names.
    pub(super) facts: Vec<(String, Vec<u8>)>,
}

/// Reads everything but the entries. Another version is refused before a row of the log is looked at.
pub(super) fn load(dir: &Path, tree: &Tree) -> Result<Loaded, Error> {
    let txn = tree.read_txn()?;
    let store = tree.store_row(&txn)?;
    if store.version != ENGINE.version {
        return Err(ENGINE.wrong_version(dir, store.version));
    }
    let log = load_log(tree, &txn)?;
    check_keys(tree, &txn)?;
    let is_left_over = sweep::is_left_over(tree, &txn, &log)?;
    let journal = tree.row(&txn, rows::JOURNAL_KEY)?.map(rows::decode_journal).transpose();
    let journal = journal.map_err(|damage| tree.damaged(damage))?;
    Ok(Loaded { store, journal, log, is_left_over, facts: load_facts(tree, &txn)? })
}

/// A key carries no checksum of its own: a row under one that is damaged would not be missed, but for those that must be
/// there. So every row up to the blocks must have a key that a row can have, and then it is read; and so must the last
/// one, behind which nothing is in order.
fn check_keys(tree: &Tree, txn: &ReadTxn<'_>) -> Result<(), Error> {
    let blocks = rows::block_key(GROUP, 0);
    let before = (Bound::Unbounded, Bound::Excluded(blocks.as_slice()));
    let rows = tree.rows.range(txn, &before).map_err(|error| tree.lmdb_error(error))?;
    let last = tree.rows.last(txn).map_err(|error| tree.lmdb_error(error))?;
    for item in rows.chain(last.map(Ok)) {
        let (key, _) = item.map_err(|error| tree.lmdb_error(error))?;
        if !rows::is_key(key) {
            return Err(tree.damaged(Damage::new("a row has a key that no row has")));
        }
    }
    Ok(())
}

fn load_log(tree: &Tree, txn: &ReadTxn<'_>) -> Result<Log, Error> {
    let row = tree.log_row(txn)?;
    let (prev_term, snapshot) = load_snapshot(tree, txn)?.unzip();
    let mut log = Log {
        first: row.first,
        prev_term: prev_term.unwrap_or(0),
        snapshot,
        last: row.last,
        hard_state: row.hard_state,
        terms: load_terms(tree, txn)?,
        configurations: load_configurations(tree, txn)?,
    };
    let last_block = tree.last_block_row(txn)?.map(|(key, bytes)| tree.check_block(key, bytes)).transpose()?;
    // What is left over of a log that was compacted ends before `first`.
    let last = last_block.map_or(0, |(_, info)| info.last).max(log.first.saturating_sub(1));
    if last < log.last {
        return Err(tree.damaged(Damage::at(log.last, "the last entry is missing")));
    }
    if let Some((block, info)) = last_block
        && info.last > log.last
    {
        log.last = info.last;
        log.hard_state.commit = block.commit;
    }
    log.check().map_err(|damage| tree.damaged(damage))?;
    Ok(log)
}

/// The term of the entry before the first, and the snapshot.
type Prefix = (u64, Snapshot<Vec<u8>>);

/// How the log begins; `None` while it was never compacted.
fn load_snapshot(tree: &Tree, txn: &ReadTxn<'_>) -> Result<Option<Prefix>, Error> {
    let key = rows::snapshot_key(GROUP);
    let Some(row) = tree.row(txn, &key)? else { return Ok(None) };
    let (prev_term, snapshot) = rows::decode_snapshot(&key, row).map_err(|damage| tree.damaged(damage))?;
    Ok(Some((prev_term, snapshot.owned())))
}

fn load_terms(tree: &Tree, txn: &ReadTxn<'_>) -> Result<Vec<TermRun>, Error> {
    let mut runs = Vec::new();
    let prefix = rows::terms_prefix(GROUP);
    for item in tree.rows.prefix_iter(txn, &prefix).map_err(|error| tree.lmdb_error(error))? {
        let (key, row) = item.map_err(|error| tree.lmdb_error(error))?;
        runs.push(rows::decode_term(key, row).map_err(|damage| tree.damaged(damage))?);
    }
    Ok(runs)
}

fn load_configurations(tree: &Tree, txn: &ReadTxn<'_>) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let key = rows::configurations_key(GROUP);
    match tree.row(txn, &key)? {
        Some(row) => rows::decode_configurations(&key, row).map_err(|damage| tree.damaged(damage)),
        None => Ok(Vec::new()),
    }
}

fn load_facts(tree: &Tree, txn: &ReadTxn<'_>) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut facts = Vec::new();
    let prefix = rows::facts_prefix(GROUP);
    for item in tree.rows.prefix_iter(txn, &prefix).map_err(|error| tree.lmdb_error(error))? {
        let (key, row) = item.map_err(|error| tree.lmdb_error(error))?;
        let name = rows::fact_name(key).ok_or_else(|| tree.damaged(Damage::new("the name of a fact is not UTF-8")))?;
        let value = rows::without_crc(key, row).map_err(|damage| tree.damaged(damage))?;
        facts.push((name.to_owned(), value.to_vec()));
    }
    Ok(facts)
}
