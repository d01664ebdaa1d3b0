//! What the caller's thread and the writer share: the queue of tickets one way, what is published the other way. What
//! changes both is here, in the one order that is right: first the queue, then the news of it.

use std::time::Duration;

use crate::error::Error;
use crate::log::Log;
use crate::progress::{Offer, Progress, Published, Stats, Wake};
use crate::queue::{Batch, Next, Queue};
use crate::room::{Room, Usage};
use crate::writer::{FULL_DISK_PAUSE, Feed};

pub(crate) struct Shared {
    queue: Queue,
    published: Published,
    room: Room,
}

impl Shared {
    /// Nothing queued, nothing durable yet; `stats` begin with the bounds of the log.
    pub(crate) fn new(queue: Queue, room: Room, wake: Wake, stats: Stats) -> Self {
        Self { queue, published: Published::new(wake, stats), room }
    }

    /// Queues one ticket and returns its number.
    pub(crate) fn submit(&self, ticket: &[u8]) -> Result<u64, Error> {
        self.queue.submit(ticket)
    }

    /// What is new. Takes no lock.
    pub(crate) fn poll(&self) -> Progress {
        self.published.poll(|| self.offer())
    }

    fn offer(&self) -> Offer {
        Offer { credit: self.queue.credit().min(self.room.credit(self.queue.queued())), full: self.is_full() }
    }

    /// Whether the home has come near its bound.
    pub(crate) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Code and message of what poisoned the store.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        self.queue.fault()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            used_bytes: self.room.used() + self.room.behind(),
            capacity_bytes: self.room.capacity(),
            behind_bytes: self.room.behind(),
            ..self.published.stats()
        }
    }

    /// Waits for tickets, no longer than `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Next {
        self.queue.next(patience)
    }

    /// The writer goes on at once, whether there are tickets or not.
    pub(crate) fn nudge(&self) {
        self.queue.nudge();
    }

    /// So many bytes are durable in the journal, and will come to the home. To be said before they leave the queue: they
    /// are counted twice rather than not at all.
    pub(crate) fn coming(&self, bytes: u64) {
        self.room.coming(bytes);
    }

    /// Publishes a durable group commit, after which the log is `log`, and so much of the home is gone; `None`: it is
    /// still to come there.
    pub(crate) fn publish(&self, batch: &Batch, log: &Log, usage: Option<Usage>, flushes: u64) {
        // As with `coming`.
        if let Some(usage) = usage {
            self.room.set(usage);
        }
        self.queue.release(batch);
        self.published.durable(batch.last, |stats| {
            stats.first = log.first;
            stats.last = log.last;
            stats.group_commits += 1;
            stats.flushes += flushes;
            stats.bytes_written += batch.bytes();
        });
    }

    /// Publishes how much is gone behind a sweep. Whoever waits for room is woken.
    pub(crate) fn swept(&self, usage: Usage, flushes: u64) {
        let before = self.offer();
        self.room.set(usage);
        self.published.swept(self.offer() != before, |stats| stats.flushes += flushes);
    }

    /// Publishes that so many bytes, which were durable, have come home. Whoever waits for room is woken.
    pub(crate) fn came_home(&self, bytes: u64, usage: Usage, flushes: u64) {
        let before = self.offer();
        self.room.set(usage);
        self.room.came(bytes);
        self.published.swept(self.offer() != before, |stats| stats.flushes += flushes);
    }

    /// Poisons the store for good. What is queued is dropped: its outcome is unknown.
    pub(crate) fn poison(&self, error: &Error) {
        self.queue.poison(error);
        self.published.poisoned();
    }

    /// Takes no more tickets; those that wait are still written.
    pub(crate) fn begin_close(&self) {
        self.queue.begin_close();
    }

    /// Reports that the disk is full, and waits a moment. False when the store is closing: nobody waits for it then.
    pub(crate) fn stall(&self, pause: Duration) -> bool {
        self.published.stalled();
        self.queue.pause(pause)
    }
}

impl Feed for Shared {
    fn next(&self, patience: Duration) -> Next {
        self.next(patience)
    }

    fn publish(&self, batch: &Batch, log: &Log, usage: Usage, flushes: u64) {
        self.publish(batch, log, Some(usage), flushes);
    }

    fn swept(&self, usage: Usage, flushes: u64) {
        self.swept(usage, flushes);
    }

    fn poison(&self, error: &Error) {
        self.poison(error);
    }

    fn fault(&self) -> Option<(&'static str, String)> {
        self.fault()
    }

    fn is_full(&self) -> bool {
        self.is_full()
    }

    fn stall(&self) -> bool {
        self.stall(FULL_DISK_PAUSE)
    }
}
