//! What an open reads: every row but the blocks, and the last block. It checks that all of it fits together, and never
//! scans the log.

use std::path::Path;

use super::ENGINE;
use super::rows::{self, StoreRow};
use super::tree::{ReadTxn, Tree};
use crate::error::Error;
use crate::format::{Damage, GROUP};
use crate::log::{Log, TermRun};

/// The rows of a tree, but for the blocks.
pub(super) struct Loaded {
    pub(super) store: StoreRow,
    pub(super) log: Log,
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
    Ok(Loaded { store, log: load_log(tree, &txn)?, facts: load_facts(tree, &txn)? })
}

fn load_log(tree: &Tree, txn: &ReadTxn<'_>) -> Result<Log, Error> {
    let row = tree.log_row(txn)?;
    let mut log = Log {
        first: row.first,
        last: row.last,
        hard_state: row.hard_state,
        terms: load_terms(tree, txn)?,
        configurations: load_configurations(tree, txn)?,
    };
    let last_block = tree.last_block_row(txn)?.map(|(key, bytes)| tree.check_block(key, bytes)).transpose()?;
    let last = last_block.map_or(log.first.saturating_sub(1), |(_, info)| info.last);
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
