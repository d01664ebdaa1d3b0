//! What the caller's thread and the writer share: the queue of tickets one way, what is published the other way. What
//! changes both is here, in the one order that is right: first the queue, then the news of it.

use std::time::Duration;

use crate::error::Error;
use crate::log::Log;
use crate::progress::{Progress, Published, Stats, Wake};
use crate::queue::{Batch, Queue};

pub(crate) struct Shared {
    queue: Queue,
    published: Published,
}

impl Shared {
    /// Nothing queued, nothing durable yet; `stats` begin with the bounds of the log.
    pub(crate) fn new(capacity: u64, reserve: u64, wake: Wake, stats: Stats) -> Self {
        Self { queue: Queue::new(capacity, reserve), published: Published::new(wake, stats) }
    }

    /// Queues one ticket and returns its number.
    pub(crate) fn submit(&self, ticket: &[u8]) -> Result<u64, Error> {
        self.queue.submit(ticket)
    }

    /// What is new. Takes no lock.
    pub(crate) fn poll(&self) -> Progress {
        self.published.poll(|| self.queue.credit())
    }

    /// Code and message of what poisoned the store.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        self.queue.fault()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.published.stats()
    }

    /// Waits for tickets; `None` when the store is closing and all have been taken.
    pub(crate) fn next_batch(&self) -> Option<Batch> {
        self.queue.next_batch()
    }

    /// Publishes a durable group commit, after which the log is `log`.
    pub(crate) fn publish(&self, batch: &Batch, log: &Log, flushes: u64) {
        self.queue.release(batch);
        self.published.durable(batch.last, |stats| {
            stats.first = log.first;
            stats.last = log.last;
            stats.group_commits += 1;
            stats.flushes += flushes;
            stats.bytes_written += batch.bytes();
        });
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
