//! What the writer asks of the journal, and how a batch comes into it.

use std::time::Instant;

use super::batch::{self, HEADER_BYTES, Head, Place, batch_bytes};
use super::segment::{self, Segment};
use super::{Journal, Position};
use crate::error::Error;
use crate::fault::FaultPoint;
use crate::queue::Ticket;
use crate::watch::Watch;
use crate::writer::{FULL_DISK_PAUSE, is_full};

/// The segments of a journal, as its writer sees them. A test puts others in their place, which are in memory.
pub(crate) trait Segments: Send {
    /// Takes note that the home holds everything up to a batch, and knows of so many segments.
    fn held(&mut self, sequence: u64, known: u32);

    /// Whether tickets of so many bytes can be written without waiting for the home. Sees to it that they can be in time.
    fn has_room(&mut self, bytes: usize) -> Result<bool, Error>;

    /// Whether there are more than were looked after.
    fn has_grown(&self) -> bool;

    /// Looks from now on after the files of the segments that there are.
    fn watch(&mut self) -> Result<Watch, Error>;

    /// Segments there are: what the home is to know of.
    fn count(&self) -> u32;

    /// Whether no segment is free but the one that is written.
    fn is_low(&self) -> bool;

    /// Whether nothing that the home does makes room: it holds everything, and the disk has no room for another segment.
    /// An error: what keeps that from being made is something else.
    fn is_stuck(&mut self) -> Result<bool, Error>;

    /// Writes tickets as one group commit; durable when it returns. Answers with where it ends, and how many flushes it
    /// took: one, unless it is longer than a segment. Invariant: there is room.
    fn write(&mut self, tickets: &[Ticket]) -> Result<(Position, u64), Error>;
}

impl Segments for Journal {
    fn held(&mut self, sequence: u64, known: u32) {
        while self.full.front().is_some_and(|(_, last)| *last <= sequence) {
            self.free.extend(self.full.pop_front().map(|(segment, _)| segment));
        }
        self.free.extend(self.unknown.take_if(|segment| segment.number <= known));
    }

    fn has_room(&mut self, bytes: usize) -> Result<bool, Error> {
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

    fn has_grown(&self) -> bool {
        self.count > self.watched
    }

    fn watch(&mut self) -> Result<Watch, Error> {
        self.watched = self.count;
        let names: Vec<String> = (1..=self.count).map(segment::segment_name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let watch = Watch::new(&self.dir, &names);
        watch.map_err(|cause| Error::io(format!("looking at the journal in {}", self.dir.display()), cause))
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn is_low(&self) -> bool {
        self.free.is_empty()
    }

    fn is_stuck(&mut self) -> Result<bool, Error> {
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

    fn write(&mut self, tickets: &[Ticket]) -> Result<(Position, u64), Error> {
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
}

impl Journal {
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
    pub(super) fn body_max(&self) -> usize {
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
