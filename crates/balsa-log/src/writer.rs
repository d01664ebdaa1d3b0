//! The writer of the home, a thread: drains what it is fed by into one transaction after the other, and while nothing
//! comes removes what compactions have left behind. It is fed by the queue, or, where there is a journal, by what is
//! durable there already. Any failure but a full disk seen before anything was written ends it, and the store is
//! poisoned: nothing is tried again that may have reached a device.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::lmdb::{FLUSHES_PER_TRANSACTION, Home};
use crate::log::Log;
use crate::plan::{Plan, plan};
use crate::queue::{Batch, Next};
use crate::repair::{Repaired, Replacement, Request};
use crate::room::Usage;
use crate::watch::{WATCH_EVERY, Watch};

/// Between two tries on a full disk: soon enough to go on, rare enough not to matter.
pub(crate) const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);

/// Where the batches come from, and who is told of them.
pub(crate) trait Feed: Send + Sync {
    /// Waits for tickets, no longer than `patience`.
    fn next(&self, patience: Duration) -> Next;
    /// A batch is durable in the home, after which the log there is `log`, and so much of it is gone.
    fn publish(&self, batch: &Batch, log: &Log, usage: Usage, flushes: u64);
    /// So much is gone behind a sweep.
    fn swept(&self, usage: Usage, flushes: u64);
    /// Poisons the store for good; the first error is the one that stays.
    fn poison(&self, error: &Error);
    /// Code and message of what poisoned the store.
    fn fault(&self) -> Option<(&'static str, String)>;
    /// Whether the home has come near its bound.
    fn is_full(&self) -> bool;
    /// The disk is full: waits a moment. False when the store is closing: nobody waits for it then.
    fn stall(&self) -> bool;
}

pub(crate) struct Writer<F> {
    pub(crate) feed: Arc<F>,
    pub(crate) home: Home,
    pub(crate) watch: Watch,
    /// What `home` holds: each batch is judged by it, and moves it.
    pub(crate) log: Log,
    /// Damaged blocks that are to be replaced; whoever asks also sees to it that `feed` does not wait.
    pub(crate) repairs: Receiver<Request>,
}

impl<F: Feed + 'static> Writer<F> {
    /// Starts the thread. It ends when the store closes or is poisoned; a panic in it poisons.
    pub(crate) fn spawn(self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("balsa-writer".to_owned()).spawn(move || {
            let feed = Arc::clone(&self.feed);
            if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                feed.poison(&Error::invalid("the writer thread panicked"));
            }
        })
    }

    fn run(mut self) {
        if let Err(error) = self.write_all() {
            self.feed.poison(&error);
        }
    }

    /// Writes what comes until the store closes; then marks the close, unless another thread poisoned the store.
    fn write_all(&mut self) -> Result<(), Error> {
        let mut patience = self.patience();
        loop {
            let next = self.feed.next(patience);
            // Before the batch: what would go to a file without a name is not acknowledged.
            self.watch.look()?;
            if !matches!(next, Next::End) {
                self.repair()?;
            }
            patience = match next {
                Next::Batch(batch) => {
                    self.write(&batch)?;
                    self.patience()
                }
                Next::Nothing => self.sweep()?,
                Next::End if self.feed.fault().is_some() => return Ok(()),
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
        self.home.is_left_over() || (self.home.has_freed() && self.feed.is_full())
    }

    /// One group commit: check everything, reserve room, then one transaction with full sync; then the news of it.
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let plan = plan(&self.log, &batch.tickets)?;
        self.reserve(&plan)?;
        self.home.apply(&plan, &mut self.log, batch.journal)?;
        self.feed.publish(batch, &self.log, self.home.usage(), FLUSHES_PER_TRANSACTION);
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
        self.feed.swept(self.home.usage(), FLUSHES_PER_TRANSACTION);
        Ok(self.patience())
    }

    /// Carries out the repairs that are asked for. What cannot be done is told to whoever asked; what has failed on the way
    /// to the device ends the writer, and they are told that it has ended.
    fn repair(&mut self) -> Result<(), Error> {
        while let Ok(request) = self.repairs.try_recv() {
            let outcome = match self.refusal(&request.replacement)? {
                Some(refusal) => Err(refusal),
                None => Ok(self.replace(&request.replacement)?),
            };
            request.answer(outcome);
        }
        Ok(())
    }

    fn replace(&mut self, replacement: &Replacement) -> Result<Repaired, Error> {
        let repaired = self.home.repair(&self.log, replacement)?;
        if repaired == Repaired::Replaced {
            self.feed.swept(self.home.usage(), FLUSHES_PER_TRANSACTION);
        }
        Ok(repaired)
    }

    /// Why there is no room for a repair, which nobody waits for.
    fn refusal(&mut self, replacement: &Replacement) -> Result<Option<Error>, Error> {
        let file = self.home.file().display().to_string();
        if !self.home.has_room_for(replacement) {
            let detail = format!("the map of {file} has no room to repair a block. Open it with a larger one.");
            return Ok(Some(Error::Full { detail }));
        }
        match self.home.reserve_repair(replacement) {
            Err(Error::Io { cause, .. }) if is_full(&cause) => {
                let detail = format!("the disk of {file} is full: no block is repaired. Free space.");
                Ok(Some(Error::Full { detail }))
            }
            reserved => reserved.map(|()| None),
        }
    }

    /// Takes room on the device; waits, and says so, while the disk is full.
    fn reserve(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        loop {
            self.watch.look()?;
            match self.home.reserve(plan) {
                Err(Error::Io { cause, .. }) if is_full(&cause) => {
                    if !self.feed.stall() {
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
pub(crate) fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
