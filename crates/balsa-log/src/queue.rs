//! Tickets on their way in: the caller queues them, the writer takes them in batches.
//!
//! What must hold:
//! - Tickets leave in the order in which they came, and their numbers have no gap: 1, 2, 3, ...
//! - What is queued or in the writer's hands, and not yet durable, never exceeds the capacity. Tickets with blocks
//!   leave a reserve of it, so that a vote finds room behind any number of entries.
//! - The phase moves forward only: open, closing, poisoned.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::format::length;
use crate::format::operation::{Operation, Operations};
use crate::journal::Position;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// A group commit takes tickets until it holds this much, so that one slow flush serves many, and none takes too long.
const GROUP_COMMIT_BYTES: usize = 1 << 20;
/// What a queued ticket costs besides its bytes; it also bounds the number of empty ones.
const TICKET_OVERHEAD_BYTES: u64 = 64;

/// The operations of a ticket, packed.
pub(crate) type Ticket = Arc<[u8]>;

/// Tickets that become durable together.
pub(crate) struct Batch {
    /// One or more, as they were submitted.
    pub(crate) tickets: Vec<Ticket>,
    /// The number of the last one; where it comes from the journal, that of its last batch there.
    pub(crate) last: u64,
    /// Where it ends in the journal, and how many segments that has, where it comes from there.
    pub(crate) journal: Option<(Position, u32)>,
}

impl Batch {
    pub(crate) fn bytes(&self) -> u64 {
        self.tickets.iter().map(|ticket| length(ticket)).sum()
    }

    /// What it takes of the capacity.
    fn cost(&self) -> u64 {
        self.tickets.iter().map(|ticket| cost(ticket)).sum()
    }
}

enum Phase {
    Open,
    /// Nothing more comes in; what is queued is still written.
    Closing,
    /// For good. Code and message are what the caller reads; the detail goes into the refusals of later tickets.
    Poisoned {
        code: &'static str,
        message: String,
        detail: String,
    },
}

/// What the lock guards.
struct Waiting {
    /// Those that the writer has not taken; emptied when the store is poisoned.
    tickets: VecDeque<Ticket>,
    /// The number of the newest ticket. Invariant: that of the next one to be taken is `submitted` - `tickets.len()` +
    /// 1.
    submitted: u64,
    /// The writer has something to do besides tickets.
    is_nudged: bool,
    phase: Phase,
}

/// What the writer is to do next.
pub(crate) enum Next {
    /// Write these.
    Batch(Batch),
    /// Nothing came for as long as it would wait.
    Nothing,
    /// The store is closing, or poisoned, and all have been taken.
    End,
}

/// The queue between the caller's thread and the writer.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Rung when a ticket came or the phase moved.
    changed: Condvar,
    /// Bound of `queued`.
    capacity: u64,
    /// The part of it that only tickets without blocks may use.
    reserve: u64,
    /// What is not yet durable, overhead included: grows in `submit`, falls in `release`. Read without the lock.
    queued: AtomicU64,
    /// The phase is no longer `Open`; it never goes back. Read without the lock.
    stopped: AtomicBool,
}

