//! The writer thread: drains the queue into one LMDB transaction per group commit. Any failure but a full disk seen
//! before the transaction ends it, and the store is poisoned: after a failed flush the kernel has dropped the pages, and
//! the next commit would succeed without them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use heed::{PutFlags, RwTxn};

use crate::error::Error;
#[cfg(any(test, feature = "fault-injection"))]
use crate::fault::{FaultHook, FaultPoint};
use crate::filesystem::Reservation;
use crate::format::block::{self, BlockInfo};
use crate::format::{Damage, rows};
use crate::log::{HardState, Log, TermRun};
use crate::plan::{Plan, Step, plan};
use crate::shared::{Batch, Shared};
use crate::tables::{GROUP, Tables, keys_from};

/// Between two tries on a full disk: soon enough to go on, rare enough not to matter.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);
/// Pages that a transaction may touch besides its blocks: paths of four trees and of the free list, with splits.
const TREE_PAGES: u64 = 128;
/// A block takes at most this many pages more than its bytes fill.
const PAGES_PER_OPERATION: u64 = 3;
const PAGE_BYTES: u64 = 4096;
/// What the free list needs for each page that a truncation frees; an entry rarely fills more than one.
const FREED_PAGE_BYTES: u64 = 8;

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tables: Tables,
    pub(crate) log: Log,
    pub(crate) store_row: rows::StoreRow,
    pub(crate) reservation: Reservation,
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fault: Option<FaultHook>,
}

