//! News on its way out: what is durable, and whether the store goes on.
//!
//! What must hold:
//! - A ticket is published after everything that it changed is durable, and after every ticket before it.
//! - The caller is woken once for all that is new since its last `poll`, and never misses the last of it: the wake is
//!   set behind the news, and `poll` clears it before it looks.

use std::sync::PoisonError;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Called from the writer thread when `poll` has news: at most once until the next `poll`. Must not block.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// What `poll` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The highest ticket that is durable; 0 before the first. It never falls.
    pub durable: u64,
    /// Bytes of blocks that may be submitted right now.
    pub credit: u64,
    /// The home has come near its bound: nothing more is to be proposed. What other servers had accepted before, the
    /// first entry of a leader, votes and hard states still fit. Ends when a compaction gives room.
    pub full: bool,
    /// The store refuses to go on, for good; `fault` tells why.
    pub poisoned: bool,
    /// The disk is full and the writer retries the oldest ticket. Ends with the next group commit.
    pub stalled: bool,
}

/// Counters since open, and the durable bounds of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Index of the first entry.
    pub first: u64,
    /// Index of the last durable entry.
    pub last: u64,
    /// Group commits that carried tickets.
    pub group_commits: u64,
    /// Device flushes asked for, by them and by sweeps.
    pub flushes: u64,
    /// Calls of the wake callback.
    pub wakes: u64,
    /// Bytes of tickets made durable.
    pub bytes_written: u64,
    /// Bytes of the data file that hold something, and those that will come there.
    pub used_bytes: u64,
    /// Their bound: the size of the map.
    pub capacity_bytes: u64,
    /// Bytes of tickets that are durable in the journal, and that LMDB has not taken in yet.
    pub behind_bytes: u64,
}

/// What may be submitted now; see [`Progress`].
#[derive(PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) credit: u64,
    pub(crate) full: bool,
}

/// What the writer has published. Each field is read without a lock, but for the counters.
pub(crate) struct Published {
    wake: Wake,
    /// Set by the wake, cleared by the poll that answers it.
    wake_pending: AtomicBool,
    /// See [`Progress::durable`].
    durable: AtomicU64,
    /// Set once.
    poisoned: AtomicBool,
    /// Set by a full disk, cleared by the next group commit.
    stalled: AtomicBool,
    stats: Mutex<Stats>,
}

impl Published {
    pub(crate) fn new(wake: Wake, stats: Stats) -> Self {
        Self {
            wake,
            wake_pending: AtomicBool::new(false),
            durable: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            stats: Mutex::new(stats),
        }
    }

    /// What is new; answers the wake. `offer` is asked after that, as all the rest.
    pub(crate) fn poll(&self, offer: impl FnOnce() -> Offer) -> Progress {
        self.wake_pending.store(false, Ordering::SeqCst);
        let durable = self.durable.load(Ordering::SeqCst);
        let Offer { credit, full } = offer();
        Progress {
            durable,
            credit,
            full,
            poisoned: self.poisoned.load(Ordering::SeqCst),
            stalled: self.stalled.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tickets up to this one are durable.
    pub(crate) fn durable(&self, ticket: u64, count: impl FnOnce(&mut Stats)) {
        self.change_stats(count);
        self.stalled.store(false, Ordering::SeqCst);
        self.durable.store(ticket, Ordering::SeqCst);
        self.wake();
    }

    /// A transaction without tickets is durable. `is_news`: more may be submitted than before.
    pub(crate) fn swept(&self, is_news: bool, count: impl FnOnce(&mut Stats)) {
        self.change_stats(count);
        if is_news {
            self.wake();
        }
    }

    /// The disk is full.
    pub(crate) fn stalled(&self) {
        if !self.stalled.swap(true, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// The store does not go on.
    pub(crate) fn poisoned(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if !self.wake_pending.swap(true, Ordering::SeqCst) {
            self.change_stats(|stats| stats.wakes += 1);
            (self.wake)();
        }
    }

    fn change_stats(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
