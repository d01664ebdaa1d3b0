//! Room on the device, taken before a transaction: a full disk then shows before LMDB has written or flushed anything,
//! and the same batch can be tried again. LMDB itself reports a full disk with the same number before and after a
//! failed flush.
//!
//! Where the filesystem cannot reserve, a full disk is met by the transaction, and poisons the store.

use std::io;
use std::path::Path;

use crate::plan::Plan;

/// Pages that a transaction may touch besides its blocks: paths of the tree and of the free list, with splits.
const TREE_PAGES: u64 = 128;
/// A block takes at most this many pages more than its bytes fill.
const PAGES_PER_STEP: u64 = 3;
const PAGE_BYTES: u64 = 4096;
/// What the free list needs for each page that a truncation frees; an entry rarely fills more than one.
const FREED_PAGE_BYTES: u64 = 8;
/// How far the file grows at a time: the cost of a reservation is spread over many group commits.
#[cfg(target_os = "linux")]
const RESERVE_STEP_BYTES: u64 = 4 << 20;

/// The most that the transaction of a plan adds to the file.
pub(super) fn bytes_needed(plan: &Plan<'_>) -> u64 {
    // A truncation writes the numbers of the pages that it frees.
    let bytes = plan.bytes.saturating_add(plan.truncated.saturating_mul(FREED_PAGE_BYTES));
    let steps = u64::try_from(plan.steps.len()).unwrap_or(u64::MAX);
    let pages = steps.saturating_mul(PAGES_PER_STEP).saturating_add(TREE_PAGES);
    bytes.saturating_add(pages.saturating_mul(PAGE_BYTES))
}

/// The room reserved in one data file. It extends the file, and never shrinks it.
pub(super) struct Reservation {
    #[cfg(target_os = "linux")]
    file: std::fs::File,
    /// Every byte of the file below it has a block of the device, as far as this process reserved it. It only rises.
    #[cfg(target_os = "linux")]
    end: u64,
    /// Until the filesystem said that it cannot.
    #[cfg(target_os = "linux")]
    possible: bool,
}

#[cfg(target_os = "linux")]
impl Reservation {
    pub(super) fn new(data_file: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().write(true).open(data_file)?;
        Ok(Self { file, end: 0, possible: true })
    }

    /// Makes sure that the bytes `used .. used + needed` of the file have blocks.
    pub(super) fn ensure(&mut self, used: u64, needed: u64) -> io::Result<()> {
        let wanted = used.saturating_add(needed);
        if !self.possible || wanted <= self.end {
            return Ok(());
        }
        let from = self.end.max(used);
        let end = wanted.next_multiple_of(RESERVE_STEP_BYTES);
        match rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), from, end - from) {
            Ok(()) => self.end = end,
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.possible = false,
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Reservation {
    pub(super) fn new(_data_file: &Path) -> io::Result<Self> {
        Ok(Self {})
    }

    pub(super) fn ensure(&mut self, _used: u64, _needed: u64) -> io::Result<()> {
        Ok(())
    }
}
