//! A read, wherever its blocks come from: whole sealed blocks, clipped to the range asked for, one after the other in
//! the caller's buffer. Every block has been checked, record by record, before it comes here.

use crate::format::Damage;
use crate::format::block::{self, BlockInfo};

/// What a read did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes of blocks, one after the other, stand at the front of the buffer. 0: the log has no entry `lo`.
    Filled(usize),
    /// The buffer is too small for the first entry, which needs so many bytes.
    TooSmall(usize),
}

/// A buffer that takes the entries `lo .. hi`, block by block. Invariant: what it holds are the entries `lo .. next`.
pub(crate) struct Filling<'out> {
    /// The entry that is read next; it rises from `lo` to at most `hi`.
    next: u64,
    hi: u64,
    /// Bound of what is filled; only a first entry that is larger by itself goes beyond.
    bytes_max: usize,
    /// Bytes of `out` that hold blocks.
    filled: usize,
    out: &'out mut [u8],
}

impl<'out> Filling<'out> {
    pub(crate) fn new(lo: u64, hi: u64, bytes_max: usize, out: &'out mut [u8]) -> Self {
        Self { next: lo, hi, bytes_max, filled: 0, out }
    }

    /// Takes the block that holds the next entry, as much of it as is wanted and fits. The outcome, once the read is
    /// over.
    pub(crate) fn take(&mut self, bytes: &[u8], info: &BlockInfo) -> Result<Option<ReadOutcome>, Damage> {
        let is_first = self.filled == 0;
        let contiguous = if is_first { (info.first..=info.last).contains(&self.next) } else { info.first == self.next };
        if !contiguous {
            return Err(self.missing());
        }
        let end = self.hi.min(info.last + 1);
        let room = self.bytes_max.saturating_sub(self.filled);
        let end = if is_first { fitting_end(bytes, self.next, end, room) } else { end };
        let length = block::clipped_bytes(bytes, self.next, end).unwrap_or(usize::MAX);
        if !is_first && length > room {
            return Ok(Some(ReadOutcome::Filled(self.filled)));
        }
        let rest = self.out.get_mut(self.filled..).unwrap_or_default();
        if length > rest.len() {
            let outcome = if is_first { ReadOutcome::TooSmall(length) } else { ReadOutcome::Filled(self.filled) };
            return Ok(Some(outcome));
        }
        if copy(bytes, self.next, end, rest) != Some(length) {
            return Err(Damage::at(self.next, "a block cannot be clipped"));
        }
        self.filled += length;
        self.next = end;
        let is_over = self.next == self.hi || self.next <= info.last;
        Ok(is_over.then_some(ReadOutcome::Filled(self.filled)))
    }

    /// The entry that is read next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// From now on entries up to `hi` are taken.
    pub(crate) fn until(&mut self, hi: u64) {
        self.hi = hi;
    }

    /// The outcome when there is no more to take.
    pub(crate) fn so_far(&self) -> ReadOutcome {
        ReadOutcome::Filled(self.filled)
    }

    /// What it means that there is no block for the next entry.
    pub(crate) fn missing(&self) -> Damage {
        Damage::at(self.next, "an entry is missing")
    }
}

/// The largest end for which the entries `lo .. end` fit into `room`; at least one entry.
fn fitting_end(bytes: &[u8], lo: u64, hi: u64, room: usize) -> u64 {
    if block::clipped_bytes(bytes, lo, hi).is_some_and(|length| length <= room) {
        return hi;
    }
    (lo + 2..hi)
        .take_while(|end| block::clipped_bytes(bytes, lo, *end).is_some_and(|length| length <= room))
        .last()
        .unwrap_or(lo + 1)
}

fn copy(bytes: &[u8], lo: u64, hi: u64, out: &mut [u8]) -> Option<usize> {
    if block::clipped_bytes(bytes, lo, hi)? == bytes.len() {
        out.get_mut(..bytes.len())?.copy_from_slice(bytes);
        return Some(bytes.len());
    }
    block::clip(bytes, lo, hi, out)
}
