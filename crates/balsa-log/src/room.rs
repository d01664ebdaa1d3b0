//! How full the home of the log is. Its bound cannot be moved while it is open, and only a compaction gives room back, so
//! the end must not be reached: two marks below it keep room for what a cluster needs to go on.
//!
//! What must hold:
//! - Beyond the first mark the caller proposes nothing. What remains is for what others proposed before they met their
//!   own mark, and for the first entries, votes and hard states of leaders to come.
//! - Up to the second mark all that was submitted within the credit fits, however it is spread over pages; beyond it
//!   there is no credit. What carries no entries of clients is taken without it.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The part of the home beyond the first mark. Servers of one cluster fill their homes alike, but not to the page.
const RESERVE_PART: u64 = 16;
/// The part beyond the second.
const LAST_RESERVE_PART: u64 = 32;
/// What a byte of a block may take of the home. An entry just too large for a leaf takes a page of its own, twice its
/// length; the rest is for the tree above it.
const GROWTH_MAX: u64 = 4;

/// How much of the bound is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Bytes that hold something.
    pub(crate) used: u64,
    /// Those, and what the next transaction cannot count on. Invariant: `used` <= `gone`.
    pub(crate) gone: u64,
}

/// The bound of the home, and how much of it is gone.
pub(crate) struct Room {
    capacity: u64,
    /// Bytes that are durable in the journal, and will come.
    coming: AtomicU64,
    /// Both move when a transaction is durable.
    used: AtomicU64,
    gone: AtomicU64,
}

impl Room {
    pub(crate) fn new(capacity: u64, usage: Usage) -> Self {
        Self { capacity, coming: AtomicU64::new(0), used: AtomicU64::new(usage.used), gone: AtomicU64::new(usage.gone) }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, usage: Usage) {
        self.used.store(usage.used, Ordering::SeqCst);
        self.gone.store(usage.gone, Ordering::SeqCst);
    }

    /// So many bytes are durable in the journal, and will come.
    pub(crate) fn coming(&self, bytes: u64) {
        self.coming.fetch_add(bytes, Ordering::SeqCst);
    }

    /// So many of those have come.
    pub(crate) fn came(&self, bytes: u64) {
        self.coming.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Bytes that are durable in the journal alone.
    pub(crate) fn behind(&self) -> u64 {
        self.coming.load(Ordering::SeqCst)
    }

    fn gone(&self) -> u64 {
        self.gone.load(Ordering::SeqCst).saturating_add(self.behind())
    }

    /// Whether the first mark is passed.
    pub(crate) fn is_full(&self) -> bool {
        self.gone() >= self.capacity - self.capacity / RESERVE_PART
    }

    /// Bytes of blocks that fit below the second mark, `queued` of which are on their way.
    pub(crate) fn credit(&self, queued: u64) -> u64 {
        let below = (self.capacity - self.capacity / LAST_RESERVE_PART).saturating_sub(self.gone());
        (below / GROWTH_MAX).saturating_sub(queued).saturating_sub(self.behind())
    }
}
