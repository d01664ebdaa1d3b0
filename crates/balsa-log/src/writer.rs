//! The writer thread: drains the queue into one group commit after the other, and while nothing comes removes what
//! compactions have left behind. Any failure but a full disk seen before
//! anything was written ends it, and the store is poisoned: nothing is tried again that may have reached a device.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::lmdb::{FLUSHES_PER_TRANSACTION, Home};
use crate::log::Log;
use crate::plan::{Plan, plan};
use crate::queue::{Batch, Next};
use crate::shared::Shared;
use crate::watch::{WATCH_EVERY, Watch};

/// Between two tries on a full disk: soon enough to go on, rare enough not to matter.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) home: Home,
    pub(crate) watch: Watch,
    /// What `home` holds: each batch is judged by it, and moves it.
    pub(crate) log: Log,
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
        if let Err(error) = self.write_all() {
            self.shared.poison(&error);
        }
    }

    /// Writes what comes until the store closes; then marks the close, unless another thread poisoned the store.
    fn write_all(&mut self) -> Result<(), Error> {
        let mut patience = self.patience();
        loop {
            let next = self.shared.next(patience);
            // Before the batch: what would go to a file without a name is not acknowledged.
            self.watch.look()?;
            patience = match next {
                Next::Batch(batch) => {
                    self.write(&batch)?;
                    self.patience()
                }
                Next::Nothing => self.sweep()?,
                Next::End if self.shared.fault().is_some() => return Ok(()),
                Next::End => return self.home.mark_clean(&self.log),
            };
        }
    }

    /// How long to wait for a ticket: not at all while there is something to do besides.
    fn patience(&self) -> Duration {
        if self.has_to_sweep() { Duration::ZERO } else { WATCH_EVERY }
    }

    /// While the home is full, what was freed last must become free as well: nobody may propose, so no other transaction
    /// need come.
    fn has_to_sweep(&self) -> bool {
        self.home.is_left_over() || (self.home.has_freed() && self.shared.is_full())
    }

    /// One group commit: check everything, reserve room, then one transaction with full sync; then the news of it.
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let plan = plan(&self.log, &batch.tickets)?;
        self.reserve(&plan)?;
        self.home.apply(&plan, &mut self.log)?;
        self.shared.publish(batch, &self.log, self.home.usage(), FLUSHES_PER_TRANSACTION);
        Ok(())
    }

    /// Removes a slice of what compactions have left behind, if there is any; on a full disk that is put off, for nobody
    /// waits for it. Answers with how long to wait for a ticket now.
    fn sweep(&mut self) -> Result<Duration, Error> {
        if !self.has_to_sweep() {
            return Ok(WATCH_EVERY);
        }
        match self.home.reserve_sweep() {
            Err(Error::Io { cause, .. }) if is_full(&cause) => return Ok(FULL_DISK_PAUSE),
            reserved => reserved?,
        }
        self.home.sweep(&self.log)?;
        self.shared.swept(self.home.usage(), FLUSHES_PER_TRANSACTION);
        Ok(self.patience())
    }

    /// Takes room on the device; waits, and says so, while the disk is full.
    fn reserve(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        loop {
            self.watch.look()?;
            match self.home.reserve(plan) {
                Err(Error::Io { cause, .. }) if is_full(&cause) => {
                    if !self.shared.stall(FULL_DISK_PAUSE) {
                        return Err(Error::Full {
                            detail: format!(
                                "the disk of {} was full when the store closed: what was queued was not written. Free \
                                 space and open it again.",
                                self.home.file().display()
                            ),
                        });
                    }
                }
                reserved => return reserved,
            }
        }
    }
}

/// No room on the device, within the quota, or within what one file may take.
fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
