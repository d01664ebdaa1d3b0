//! Room on the device, taken before a transaction: a full disk then shows before LMDB has written or flushed anything,
//! and the same batch can be tried again. LMDB itself reports a full disk with the same number before and after a
//! failed flush.
//!
//! Where the filesystem cannot reserve, the file is made longer without it: a full disk is then met by the transaction,
//! and poisons the store. Either way the file is never shorter than its last page, which is how an open tells damage.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::fault::{FaultPoint, Faults};
use crate::plan::Plan;
use crate::repair::Replacement;

/// Pages that a transaction may touch besides its blocks: paths of the tree and of the free list, with splits, and the
/// numbers of what a sweep frees.
const TREE_PAGES: u64 = 128;
/// A block takes at most this many pages more than its bytes fill.
const PAGES_PER_STEP: u64 = 3;
const PAGE_BYTES: u64 = 4096;
/// What the free list needs for each page that a truncation frees; an entry rarely fills more than one.
const FREED_PAGE_BYTES: u64 = 8;
/// How far the file grows at a time: the cost of a reservation is spread over many group commits.
const RESERVE_STEP_BYTES: u64 = 4 << 20;

/// The most that a sweep adds to the file, when it is a transaction of its own.
pub(super) const SWEEP_BYTES: u64 = TREE_PAGES * PAGE_BYTES;

/// The most that the transaction of a plan adds to the file, with the sweep beside it.
pub(super) fn bytes_needed(plan: &Plan<'_>) -> u64 {
    // A truncation writes the numbers of the pages that it frees.
    let bytes = plan.bytes.saturating_add(plan.truncated.saturating_mul(FREED_PAGE_BYTES));
    let steps = u64::try_from(plan.steps.len()).unwrap_or(u64::MAX);
    let pages = steps.saturating_mul(PAGES_PER_STEP).saturating_add(TREE_PAGES);
    bytes.saturating_add(pages.saturating_mul(PAGE_BYTES))
}

/// The most that a repair adds to the file.
pub(super) fn repair_bytes(replacement: &Replacement) -> u64 {
    let blocks = u64::try_from(replacement.count()).unwrap_or(u64::MAX);
    let pages = blocks.saturating_mul(PAGES_PER_STEP).saturating_add(TREE_PAGES);
    replacement.bytes().saturating_add(pages.saturating_mul(PAGE_BYTES))
}

/// The room reserved in one data file. It extends the file, and never shrinks it.
pub(super) struct Reservation {
    file: File,
    /// The file is at least this long. It only rises.
    length: u64,
    /// Every byte of the file below it has a block of the device, as far as this process reserved it. It only rises.
    end: u64,
    /// Whether the filesystem reserves; until it said that it does not.
    binds: bool,
    /// None outside tests.
    faults: Faults,
}

impl Reservation {
    pub(super) fn new(data_file: &Path, faults: Faults) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(data_file)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length, end: 0, binds: true, faults })
    }

    /// Makes sure that the bytes `reached .. reached + needed` of the file have blocks, or at least that the file reaches
    /// so far: LMDB counts a page that a transaction took and gave back, and never writes it. Below `reached` every page
    /// has its block already, whether it is in use or free.
    pub(super) fn ensure(&mut self, reached: u64, needed: u64) -> io::Result<()> {
        let wanted = reached.saturating_add(needed);
        let end = wanted.next_multiple_of(RESERVE_STEP_BYTES);
        if self.binds && wanted > self.end {
            let from = self.end.max(reached);
            self.binds = self.allocate(from, end - from)?;
            if self.binds {
                self.end = end;
                self.length = self.length.max(end);
            }
        }
        if self.length < wanted {
            self.file.set_len(end)?;
            self.length = end;
        }
        Ok(())
    }

    /// False: the filesystem does not reserve.
    fn allocate(&self, from: u64, bytes: u64) -> io::Result<bool> {
        offered(|| match self.faults.at(FaultPoint::Reserve) {
            Some(fault) => Err(fault),
            None => allocate_blocks(&self.file, from, bytes),
        })
    }
}

/// Gives so many bytes of a file their blocks, where the filesystem reserves; makes the file where there is none. It is
/// written through a map: there a full disk is a signal that ends the process, and here it is an error.
pub(super) fn back(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    offered(|| allocate_blocks(&file, 0, bytes)).map(|_offered| ())
}

/// Whether the filesystem did it; false: it does not reserve.
fn offered(allocate: impl Fn() -> io::Result<()>) -> io::Result<bool> {
    loop {
        match allocate() {
            Ok(()) => return Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::Unsupported => return Ok(false),
            // A signal that another thread shall handle.
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

#[cfg(target_os = "linux")]
fn allocate_blocks(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate_blocks(_file: &File, _from: u64, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
