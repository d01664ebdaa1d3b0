//! What the caller's thread and the writer share: the queue of tickets and the published progress.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::format::length;
use crate::format::operation::{Operation, Operations};
use crate::log::Log;

/// A group commit takes tickets until it holds this much, so that one slow flush serves many, and none takes too long.
const GROUP_COMMIT_BYTES: usize = 1 << 20;
/// What a queued ticket costs besides its bytes; it also bounds the number of empty ones.
const TICKET_OVERHEAD_BYTES: u64 = 64;

/// Called from the writer thread when `poll` has news: at most once until the next `poll`. Must not block.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// What `poll` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The highest ticket that is durable; 0 before the first.
    pub durable: u64,
    /// Bytes of blocks that may be submitted right now.
    pub credit: u64,
    /// The store refuses to go on; `fault` tells why.
    pub poisoned: bool,
    /// The disk is full and the writer retries the oldest ticket.
    pub stalled: bool,
}

/// Counters since open, and the durable bounds of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Index of the first entry.
    pub first: u64,
    /// Index of the last durable entry.
    pub last: u64,
    /// LMDB transactions that carried tickets.
    pub group_commits: u64,
    /// Device flushes they asked for: two per LMDB commit, of the pages and of the meta page.
    pub flushes: u64,
    /// Calls of the wake callback.
    pub wakes: u64,
    /// Bytes of tickets made durable.
    pub bytes_written: u64,
}

enum Phase {
    Open,
    Closing,
    Poisoned { code: &'static str, message: String, detail: String },
}

struct Queue {
    tickets: VecDeque<Vec<u8>>,
    submitted: u64,
    phase: Phase,
}

/// Tickets that go into one transaction.
pub(crate) struct Batch {
    pub(crate) tickets: Vec<Vec<u8>>,
    /// The number of the last one.
    pub(crate) last: u64,
}

impl Batch {
    pub(crate) fn bytes(&self) -> u64 {
        self.tickets.iter().map(|ticket| length(ticket)).sum()
    }
}

pub(crate) struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    capacity: u64,
    reserve: u64,
    wake: Wake,
    /// Queued and not yet durable, overhead included. Invariant: at most `capacity`.
    queued: AtomicU64,
    durable: AtomicU64,
    stopped: AtomicBool,
    poisoned: AtomicBool,
    stalled: AtomicBool,
    /// Set by the wake, cleared by the poll that answers it.
    wake_pending: AtomicBool,
    stats: Mutex<Stats>,
}

