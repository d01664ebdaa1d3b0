//! The writer thread: drains the queue into one LMDB transaction per group commit. Any failure but a full disk seen
//! before the transaction ends it, and the store is poisoned: after a failed flush the kernel has dropped the pages, and
//! the next commit would succeed without them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
#[cfg(any(test, feature = "fault-injection"))]
use crate::fault::{FaultHook, FaultPoint};
use crate::filesystem::Reservation;
use crate::format::rows;
use crate::log::Log;
use crate::plan::{Plan, plan};
use crate::shared::{Batch, Shared};
use crate::tables::Tables;
use crate::transaction::{Transaction, put_log};

/// Between two tries on a full disk: soon enough to go on, rare enough not to matter.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);
/// Pages that a transaction may touch besides its blocks: paths of the tree and of the free list, with splits.
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
    /// Where block rows are put together.
    pub(crate) scratch: Vec<u8>,
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
        let mut transaction = Transaction::begin(&self.tables, &mut self.log, &mut self.scratch)?;
        #[cfg(any(test, feature = "fault-injection"))]
        inject(self.fault.as_ref(), FaultPoint::Write)?;
        transaction.write(&plan)?;
        #[cfg(any(test, feature = "fault-injection"))]
        inject(self.fault.as_ref(), FaultPoint::Commit)?;
        transaction.commit()
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
        inject(self.fault.as_ref(), FaultPoint::Reserve)?;
        let used = self.tables.used_bytes();
        self.reservation
            .ensure(used, needed)
            .map_err(|cause| Error::io(format!("reserving room in {}", self.tables.file.display()), cause))
    }

    fn mark_clean(&mut self) -> Result<(), Error> {
        self.store_row.clean = true;
        put_rows(&self.tables, &self.store_row, &self.log)
    }
}

/// Writes the rows of the store and of the log in a transaction of its own, with full sync.
pub(crate) fn put_rows(tables: &Tables, store: &rows::StoreRow, log: &Log) -> Result<(), Error> {
    let mut txn = tables.write_txn()?;
    let put = tables.rows.put(&mut txn, rows::STORE_KEY, &store.encode()).and_then(|()| put_log(tables, &mut txn, log));
    put.and_then(|()| txn.commit()).map_err(|error| tables.lmdb_error(error))
}

#[cfg(any(test, feature = "fault-injection"))]
fn inject(hook: Option<&FaultHook>, point: FaultPoint) -> Result<(), Error> {
    match hook.and_then(|hook| hook(point)) {
        Some(cause) => Err(Error::io(format!("injected at {point:?}"), cause)),
        None => Ok(()),
    }
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
