//! When a segment is written over, and what of it is: the rules that no crash shows but by chance.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use super::batch::{HEADER_BYTES, SECTOR_BYTES};
use super::segments::Segments;
use super::{Journal, JournalSize};
use crate::fault::Faults;
use crate::queue::Ticket;

/// Two batches of a sector each to a segment, and two segments.
const SIZE: JournalSize = JournalSize { segment_bytes: 8192, bytes_max: 16384 };

fn journal_in(dir: &Path) -> Journal {
    let row = Journal::create(dir, 7, SIZE).unwrap();
    Journal::open(dir, &row, SIZE, Faults::default()).unwrap()
}

/// Writes one batch with a body of so many bytes, each of them `byte`.
fn write(journal: &mut Journal, bytes: usize, byte: u8) -> u64 {
    let ticket: Ticket = vec![byte; bytes].into();
    journal.write(&[ticket]).unwrap().0.sequence
}

#[test]
fn a_segment_is_written_over_only_when_the_home_holds_its_last_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal_in(dir.path());
    for expected in 1..=3 {
        assert_eq!(write(&mut journal, 100, 1), expected);
    }
    assert!(journal.is_low(), "one is full, and the other is written");
    journal.held(1, 2);
    assert!(journal.is_low(), "batch 2 is in the full one as well");
    journal.held(2, 2);
    assert!(!journal.is_low());
}

#[test]
fn what_a_batch_leaves_of_its_last_sector_is_zeros_whatever_was_written_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal_in(dir.path());
    write(&mut journal, SECTOR_BYTES - HEADER_BYTES, 0xff);
    write(&mut journal, 100, 0xff);
    let first = fs::read(&journal.current.path).unwrap();
    let second = first.get(SECTOR_BYTES..2 * SECTOR_BYTES).unwrap();
    assert!(second.iter().take(HEADER_BYTES + 100).skip(HEADER_BYTES).all(|byte| *byte == 0xff));
    assert!(second.iter().skip(HEADER_BYTES + 100).all(|byte| *byte == 0));
}