impl Writer {
    /// Starts the thread. It ends when the store closes or is poisoned; a panic in it poisons.
    pub(crate) fn spawn(self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("balsa-writer".to_owned()).spawn(move || {
            let shared = Arc::clone(&self.shared);
            if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                shared.poison(&Error::invalid("the writer thread panicked"));
            }
        })
    }

    fn run(mut self) {
        while let Some(batch) = self.shared.next_batch() {
            match self.commit(&batch) {
                Ok(()) => self.shared.publish(&batch, self.log.first, self.log.last),
                Err(error) => return self.shared.poison(&error),
            }
        }
        // The queue also ends when another thread poisoned the store; then it stays unclean.
        if self.shared.fault().is_none()
            && let Err(error) = self.mark_clean()
        {
            self.shared.poison(&error);
        }
    }

    /// One group commit: check everything, reserve room, then one transaction with full sync.
    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        let plan = plan(&self.log, batch)?;
        self.reserve(batch, &plan)?;
        let tables = &self.tables;
        let mut txn = tables.write_txn()?;
        #[cfg(any(test, feature = "fault-injection"))]
        self.inject(FaultPoint::Write)?;
        let mut configurations_changed = false;
        for step in &plan.steps {
            configurations_changed |= apply(tables, &mut self.log, &mut txn, step)?;
        }
        put_rows(tables, &self.log, &mut txn, configurations_changed).map_err(|error| tables.lmdb_error(error))?;
        #[cfg(any(test, feature = "fault-injection"))]
        self.inject(FaultPoint::Commit)?;
        txn.commit().map_err(|error| tables.lmdb_error(error))
    }

    #[cfg(any(test, feature = "fault-injection"))]
    fn inject(&self, point: FaultPoint) -> Result<(), Error> {
        match self.fault.as_ref().and_then(|hook| hook(point)) {
            Some(cause) => Err(Error::io(format!("injected at {point:?}"), cause)),
            None => Ok(()),
        }
    }

    /// Takes room on the device for the batch; waits, and says so, while the disk is full.
    fn reserve(&mut self, batch: &Batch, plan: &Plan<'_>) -> Result<(), Error> {
        // A truncation writes the numbers of the pages that it frees.
        let bytes = batch.bytes().saturating_add(plan.truncated.saturating_mul(FREED_PAGE_BYTES));
        let steps = u64::try_from(plan.steps.len()).unwrap_or(u64::MAX);
        let pages = steps.saturating_mul(PAGES_PER_OPERATION).saturating_add(TREE_PAGES);
        let needed = bytes.saturating_add(pages.saturating_mul(PAGE_BYTES));
        loop {
            match self.try_reserve(needed) {
                Ok(()) => return Ok(()),
                Err(Error::Io { cause, .. }) if is_full(&cause) => {
                    if !self.shared.stall(FULL_DISK_PAUSE) {
                        return Err(Error::Full {
                            detail: format!(
                                "the disk of {} was full when the store closed: what was queued was not written. Free \
                                 space and open it again.",
                                self.tables.file.display()
                            ),
                        });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_reserve(&mut self, needed: u64) -> Result<(), Error> {
        #[cfg(any(test, feature = "fault-injection"))]
        self.inject(FaultPoint::Reserve)?;
        let used = self.tables.used_bytes();
        self.reservation
            .ensure(used, needed)
            .map_err(|cause| Error::io(format!("reserving room in {}", self.tables.file.display()), cause))
    }

    fn mark_clean(&mut self) -> Result<(), Error> {
        self.store_row.clean = true;
        put_store_row(&self.tables, &self.store_row)
    }
}

/// Applies one step to the transaction and to the log in memory. True when the list of configurations changed.
fn apply(tables: &Tables, log: &mut Log, txn: &mut RwTxn<'_>, step: &Step<'_>) -> Result<bool, Error> {
    let written = match step {
        Step::Append { block, info } => append(tables, log, txn, block, info),
        Step::TruncateSuffix { from } => return truncate_suffix(tables, log, txn, *from),
        Step::HardState { term, commit, voted_for } => {
            let voted_for = voted_for.map(ToOwned::to_owned);
            log.hard_state = HardState { term: *term, commit: *commit, voted_for };
            Ok(false)
        }
        Step::Put { key, value } => {
            let key = rows::fact_key(GROUP, key);
            tables.facts.put(txn, &key, &rows::with_crc(&key, value.to_vec())).map(|()| false)
        }
        Step::Delete { key } => tables.facts.delete(txn, &rows::fact_key(GROUP, key)).map(|_| false),
    };
    written.map_err(|error| tables.lmdb_error(error))
}

fn append(tables: &Tables, log: &mut Log, txn: &mut RwTxn<'_>, bytes: &[u8], info: &BlockInfo) -> heed::Result<bool> {
    let key = rows::position_key(GROUP, info.first);
    // The only group is the last one of the tree.
    tables.blocks.put_with_flags(txn, PutFlags::APPEND, &key, bytes)?;
    if log.terms.last().is_none_or(|run| run.term != info.term) {
        log.terms.push(TermRun { first: info.first, term: info.term });
        tables.terms.put(txn, &key, &rows::encode_term(&key, info.term))?;
    }
    log.last = info.last;
    if info.is_configuration {
        log.configurations.push((info.first, block::only_payload(bytes).to_vec()));
    }
    Ok(info.is_configuration)
}

fn truncate_suffix(tables: &Tables, log: &mut Log, txn: &mut RwTxn<'_>, from: u64) -> Result<bool, Error> {
    cut_block(tables, txn, from)?;
    let key = rows::position_key(GROUP, from);
    let end = rows::position_key(GROUP, u64::MAX);
    let delete = |txn: &mut RwTxn<'_>| {
        tables.blocks.delete_range(txn, &keys_from(&key, &end))?;
        tables.terms.delete_range(txn, &keys_from(&key, &end))
    };
    delete(txn).map_err(|error| tables.lmdb_error(error))?;
    log.last = from - 1;
    log.terms.retain(|run| run.first < from);
    let configurations = log.configurations.len();
    log.configurations.retain(|(index, _)| *index < from);
    Ok(log.configurations.len() != configurations)
}

/// Replaces the block that `from` cuts through by its shortened copy.
fn cut_block(tables: &Tables, txn: &mut RwTxn<'_>, from: u64) -> Result<(), Error> {
    let key = rows::position_key(GROUP, from);
    let before = tables.blocks.get_lower_than(txn, &key).map_err(|error| tables.lmdb_error(error))?;
    let Some((key, bytes)) = before else { return Ok(()) };
    let info = tables.check_block(key, bytes)?;
    if info.last < from {
        return Ok(());
    }
    let mut shortened = vec![0; bytes.len()];
    let length = block::clip(bytes, info.first, from, &mut shortened);
    let shortened = length
        .and_then(|length| shortened.get(..length))
        .ok_or_else(|| tables.damaged(Damage::at(info.first, "a block cannot be shortened")))?;
    let key = rows::position_key(GROUP, info.first);
    tables.blocks.put(txn, &key, shortened).map_err(|error| tables.lmdb_error(error))
}

fn put_rows(tables: &Tables, log: &Log, txn: &mut RwTxn<'_>, configurations_changed: bool) -> heed::Result<()> {
    let key = rows::log_key(GROUP);
    let row = rows::LogRow { first: log.first, last: log.last, hard_state: log.hard_state.clone() };
    tables.meta.put(txn, &key, &row.encode(&key))?;
    if configurations_changed {
        let key = rows::configurations_key(GROUP);
        tables.meta.put(txn, &key, &rows::encode_configurations(&key, &log.configurations))?;
    }
    Ok(())
}

/// Writes the row of the store in a transaction of its own, with full sync.
pub(crate) fn put_store_row(tables: &Tables, row: &rows::StoreRow) -> Result<(), Error> {
    let mut txn = tables.write_txn()?;
    let put = tables.meta.put(&mut txn, rows::STORE_KEY, &row.encode());
    put.and_then(|()| txn.commit()).map_err(|error| tables.lmdb_error(error))
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