impl Queue {
    pub(crate) fn new(capacity: u64, reserve: u64) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                tickets: VecDeque::new(),
                submitted: 0,
                is_nudged: false,
                phase: Phase::Open,
            }),
            changed: Condvar::new(),
            capacity,
            reserve,
            queued: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room_for_blocks(&self) -> u64 {
        self.capacity.saturating_sub(self.reserve).saturating_sub(self.queued())
    }

    /// What is not yet durable, overhead included. Takes no lock.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::SeqCst)
    }

    /// Bytes of blocks that the queue takes right now. Takes no lock.
    pub(crate) fn credit(&self) -> u64 {
        if self.stopped.load(Ordering::SeqCst) { 0 } else { self.room_for_blocks() }
    }

    /// Queues one ticket and returns its number.
    pub(crate) fn submit(&self, ticket: &[u8]) -> Result<u64, Error> {
        if ticket.is_empty() {
            return Err(Error::invalid("a ticket without operations was submitted"));
        }
        let block_bytes = block_bytes(ticket)?;
        let cost = cost(ticket);
        let mut waiting = self.waiting();
        match &waiting.phase {
            Phase::Open => {}
            Phase::Closing => return Err(Error::Closed),
            Phase::Poisoned { detail, .. } => return Err(Error::Poisoned { detail: detail.clone() }),
        }
        let (asked, room) = if block_bytes == 0 {
            (cost, self.capacity.saturating_sub(self.queued()))
        } else {
            (block_bytes, self.room_for_blocks())
        };
        if asked > room {
            return Err(Error::invalid(format!("a ticket of {asked} bytes was submitted with a credit of {room}")));
        }
        waiting.tickets.push_back(ticket.into());
        waiting.submitted += 1;
        // Not a store: the writer subtracts at the same time, without the lock.
        self.queued.fetch_add(cost, Ordering::SeqCst);
        let number = waiting.submitted;
        drop(waiting);
        self.changed.notify_one();
        Ok(number)
    }

    /// Waits for tickets, no longer than `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Next {
        let is_idle = |waiting: &mut Waiting| {
            waiting.tickets.is_empty() && !waiting.is_nudged && matches!(waiting.phase, Phase::Open)
        };
        let (mut waiting, _) =
            self.changed.wait_timeout_while(self.waiting(), patience, is_idle).unwrap_or_else(PoisonError::into_inner);
        waiting.is_nudged = false;
        match waiting.phase {
            _ if !waiting.tickets.is_empty() => Next::Batch(waiting.take_batch()),
            Phase::Open => Next::Nothing,
            Phase::Closing | Phase::Poisoned { .. } => Next::End,
        }
    }

    /// Whoever waits for tickets goes on at once: something else is there for it.
    pub(crate) fn nudge(&self) {
        self.waiting().is_nudged = true;
        self.changed.notify_all();
    }

    /// Gives back the room of a batch that is durable.
    pub(crate) fn release(&self, batch: &Batch) {
        self.queued.fetch_sub(batch.cost(), Ordering::SeqCst);
    }

    /// Takes no more tickets.
    pub(crate) fn begin_close(&self) {
        let mut waiting = self.waiting();
        if matches!(waiting.phase, Phase::Open) {
            waiting.phase = Phase::Closing;
        }
        drop(waiting);
        self.stop();
    }

    /// Takes no more tickets, and drops what waits: its outcome is unknown. The first error is the one that stays.
    pub(crate) fn poison(&self, error: &Error) {
        let (code, message) = match error {
            Error::Full { .. } | Error::Gone { .. } => (error.code(), error.to_string()),
            _ => {
                let poisoned = Error::Poisoned { detail: error.to_string() };
                (poisoned.code(), poisoned.to_string())
            }
        };
        let mut waiting = self.waiting();
        if !matches!(waiting.phase, Phase::Poisoned { .. }) {
            waiting.phase = Phase::Poisoned { code, message, detail: error.to_string() };
        }
        waiting.tickets.clear();
        drop(waiting);
        self.stop();
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Code and message of what poisoned the store.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        match &self.waiting().phase {
            Phase::Poisoned { code, message, .. } => Some((*code, message.clone())),
            Phase::Open | Phase::Closing => None,
        }
    }

    /// Waits for `pause`, or until the queue is no longer open. Whether it still is.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let (waiting, _) = self
            .changed
            .wait_timeout_while(self.waiting(), pause, |waiting| matches!(waiting.phase, Phase::Open))
            .unwrap_or_else(PoisonError::into_inner);
        matches!(waiting.phase, Phase::Open)
    }
}

impl Waiting {
    fn take_batch(&mut self) -> Batch {
        let mut tickets = Vec::new();
        let mut bytes = 0;
        while bytes < GROUP_COMMIT_BYTES {
            let Some(ticket) = self.tickets.pop_front() else { break };
            bytes += ticket.len();
            tickets.push(ticket);
        }
        let left = u64::try_from(self.tickets.len()).unwrap_or(u64::MAX);
        Batch { tickets, last: self.submitted.saturating_sub(left), journal: None }
    }
}

/// What a ticket takes of the capacity.
fn cost(ticket: &[u8]) -> u64 {
    length(ticket).saturating_add(TICKET_OVERHEAD_BYTES)
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
