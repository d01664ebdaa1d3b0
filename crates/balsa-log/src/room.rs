//! How full the home of the log is. Its bound cannot be moved while it is open, and nothing shrinks it, so the end must
//! not be reached: two marks below it keep room for what a cluster needs to go on.
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

/// The bound of the home, and how much is used of it.
pub(crate) struct Room {
    capacity: u64,
    /// Moves when a group commit is durable. Pages that were freed count: they are used again, but may lie badly.
    used: AtomicU64,
}

impl Room {
    pub(crate) fn new(capacity: u64, used: u64) -> Self {
        Self { capacity, used: AtomicU64::new(used) }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    pub(crate) fn set_used(&self, used: u64) {
        self.used.store(used, Ordering::SeqCst);
    }

    /// Whether the first mark is passed.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.capacity - self.capacity / RESERVE_PART
    }

    /// Bytes of blocks that fit below the second mark, `queued` of which are on their way.
    pub(crate) fn credit(&self, queued: u64) -> u64 {
        let below = (self.capacity - self.capacity / LAST_RESERVE_PART).saturating_sub(self.used());
        (below / GROWTH_MAX).saturating_sub(queued)
    }
}
