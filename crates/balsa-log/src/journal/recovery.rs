//! What a crash has left in the journal: every group commit that the home does not hold yet.
//!
//! Every boundary of every segment is read, and no pointer or mark is trusted to say where the journal ends. A batch is
//! begun only when the one before it is durable. So of the batches behind the last one in the home, those that are there
//! follow each other without a gap, and whatever is not intact behind them was cut off, and never acknowledged. An intact
//! batch beyond a gap proves that what is missing was acknowledged: that is damage.

use std::path::{Path, PathBuf};

use super::batch::{self, Head, Place, SECTOR_BYTES};
use super::segment::{Sectors, Segment, segments_in};
use super::{JournalRow, Position};
use crate::error::Error;

/// One group commit.
pub(crate) struct Commit {
    /// Of its last batch.
    pub(crate) position: Position,
    /// Its tickets, one behind the other.
    pub(crate) tickets: Vec<u8>,
}

struct Batch {
    head: Head,
    crc: u32,
    body: Vec<u8>,
    file: PathBuf,
}

/// Reads what the home lacks, in order. A file that the system fails to read is an error of its own, never an end.
pub(super) fn recover(dir: &Path, row: &JournalRow) -> Result<Vec<Commit>, Error> {
    let (mut batches, mut newest) = (Vec::new(), 0);
    for number in numbers(dir, row)? {
        newest = newest.max(read_segment(dir, number, row, &mut batches)?);
    }
    check_age(dir, row, newest)?;
    batches.sort_by_key(|found: &Batch| found.head.sequence);
    let mut end = row.position;
    let (mut commits, mut tickets) = (Vec::new(), Vec::new());
    for Batch { head, crc, body, file } in batches {
        if head.sequence != end.sequence + 1 || head.previous != end.crc {
            let detail = format!("batch {} is intact, and batch {} is not", head.sequence, end.sequence + 1);
            return Err(Error::Corrupt { file, index: None, detail });
        }
        end = Position { sequence: head.sequence, crc };
        tickets.extend_from_slice(&body);
        if !head.goes_on {
            commits.push(Commit { position: end, tickets: std::mem::take(&mut tickets) });
        }
    }
    Ok(commits)
}

/// The last batch that the home holds is written over only when there is a newer one, and salt and numbers begin anew with
/// each open. Where neither is there, the segments are not those that were written last, and nobody knows what was in these.
fn check_age(dir: &Path, row: &JournalRow, newest: u64) -> Result<(), Error> {
    let held = row.position.sequence;
    if newest >= held {
        return Ok(());
    }
    let detail = format!(
        "LMDB holds batch {held} of the journal, and of the segments in {} none holds it or a later one: they are \
         damaged, or of another day than LMDB",
        dir.display()
    );
    Err(Error::Corrupt { file: dir.join(super::segment::segment_name(1)), index: None, detail })
}

/// The segments that may hold something: all that the row knows of must be there.
fn numbers(dir: &Path, row: &JournalRow) -> Result<Vec<u32>, Error> {
    let there = segments_in(dir).map_err(|cause| Error::io(format!("reading {}", dir.display()), cause))?;
    match (1..=row.segments).find(|number| !there.contains(number)) {
        None => Ok((1..=row.segments).collect()),
        Some(missing) => Err(Error::Corrupt {
            file: dir.join(super::segment::segment_name(missing)),
            index: None,
            detail: "the file is missing, and the store was not closed".to_owned(),
        }),
    }
}

/// Adds what the home lacks. Answers with the newest batch, also of those that it holds.
fn read_segment(dir: &Path, number: u32, row: &JournalRow, batches: &mut Vec<Batch>) -> Result<u64, Error> {
    let path = dir.join(super::segment::segment_name(number));
    let unreadable = |cause| Error::io(format!("reading {}", path.display()), cause);
    let segment = Segment::open(dir, number).map_err(unreadable)?;
    let bytes = segment.bytes().map_err(unreadable)?;
    if bytes != u64::from(row.segment_bytes) {
        let detail = format!("the file has {bytes} bytes instead of {}", row.segment_bytes);
        return Err(Error::Corrupt { file: path, index: None, detail });
    }
    let mut sectors = Sectors::default();
    let whole = sectors.of(usize::try_from(bytes).map_err(|_| Error::invalid("a segment beyond the address space"))?);
    segment.read(whole, 0).map_err(unreadable)?;
    let mut newest = 0;
    for at in (0..whole.len()).step_by(SECTOR_BYTES) {
        let place = Place { segment: number, offset: u64::try_from(at).unwrap_or(u64::MAX) };
        let Some(found) = whole.get(at..).and_then(|rest| batch::find(rest, row.salt, place)) else { continue };
        newest = newest.max(found.head.sequence);
        if found.head.sequence > row.position.sequence {
            let (body, file) = (found.body.to_vec(), path.clone());
            batches.push(Batch { head: found.head, crc: found.crc, body, file });
        }
    }
    Ok(newest)
}
