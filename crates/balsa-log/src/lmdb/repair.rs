//! A damaged block is replaced, in a transaction of its own. What stands on other rows stays as it is: where the log ends,
//! its terms, its configurations and the vote are in none of them.

use heed::RwTxn;

use super::rows::{self, PositionKey};
use super::tree::Tree;
use crate::error::Error;
use crate::format::{Damage, GROUP};
use crate::log::Log;
use crate::repair::Replacement;

/// Puts the replacement in the place of the damaged row of the same entries. False: there is none, or the log has other
/// entries there by now, and nothing is changed.
pub(super) fn replace(
    tree: &Tree,
    txn: &mut RwTxn<'_>,
    log: &Log,
    replacement: &Replacement,
    scratch: &mut Vec<u8>,
) -> Result<bool, Error> {
    let Some(damaged) = damaged_key(tree, txn, log, replacement)? else { return Ok(false) };
    if !replacement.is_of(log) {
        return Ok(false);
    }
    let mut put = || {
        tree.rows.delete(txn, &damaged)?;
        for (block, info) in replacement.blocks() {
            let key = rows::block_key(GROUP, info.first);
            // As newer rows have it: should it become the last one, it must not say less than the row of the log.
            rows::encode_block(scratch, &key, block, log.hard_state.commit);
            tree.rows.put(txn, &key, scratch)?;
        }
        Ok(())
    };
    put().map_err(|error: heed::Error| tree.lmdb_error(error))?;
    Ok(true)
}

/// The key of the row that holds exactly these entries, but for those that a compaction has let go of, and whose block is
/// damaged.
fn damaged_key(
    tree: &Tree,
    txn: &RwTxn<'_>,
    log: &Log,
    replacement: &Replacement,
) -> Result<Option<PositionKey>, Error> {
    let wanted = rows::block_key(GROUP, replacement.first);
    let found = tree.rows.get_lower_than_or_equal_to(txn, &wanted).map_err(|error| tree.lmdb_error(error))?;
    let Some((key, row)) = found else { return Ok(None) };
    let Some(first) = rows::block_first(key) else { return Ok(None) };
    let next = tree.rows.get_greater_than(txn, key).map_err(|error| tree.lmdb_error(error))?;
    let next = next.and_then(|(key, _)| rows::block_first(key)).unwrap_or(log.last + 1);
    let is_whole = first == replacement.first || replacement.first <= log.first;
    if !is_whole || next != replacement.last + 1 || tree.intact_block(key, row).is_ok() {
        return Ok(None);
    }
    key.try_into().map(Some).map_err(|_| tree.damaged(Damage::new("a key is not that of a block")))
}
