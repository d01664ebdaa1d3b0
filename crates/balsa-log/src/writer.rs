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
use crate::format::block::{self, BlockInfo, Depth};
use crate::format::operation::{Operation, Operations};
use crate::format::{Damage, rows};
use crate::shared::{Batch, Shared};
use crate::tables::{GROUP, HardState, Log, Tables, TermRun, keys_from};

/// Between two tries on a full disk: soon enough to go on, rare enough not to matter.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);
/// Pages that a transaction may touch besides its blocks: paths of four trees and of the free list, with splits.
const TREE_PAGES: u64 = 128;
/// A block takes at most this many pages more than its bytes fill.
const PAGES_PER_OPERATION: u64 = 3;
const PAGE_BYTES: u64 = 4096;

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tables: Tables,
    pub(crate) log: Log,
    pub(crate) store_row: rows::StoreRow,
    pub(crate) reservation: Reservation,
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fault: Option<FaultHook>,
}

/// One checked step.
enum Step<'a> {
    Append { block: &'a [u8], info: BlockInfo },
    Other(Operation<'a>),
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
        let steps = plan(&self.log, batch)?;
        self.reserve(batch, steps.len())?;
        let tables = self.tables.clone();
        let mut txn = tables.write_txn()?;
        #[cfg(any(test, feature = "fault-injection"))]
        self.inject(FaultPoint::Write)?;
        let mut configurations_changed = false;
        for step in &steps {
            configurations_changed |= self.apply(&mut txn, step)?;
        }
        self.put_rows(&mut txn, configurations_changed).map_err(|error| tables.lmdb_error(error))?;
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
    fn reserve(&mut self, batch: &Batch, steps: usize) -> Result<(), Error> {
        let bytes: u64 = batch.tickets.iter().filter_map(|ticket| u64::try_from(ticket.len()).ok()).sum();
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
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

    /// Applies one step to the transaction and to the log in memory. True when the list of configurations changed.
    fn apply(&mut self, txn: &mut RwTxn<'_>, step: &Step<'_>) -> Result<bool, Error> {
        let tables = self.tables.clone();
        let written = match step {
            Step::Append { block, info } => self.append(txn, block, info),
            Step::Other(Operation::TruncateSuffix { from }) => return self.truncate_suffix(txn, *from),
            Step::Other(Operation::HardState { term, commit, voted_for }) => {
                self.log.hard_state =
                    HardState { term: *term, commit: *commit, voted_for: voted_for.map(ToOwned::to_owned) };
                Ok(false)
            }
            Step::Other(Operation::Put { key, value }) => {
                let key = rows::fact_key(GROUP, key);
                tables.facts.put(txn, &key, &rows::with_crc(&key, value.to_vec())).map(|()| false)
            }
            Step::Other(Operation::Delete { key }) => {
                tables.facts.delete(txn, &rows::fact_key(GROUP, key)).map(|_| false)
            }
            Step::Other(Operation::Append { .. }) => Ok(false),
        };
        written.map_err(|error| tables.lmdb_error(error))
    }

    fn append(&mut self, txn: &mut RwTxn<'_>, bytes: &[u8], info: &BlockInfo) -> heed::Result<bool> {
        let key = rows::position_key(GROUP, info.first);
        // The only group is the last one of the tree.
        self.tables.blocks.put_with_flags(txn, PutFlags::APPEND, &key, bytes)?;
        if self.log.terms.last().is_none_or(|run| run.term != info.term) {
            self.log.terms.push(TermRun { first: info.first, term: info.term });
            self.tables.terms.put(txn, &key, &rows::encode_term(&key, info.term))?;
        }
        self.log.last = info.last;
        if info.is_configuration {
            self.log.configurations.push((info.first, block::only_payload(bytes).to_vec()));
        }
        Ok(info.is_configuration)
    }

    fn truncate_suffix(&mut self, txn: &mut RwTxn<'_>, from: u64) -> Result<bool, Error> {
        let tables = self.tables.clone();
        self.cut_block(txn, from)?;
        let key = rows::position_key(GROUP, from);
        let end = rows::position_key(GROUP, u64::MAX);
        let delete = |txn: &mut RwTxn<'_>| {
            tables.blocks.delete_range(txn, &keys_from(&key, &end))?;
            tables.terms.delete_range(txn, &keys_from(&key, &end))
        };
        delete(txn).map_err(|error| tables.lmdb_error(error))?;
        self.log.last = from - 1;
        self.log.terms.retain(|run| run.first < from);
        let configurations = self.log.configurations.len();
        self.log.configurations.retain(|(index, _)| *index < from);
        Ok(self.log.configurations.len() != configurations)
    }

    /// Replaces the block that `from` cuts through by its shortened copy.
    fn cut_block(&mut self, txn: &mut RwTxn<'_>, from: u64) -> Result<(), Error> {
        let key = rows::position_key(GROUP, from);
        let before = self.tables.blocks.get_lower_than(txn, &key).map_err(|error| self.tables.lmdb_error(error))?;
        let Some((key, bytes)) = before else { return Ok(()) };
        let info = self.tables.check_block(key, bytes)?;
        if info.last < from {
            return Ok(());
        }
        let mut shortened = vec![0; bytes.len()];
        let length = block::clip(bytes, info.first, from, &mut shortened);
        let shortened = length
            .and_then(|length| shortened.get(..length))
            .ok_or_else(|| self.tables.damaged(Damage::at(info.first, "a block cannot be shortened")))?;
        let key = rows::position_key(GROUP, info.first);
        self.tables.blocks.put(txn, &key, shortened).map_err(|error| self.tables.lmdb_error(error))
    }

    fn put_rows(&self, txn: &mut RwTxn<'_>, configurations_changed: bool) -> heed::Result<()> {
        let key = rows::log_key(GROUP);
        let row = rows::LogRow { first: self.log.first, last: self.log.last, hard_state: self.log.hard_state.clone() };
        self.tables.meta.put(txn, &key, &row.encode(&key))?;
        if configurations_changed {
            let key = rows::configurations_key(GROUP);
            self.tables.meta.put(txn, &key, &rows::encode_configurations(&key, &self.log.configurations))?;
        }
        Ok(())
    }

    fn mark_clean(&mut self) -> Result<(), Error> {
        self.store_row.clean = true;
        put_store_row(&self.tables, &self.store_row)
    }
}

/// Writes the row of the store in a transaction of its own, with full sync.
pub(crate) fn put_store_row(tables: &Tables, row: &rows::StoreRow) -> Result<(), Error> {
    let mut txn = tables.write_txn()?;
    let put = tables.meta.put(&mut txn, rows::STORE_KEY, &row.encode());
    put.and_then(|()| txn.commit()).map_err(|error| tables.lmdb_error(error))
}

/// Checks a batch against the log before anything is written: contiguity is ours, LMDB does not see gaps.
fn plan<'a>(log: &Log, batch: &'a Batch) -> Result<Vec<Step<'a>>, Error> {
    let mut steps = Vec::new();
    let mut last = log.last;
    for ticket in &batch.tickets {
        for operation in Operations::new(ticket) {
            let operation = operation.map_err(|damage| Error::invalid(damage.detail))?;
            match operation {
                Operation::Append { block } => {
                    let info = check_append(block, last)?;
                    last = info.last;
                    steps.push(Step::Append { block, info });
                }
                Operation::TruncateSuffix { from } => {
                    if from < log.first || from > last {
                        return Err(Error::invalid(format!(
                            "a truncation from {from} was submitted to a log of {} to {last}",
                            log.first
                        )));
                    }
                    last = from - 1;
                    steps.push(Step::Other(operation));
                }
                Operation::HardState { .. } | Operation::Put { .. } | Operation::Delete { .. } => {
                    steps.push(Step::Other(operation));
                }
            }
        }
    }
    Ok(steps)
}

fn check_append(bytes: &[u8], last: u64) -> Result<BlockInfo, Error> {
    let info = block::check(bytes, Depth::Block)
        .map_err(|damage| Error::invalid(format!("a block that is not intact was submitted: {}", damage.detail)))?;
    if info.first != last + 1 || info.group != GROUP {
        return Err(Error::invalid(format!(
            "a block from {} was submitted to a log that ends at {last}: the next index is {}",
            info.first,
            last + 1
        )));
    }
    Ok(info)
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
