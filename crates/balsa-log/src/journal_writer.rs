//! The writer thread of a store with a journal: drains the queue into one group commit after the other, each of them one
//! write to the journal. The home gets them through the backlog, on a thread of its own (`writer`).
//!
//! Any failure ends it, and the store is poisoned: nothing is tried again that may have reached a device.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::backlog::Backlog;
use crate::error::Error;
use crate::journal::Segments;
use crate::log::Log;
use crate::plan::plan;
use crate::queue::{Batch, Next};
use crate::shared::Shared;
use crate::watch::{WATCH_EVERY, Watch};
use crate::writer::{FULL_DISK_PAUSE, Feed};

pub(crate) struct JournalWriter<J> {
    shared: Arc<Shared>,
    backlog: Arc<Backlog>,
    journal: J,
    /// Of every segment.
    watch: Watch,
    /// What journal and home hold together: each batch is judged by it, and moves it.
    log: Log,
}

impl<J: Segments + 'static> JournalWriter<J> {
    pub(crate) fn new(shared: Arc<Shared>, backlog: Arc<Backlog>, journal: J, log: Log) -> Result<Self, Error> {
        let mut journal = journal;
        let watch = journal.watch()?;
        Ok(Self { shared, backlog, journal, watch, log })
    }

    /// Starts the thread. It ends when the store closes or is poisoned; a panic in it poisons.
    pub(crate) fn spawn(self) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("balsa-journal".to_owned()).spawn(move || {
            let backlog = Arc::clone(&self.backlog);
            if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                backlog.poison(&Error::invalid("the writer thread of the journal panicked"));
            }
        })
    }

    /// What the thread does.
    pub(crate) fn run(mut self) {
        match self.write_all() {
            Ok(()) => self.backlog.finish(),
            // Whoever poisoned it has said why: the first error stays.
            Err(error) => self.backlog.poison(&error),
        }
    }

    fn write_all(&mut self) -> Result<(), Error> {
        loop {
            let next = self.shared.next(WATCH_EVERY);
            // Before the batch: what would go to a file without a name is not acknowledged.
            self.watch.look()?;
            match next {
                Next::Batch(batch) => self.write(&batch)?,
                Next::Nothing => {}
                Next::End => return Ok(()),
            }
        }
    }

    /// One group commit: check everything, wait for room, then one write; then the news of it.
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let bytes: usize = batch.tickets.iter().map(|ticket| ticket.len()).sum();
        self.make_room(bytes)?;
        let plan = plan(&self.log, &batch.tickets)?;
        let (position, flushes) = self.journal.write(&batch.tickets)?;
        // Before the home can say that it has come; and reads must find it when it is reported.
        self.shared.coming(batch.bytes());
        self.backlog.push(&batch.tickets, &plan, position);
        plan.steps.iter().for_each(|step| self.log.follow(step));
        self.shared.publish(batch, &self.log, None, flushes);
        Ok(())
    }

    /// Waits until the home has taken in enough for so many bytes.
    fn make_room(&mut self, bytes: usize) -> Result<(), Error> {
        loop {
            let held = self.backlog.held();
            self.journal.held(held.sequence, held.segments);
            let fits = self.journal.has_room(bytes)?;
            if self.journal.has_grown() {
                // What was replaced before would pass for what is looked after from now on.
                self.watch.look_now()?;
                self.watch = self.journal.watch()?;
            }
            let is_ready = fits && self.backlog.has_room(u64::try_from(bytes).unwrap_or(u64::MAX));
            if !is_ready || self.journal.is_low() {
                self.backlog.want(self.journal.count());
            }
            if is_ready {
                return Ok(());
            }
            self.watch.look()?;
            let goes_on = if !fits && self.journal.is_stuck()? {
                self.shared.stall(FULL_DISK_PAUSE)
            } else {
                self.backlog.wait(held)?
            };
            if !goes_on {
                return Err(Error::Full {
                    detail: "the disk was full when the store closed: what was queued was not written, and what was \
                             acknowledged is safe. Free space and open it again."
                        .to_owned(),
                });
            }
        }
    }
}
