//! The journal in front of the home: one write, and one flush, for each group commit. The home follows from memory, and
//! reads the journal only after a crash.
//!
//! | file | what it holds |
//! |---|---|
//! | `batch` | the bytes of a batch |
//! | `segment` | one file of it: zeros that are written over |
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

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Instant;

use batch::{HEADER_BYTES, Head, Place, batch_bytes};
pub(crate) use recovery::Commit;
pub(crate) use segment::{SEGMENT_PREFIX, remove_segments};
use segment::{Sectors, Segment};

use crate::error::Error;
use crate::fault::{FaultPoint, Faults};
use crate::queue::Ticket;
use crate::watch::Watch;
use crate::writer::{FULL_DISK_PAUSE, is_full};

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
            reason: "has no room for a journal, or cannot be written. Check free space and the mount".to_owned(),
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

    /// Looks from now on after the files of the segments that there are.
    pub(crate) fn watch(&mut self) -> Result<Watch, Error> {
        self.watched = self.count;
        let names: Vec<String> = (1..=self.count).map(segment::segment_name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let watch = Watch::new(&self.dir, &names);
        watch.map_err(|cause| Error::io(format!("looking at the journal in {}", self.dir.display()), cause))
    }

    /// Whether there are more than were looked after.
    pub(crate) fn has_grown(&self) -> bool {
        self.count > self.watched
    }

    /// Segments there are: what the home is to know of.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether no segment is free but the one that is written.
    pub(crate) fn is_low(&self) -> bool {
        self.free.is_empty()
    }

    /// Takes note that the home holds everything up to a batch, and knows of so many segments.
    pub(crate) fn held(&mut self, sequence: u64, known: u32) {
        while self.full.front().is_some_and(|(_, last)| *last <= sequence) {
            self.free.extend(self.full.pop_front().map(|(segment, _)| segment));
        }
        self.free.extend(self.unknown.take_if(|segment| segment.number <= known));
    }

    /// Whether tickets of so many bytes can be written without waiting for the home. Sees to it that they can be in time.
    pub(crate) fn has_room(&mut self, bytes: usize) -> Result<bool, Error> {
        if u64::try_from(bytes).unwrap_or(u64::MAX) > self.commit_bytes_max() {
            return Err(Error::invalid(format!("{bytes} bytes were submitted at once to a journal that is shorter")));
        }
        let fits = self.parts(bytes) <= self.free.len();
        // The home has not taken in the others while half of this one was written: it needs more time.
        if !fits || (self.free.is_empty() && self.room() < self.body_max() / 2) {
            self.extend();
        }
        Ok(fits)
    }

    /// Whether nothing that the home does makes room: it holds everything, and the disk has no room for another segment.
    /// An error: what keeps that from being made is something else.
    pub(crate) fn is_stuck(&mut self) -> Result<bool, Error> {
        if !self.full.is_empty() || self.unknown.is_some() || self.coming.is_some() {
            return Ok(false);
        }
        match self.refused.take() {
            Some((at, cause)) if is_full(&cause) => self.refused = Some((at, cause)),
            Some((_, cause)) => {
                return Err(Error::io(format!("making a segment in {}", self.dir.display()), cause));
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Segments beyond the current one that tickets of so many bytes take.
    fn parts(&self, bytes: usize) -> usize {
        let room = self.room();
        if batch_bytes(bytes) <= room {
            return 0;
        }
        let most = self.body_max();
        let here = room.saturating_sub(HEADER_BYTES);
        let here = if bytes <= most { 0 } else { here };
        bytes.saturating_sub(here).div_ceil(most)
    }

    /// Bytes left in the current segment.
    fn room(&self) -> usize {
        usize::try_from(u64::from(self.segment_bytes) - self.offset).unwrap_or(usize::MAX)
    }

    /// The longest body of a batch.
    fn body_max(&self) -> usize {
        usize::try_from(self.segment_bytes).unwrap_or(usize::MAX).saturating_sub(HEADER_BYTES)
    }

    /// Has another segment made, on a thread: nobody waits for zeros. Where that fails, as on a disk without room, the
    /// journal goes on with those that there are, and tries again in a while.
    fn extend(&mut self) {
        if let Some(made) = self.coming.take_if(|coming| coming.is_finished()) {
            match made.join().unwrap_or_else(|_| Err(std::io::Error::other("a panic"))) {
                Ok(segment) => {
                    (self.count, self.refused) = (segment.number, None);
                    self.unknown = Some(segment);
                }
                Err(cause) => self.refused = Some((Instant::now(), cause)),
            }
        }
        let is_due = self.refused.as_ref().is_none_or(|(at, _)| at.elapsed() >= FULL_DISK_PAUSE);
        if self.coming.is_some() || self.unknown.is_some() || self.count == self.segments_max || !is_due {
            return;
        }
        let (dir, number, bytes) = (self.dir.clone(), self.count + 1, u64::from(self.segment_bytes));
        let faults = self.faults.clone();
        let make = move || match faults.at(FaultPoint::Segment) {
            Some(cause) => Err(cause),
            None => Segment::create(&dir, number, bytes),
        };
        match std::thread::Builder::new().name("balsa-segment".to_owned()).spawn(make) {
            Ok(coming) => self.coming = Some(coming),
            Err(cause) => self.refused = Some((Instant::now(), cause)),
        }
    }

    /// Writes tickets as one group commit; durable when it returns. Answers with where it ends, and how many flushes it
    /// took: one, unless it is longer than a segment. Invariant: there is room.
    pub(crate) fn write(&mut self, tickets: &[Ticket]) -> Result<(Position, u64), Error> {
        let bytes: usize = tickets.iter().map(|ticket| ticket.len()).sum();
        let mut source = Source { tickets, at: 0 };
        let (mut left, mut flushes) = (bytes, 0);
        loop {
            let most = self.room().saturating_sub(HEADER_BYTES);
            // A batch that fits into a segment is not cut: it would cost a flush more.
            if left > most && (left <= self.body_max() || most == 0) {
                self.turn_over()?;
                continue;
            }
            let body = left.min(most);
            left -= body;
            self.write_batch(&mut source, body, left > 0)?;
            flushes += 1;
            if left == 0 {
                return Ok((self.position, flushes));
            }
        }
    }

    fn write_batch(&mut self, source: &mut Source<'_>, body: usize, goes_on: bool) -> Result<(), Error> {
        let length = batch_bytes(body);
        let bytes = self.sectors.of(length);
        let (_, rest) = bytes.split_at_mut(HEADER_BYTES);
        let (filled, padding) = rest.split_at_mut(body);
        source.fill(filled);
        padding.fill(0);
        let head = Head { salt: self.salt, sequence: self.position.sequence + 1, previous: self.position.crc, goes_on };
        let place = Place { segment: self.current.number, offset: self.offset };
        let crc = batch::seal(bytes, body, &head, place).ok_or_else(|| Error::invalid("a batch does not fit"))?;
        self.faults.check(FaultPoint::Journal)?;
        let written = self.current.write(bytes, self.offset);
        written.map_err(|cause| Error::io(format!("writing {}", self.current.path.display()), cause))?;
        self.offset += u64::try_from(length).unwrap_or(u64::MAX);
        self.position = Position { sequence: head.sequence, crc };
        Ok(())
    }

    /// Goes on with the next segment.
    fn turn_over(&mut self) -> Result<(), Error> {
        let next = self.free.pop().ok_or_else(|| Error::invalid("the journal has no segment that is free"))?;
        let full = std::mem::replace(&mut self.current, next);
        self.full.push_back((full, self.position.sequence));
        self.offset = 0;
        Ok(())
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

/// Tickets, one behind the other, as a batch takes them.
struct Source<'a> {
    tickets: &'a [Ticket],
    /// Bytes of the first one that are gone.
    at: usize,
}

impl Source<'_> {
    /// Fills `out`, which is no longer than what is left.
    fn fill(&mut self, mut out: &mut [u8]) {
        while let Some((ticket, others)) = self.tickets.split_first()
            && !out.is_empty()
        {
            let rest = ticket.get(self.at..).unwrap_or_default();
            let length = rest.len().min(out.len());
            let (filled, left) = out.split_at_mut(length);
            filled.copy_from_slice(rest.get(..length).unwrap_or_default());
            out = left;
            self.at += length;
            if self.at == ticket.len() {
                (self.tickets, self.at) = (others, 0);
            }
        }
    }
}