impl Shared {
    pub(crate) fn new(capacity: u64, reserve: u64, wake: Wake, stats: Stats) -> Self {
        Self {
            queue: Mutex::new(Queue { tickets: VecDeque::new(), submitted: 0, phase: Phase::Open }),
            changed: Condvar::new(),
            capacity,
            reserve,
            wake,
            queued: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            wake_pending: AtomicBool::new(false),
            stats: Mutex::new(stats),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn credit(&self) -> u64 {
        self.capacity.saturating_sub(self.reserve).saturating_sub(self.queued.load(Ordering::SeqCst))
    }

    /// Queues one ticket and returns its number.
    pub(crate) fn submit(&self, ticket: &[u8]) -> Result<u64, Error> {
        if ticket.is_empty() {
            return Err(Error::invalid("a ticket without operations was submitted"));
        }
        let block_bytes = block_bytes(ticket)?;
        let cost = length(ticket).saturating_add(TICKET_OVERHEAD_BYTES);
        let mut queue = self.queue();
        match &queue.phase {
            Phase::Open => {}
            Phase::Closing => return Err(Error::Closed),
            Phase::Poisoned { detail, .. } => return Err(Error::Poisoned { detail: detail.clone() }),
        }
        let queued = self.queued.load(Ordering::SeqCst);
        let room = if block_bytes == 0 { self.capacity.saturating_sub(queued) } else { self.credit() };
        let asked = if block_bytes == 0 { cost } else { block_bytes };
        if asked > room {
            return Err(Error::invalid(format!("a ticket of {asked} bytes was submitted with a credit of {room}")));
        }
        queue.tickets.push_back(ticket.to_vec());
        queue.submitted += 1;
        // Not a store: the writer subtracts at the same time, without the lock.
        self.queued.fetch_add(cost, Ordering::SeqCst);
        let number = queue.submitted;
        drop(queue);
        self.changed.notify_one();
        Ok(number)
    }

    pub(crate) fn poll(&self) -> Progress {
        // Cleared before the values are read: news after this wakes again.
        self.wake_pending.store(false, Ordering::SeqCst);
        let poisoned = self.poisoned.load(Ordering::SeqCst);
        let stopped = poisoned || self.stopped.load(Ordering::SeqCst);
        Progress {
            durable: self.durable.load(Ordering::SeqCst),
            credit: if stopped { 0 } else { self.credit() },
            poisoned,
            stalled: self.stalled.load(Ordering::SeqCst),
        }
    }

    /// Code and message of what poisoned the store.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        match &self.queue().phase {
            Phase::Poisoned { code, message, .. } => Some((*code, message.clone())),
            Phase::Open | Phase::Closing => None,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_stats(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for tickets; `None` when the store is closing and all have been taken.
    pub(crate) fn next_batch(&self) -> Option<Batch> {
        let mut queue = self.queue();
        loop {
            if !queue.tickets.is_empty() {
                return Some(take_batch(&mut queue));
            }
            if !matches!(queue.phase, Phase::Open) {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes a durable group commit, after which the log is `log`, then wakes the caller once.
    pub(crate) fn publish(&self, batch: &Batch, log: &Log, flushes: u64) {
        let bytes = batch.bytes();
        let overhead = TICKET_OVERHEAD_BYTES.saturating_mul(u64::try_from(batch.tickets.len()).unwrap_or(u64::MAX));
        self.change_stats(|stats| {
            stats.first = log.first;
            stats.last = log.last;
            stats.group_commits += 1;
            stats.flushes += flushes;
            stats.bytes_written += bytes;
        });
        self.queued.fetch_sub(bytes + overhead, Ordering::SeqCst);
        self.stalled.store(false, Ordering::SeqCst);
        self.durable.store(batch.last, Ordering::SeqCst);
        self.wake();
    }

    /// Poisons the store for good. What is queued is dropped: its outcome is unknown.
    pub(crate) fn poison(&self, error: &Error) {
        let (code, message) = match error {
            Error::Full { .. } => (error.code(), error.to_string()),
            _ => {
                let poisoned = Error::Poisoned { detail: error.to_string() };
                (poisoned.code(), poisoned.to_string())
            }
        };
        let mut queue = self.queue();
        if !matches!(queue.phase, Phase::Poisoned { .. }) {
            queue.phase = Phase::Poisoned { code, message, detail: error.to_string() };
        }
        queue.tickets.clear();
        drop(queue);
        self.poisoned.store(true, Ordering::SeqCst);
        self.changed.notify_all();
        self.wake();
    }

    pub(crate) fn begin_close(&self) {
        let mut queue = self.queue();
        if matches!(queue.phase, Phase::Open) {
            queue.phase = Phase::Closing;
        }
        drop(queue);
        self.stopped.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Reports that the disk is full, and waits a moment. False when the store is closing: nobody waits for it then.
    pub(crate) fn stall(&self, pause: Duration) -> bool {
        if !self.stalled.swap(true, Ordering::SeqCst) {
            self.wake();
        }
        let queue = self.queue();
        let (queue, _) = self
            .changed
            .wait_timeout_while(queue, pause, |queue| matches!(queue.phase, Phase::Open))
            .unwrap_or_else(PoisonError::into_inner);
        matches!(queue.phase, Phase::Open)
    }

    fn wake(&self) {
        if !self.wake_pending.swap(true, Ordering::SeqCst) {
            self.change_stats(|stats| stats.wakes += 1);
            (self.wake)();
        }
    }
}

fn take_batch(queue: &mut Queue) -> Batch {
    let mut tickets = Vec::new();
    let mut bytes = 0;
    while bytes < GROUP_COMMIT_BYTES {
        let Some(ticket) = queue.tickets.pop_front() else { break };
        bytes += ticket.len();
        tickets.push(ticket);
    }
    let left = u64::try_from(queue.tickets.len()).unwrap_or(u64::MAX);
    Batch { tickets, last: queue.submitted.saturating_sub(left) }
}

/// Checks the structure of a ticket, and adds up its blocks.
fn block_bytes(ticket: &[u8]) -> Result<u64, Error> {
    let mut bytes = 0;
    for operation in Operations::new(ticket) {
        match operation {
            Ok(Operation::Append { block }) => bytes += length(block),
            Ok(_) => {}
            Err(damage) => return Err(Error::invalid(damage.detail)),
        }
    }
    Ok(bytes)
}
