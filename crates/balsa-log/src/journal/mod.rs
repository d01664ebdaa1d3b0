//! The journal in front of the home: one write, and one flush, for each group commit. The home follows from memory, and
//! reads the journal only after a crash.
//!
//! | file | what it holds |
//! |---|---|
//! | `batch` | the bytes of a batch |
//! | `segment` | one file of it: zeros that are written over |
//! | `segments` | what the writer asks of all of them, and how a batch comes into one |
//! | `recovery` | what a crash has left that the home lacks |
//!
//! What must hold:
//! - A batch is written only when the one before it is durable. So batches have no gap, or something is damaged.
//! - A segment is written over only when the home holds durably all that is in it; the row in the home says up to which
//!   batch it does.
//! - A segment takes batches only when the row knows that there is one: what is missing at an open is missed.

mod batch;
mod recovery;
mod segment;
mod segments;
#[cfg(test)]
mod written_over;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Instant;

pub(crate) use recovery::Commit;
pub(crate) use segment::{SEGMENT_PREFIX, remove_segments, segment_name};
use segment::{Sectors, Segment};
pub(crate) use segments::Segments;

use crate::error::Error;
use crate::fault::Faults;

/// Two sectors: less than that takes no batch with anything in it.
const SEGMENT_BYTES_MIN: u32 = 2 * 4096;
/// Segments that a new journal begins with: one is written while the home takes in the other.
const SEGMENTS_AT_FIRST: u32 = 2;

/// How large the journal is.
#[derive(Debug, Clone, Copy)]
pub struct JournalSize {
    /// Bytes of one of its files: a multiple of 4096 of at least 8192. What a journal was made with stays.
    pub segment_bytes: u32,
    /// Of all of them, at most; it has two at least. A larger journal stays as it is.
    pub bytes_max: u64,
}

impl Default for JournalSize {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, bytes_max: 256 << 20 }
    }
}

impl JournalSize {
    /// Refuses what no journal can be made of.
    pub(crate) fn check(self) -> Result<(), Error> {
        let bytes = self.segment_bytes;
        let is_sound = bytes >= SEGMENT_BYTES_MIN && bytes.is_multiple_of(SEGMENT_BYTES_MIN / 2);
        if is_sound {
            Ok(())
        } else {
            Err(Error::invalid(format!("segments of {bytes} bytes, no multiple of 4096 from 8192 on")))
        }
    }
}

/// A batch: its number, and its checksum, which the next one repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) crc: u32,
}

impl Position {
    /// Before the first batch.
    pub(crate) const BEGIN: Self = Self { sequence: 0, crc: 0 };
}

/// What the home says of the journal in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalRow {
    /// Drawn at each open: tells its batches from what was left in the same files before.
    pub(crate) salt: u64,
    /// The last batch that the home holds.
    pub(crate) position: Position,
    /// Segments that may hold batches: those numbered 1 to this.
    pub(crate) segments: u32,
    pub(crate) segment_bytes: u32,
}

/// The writing side.
pub(crate) struct Journal {
    dir: PathBuf,
    salt: u64,
    segment_bytes: u32,
    segments_max: u32,
    /// The last batch that was written.
    position: Position,
    current: Segment,
    /// Where the next batch goes. Invariant: a multiple of a sector.
    offset: u64,
    /// Segments that the home holds, to be written over.
    free: Vec<Segment>,
    /// The others, with the last batch in each; in the order in which they were filled.
    full: VecDeque<(Segment, u64)>,
    /// One that is being made, on a thread of its own.
    coming: Option<JoinHandle<std::io::Result<Segment>>>,
    /// When one could last not be made, and why; `None` once one was made again.
    refused: Option<(Instant, std::io::Error)>,
    /// One that was made, and of which the home does not know yet.
    unknown: Option<Segment>,
    /// Segments there are, `unknown` included.
    count: u32,
    /// Those whose files somebody looks after.
    watched: u32,
    sectors: Sectors,
    faults: Faults,
}

impl Journal {
    /// Makes the files of an empty journal, durably, in place of whatever segments there are. It is one when the home has
    /// the row.
    pub(crate) fn create(dir: &Path, salt: u64, size: JournalSize) -> Result<JournalRow, Error> {
        let make = || {
            remove_segments(dir)?;
            (1..=SEGMENTS_AT_FIRST)
                .try_for_each(|number| Segment::create(dir, number, u64::from(size.segment_bytes)).map(|_| ()))
        };
        make().map_err(|cause| Error::DirUnusable {
            dir: dir.to_owned(),
            reason: format!(
                "has no room for a journal of {} MiB, or cannot be written. Check free space and the mount; the mode lmdb of \
                 the store needs no journal",
                (u64::from(SEGMENTS_AT_FIRST) * u64::from(size.segment_bytes)) >> 20
            ),
            cause: Some(cause),
        })?;
        Ok(JournalRow {
            salt,
            position: Position::BEGIN,
            segments: SEGMENTS_AT_FIRST,
            segment_bytes: size.segment_bytes,
        })
    }

    /// What the home lacks. Writes nothing.
    pub(crate) fn recover(dir: &Path, row: &JournalRow) -> Result<Vec<Commit>, Error> {
        recovery::recover(dir, row)
    }

    /// Opens the files of a journal of which the home holds everything. Those that are missing or of another length are
    /// made again: nothing was in them.
    pub(crate) fn open(dir: &Path, row: &JournalRow, size: JournalSize, faults: Faults) -> Result<Self, Error> {
        let open = |number: u32| -> std::io::Result<Segment> {
            if let Ok(segment) = Segment::open(dir, number)
                && segment.bytes()? == u64::from(row.segment_bytes)
            {
                return Ok(segment);
            }
            Segment::create(dir, number, u64::from(row.segment_bytes))
        };
        let segments = (1..=row.segments).rev().map(open).collect::<std::io::Result<Vec<_>>>();
        let mut free =
            segments.map_err(|cause| Error::io(format!("opening the journal in {}", dir.display()), cause))?;
        let current = free.pop().ok_or_else(|| Error::invalid("a journal without segments"))?;
        Ok(Self {
            dir: dir.to_owned(),
            salt: row.salt,
            segment_bytes: row.segment_bytes,
            segments_max: u32::try_from(size.bytes_max / u64::from(row.segment_bytes))
                .unwrap_or(u32::MAX)
                .max(row.segments),
            position: row.position,
            current,
            offset: 0,
            free,
            full: VecDeque::new(),
            coming: None,
            refused: None,
            unknown: None,
            count: row.segments,
            watched: 0,
            sectors: Sectors::default(),
            faults,
        })
    }

    /// The last batch that was written.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The longest group commit: with the home behind by nothing, all segments but one are free.
    pub(crate) fn commit_bytes_max(&self) -> u64 {
        u64::try_from(self.body_max()).unwrap_or(u64::MAX).saturating_mul(u64::from(self.segments_max - 1))
    }
}

impl Drop for Journal {
    /// No segment appears behind the lock of the directory.
    fn drop(&mut self) {
        if let Some(coming) = self.coming.take() {
            // Nobody needs it any more, whatever became of it.
            let _made = coming.join();
        }
    }
}
