//! Damaged blocks that are replaced by what another server has of the same entries: in both modes, with nothing else of
//! the log changed, and not at all where the log has become another one.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use balsa_log::format::operation::Operation;
use balsa_log::{Error, FaultPoint, Faults, JournalSize, Mode, Options, Repaired, State};
use common::{Entry, Opened, block_of, keep, open_with};

const MODES: [Mode; 2] = [Mode::Lmdb, Mode::Journal(JournalSize { segment_bytes: 1 << 16, bytes_max: 4 << 16 })];

fn options(mode: Mode) -> Options {
    let mut options = Options::default();
    options.mode = mode;
    options
}

/// Ten entries in a block; their payloads are found in no other.
fn block_at(first: u64, term: u64) -> Vec<u8> {
    let payloads: Vec<Vec<u8>> = (first..first + 10).map(|index| payload(index, term)).collect();
    block_of(first, term, &payloads.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn payload(index: u64, term: u64) -> Vec<u8> {
    format!("<entry {index} of term {term}>").repeat(20).into_bytes()
}

/// The term of the entries of the block that begins there.
fn term_at(first: u64) -> u64 {
    1 + first / 40
}

/// Entries 1 to 100, all of them at home, and the store is closed.
fn fill(dir: &Path, mode: Mode) {
    let opened = open_with(dir, &options(mode)).unwrap();
    for first in (1..=91).step_by(10) {
        opened.put(&[Operation::Append { block: &block_at(first, term_at(first)) }]);
    }
    opened.put(&[Operation::HardState { term: 7, commit: 60, voted_for: Some("s2") }]);
    opened.store.close();
}

/// Flips a bit of that entry, wherever it stands in the file.
fn rot(dir: &Path, index: u64) {
    let path = dir.join("data.mdb");
    let mut bytes = fs::read(&path).unwrap();
    let needle = payload(index, term_at(index - (index - 1) % 10));
    let mut found = 0;
    for at in 0..bytes.len() - needle.len() {
        if bytes[at..].starts_with(&needle) {
            bytes[at + 30] ^= 4;
            found += 1;
        }
    }
    assert!(found > 0, "entry {index} is not in the file");
    fs::write(path, bytes).unwrap();
}

struct Filled {
    _home: tempfile::TempDir,
    opened: Opened,
    dir: std::path::PathBuf,
    intact: (Vec<Entry>, String),
}

fn told(state: &State) -> String {
    let State { first, last, hard_state, terms, configurations, .. } = state;
    format!("{first} {last} {hard_state:?} {terms:?} {configurations:?}")
}

impl Filled {
    fn with(mode: Mode, rotten: &[u64]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("store");
        fill(&dir, mode);
        let opened = open_with(&dir, &options(mode)).unwrap();
        let intact = (opened.entries(1, 101, 1 << 20).unwrap(), told(&opened.state));
        opened.store.close();
        rotten.iter().for_each(|index| rot(&dir, *index));
        let opened = open_with(&dir, &options(mode)).unwrap();
        Self { _home: home, opened, dir, intact }
    }

    fn range(&self, lo: u64, hi: u64) -> Result<Vec<Entry>, (u64, u64)> {
        match self.opened.entries(lo, hi, 1 << 20) {
            Ok(entries) => Ok(entries),
            Err(Error::Damaged { first, last, .. }) => Err((first, last)),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens it again, in either mode: everything is what it was.
    fn check_whole_again(self) {
        self.opened.store.close();
        for mode in MODES {
            let opened = open_with(&self.dir, &options(mode)).unwrap();
            assert_eq!(told(&opened.state), self.intact.1);
            assert_eq!(opened.entries(1, 101, 1 << 20).unwrap(), self.intact.0);
            opened.store.close();
        }
    }
}

/// As a peer gives them, whose blocks are cut otherwise.
fn pieces(first: u64, last: u64, term: u64, cut: u64) -> Vec<u8> {
    let part = |from: u64, to: u64| {
        let payloads: Vec<Vec<u8>> = (from..=to).map(|index| payload(index, term)).collect();
        block_of(from, term, &payloads.iter().map(Vec::as_slice).collect::<Vec<_>>())
    };
    [part(first, cut), part(cut + 1, last)].concat()
}

#[test]
fn d4_a_damaged_block_is_told_with_its_entries_and_replaced_for_good() {
    for mode in MODES {
        let filled = Filled::with(mode, &[25, 63]);
        assert_eq!(filled.range(1, 101), Err((21, 30)), "{mode:?}");
        assert_eq!(filled.range(35, 101), Err((61, 70)), "{mode:?}");
        let before = filled.opened.store.stats();
        let replace =
            |first, last, term| filled.opened.store.repair(first, last, &pieces(first, last, term, first + 3));
        assert_eq!(replace(21, 30, term_at(21)).unwrap(), Repaired::Replaced);
        assert_eq!(filled.range(1, 60).unwrap(), filled.intact.0[..59]);
        assert_eq!(replace(61, 70, term_at(61)).unwrap(), Repaired::Replaced);
        assert_eq!(replace(61, 70, term_at(61)).unwrap(), Repaired::Unchanged, "it is whole");
        let after = filled.opened.store.stats();
        assert_eq!(after.flushes - before.flushes, 4, "two transactions");
        assert_eq!((after.first, after.last, after.group_commits), (1, 100, before.group_commits));
        filled.check_whole_again();
    }
}

#[test]
fn the_log_goes_on_behind_a_repair() {
    for mode in MODES {
        let filled = Filled::with(mode, &[25]);
        filled.opened.store.repair(21, 30, &block_at(21, term_at(21))).unwrap();
        filled.opened.put(&[Operation::Append { block: &block_at(101, 9) }]);
        filled.opened.put(&[Operation::TruncateSuffix { from: 101 }]);
        filled.opened.put(&[Operation::HardState { term: 7, commit: 60, voted_for: Some("s2") }]);
        filled.check_whole_again();
    }
}

#[test]
fn what_are_other_entries_than_the_log_has_changes_nothing() {
    for mode in MODES {
        let filled = Filled::with(mode, &[25]);
        let repair = |first, last, blocks: &[u8]| filled.opened.store.repair(first, last, blocks);
        assert_eq!(repair(21, 30, &block_at(21, term_at(21) + 1)).unwrap(), Repaired::Unchanged, "another term");
        let part = pieces(21, 29, term_at(21), 23);
        assert_eq!(repair(21, 29, &part).unwrap(), Repaired::Unchanged, "a part of the block");
        assert_eq!(repair(11, 20, &block_at(11, term_at(11))).unwrap(), Repaired::Unchanged, "one that is whole");
        for (first, last, blocks) in [(21, 30, part), (22, 30, block_at(21, 1)), (21, 31, block_at(21, 1))] {
            assert_eq!(repair(first, last, &blocks).unwrap_err().code(), "INVALID", "{first} .. {last}");
        }
        let mut rotten = block_at(21, term_at(21));
        rotten[70] ^= 1;
        assert_eq!(repair(21, 30, &rotten).unwrap_err().code(), "INVALID", "a block that is damaged as well");
        assert_eq!(repair(21, 30, &[]).unwrap_err().code(), "INVALID", "no block");
        assert_eq!(filled.range(1, 101), Err((21, 30)));
        filled.opened.store.repair(21, 30, &block_at(21, term_at(21))).unwrap();
        filled.check_whole_again();
    }
}

#[test]
fn a_configuration_is_replaced_by_itself_alone() {
    let home = tempfile::tempdir().unwrap();
    let opened = open_with(home.path(), &Options::default()).unwrap();
    let configuration = |payload: &[u8]| common::sealed(11, 1, &[(4, 1_760_000_000_000, payload)]);
    opened.put(&[Operation::Append { block: &block_at(1, 1) }]);
    opened.put(&[Operation::Append { block: &configuration(&[b'c'; 900]) }]);
    opened.put(&[Operation::Append { block: &block_at(12, 1) }]);
    opened.store.close();
    let path = home.path().join("data.mdb");
    let bytes = fs::read(&path).unwrap();
    // The list of configurations has a copy of it, which an open checks; the block has it behind its index and term.
    let head = [&11_u64.to_le_bytes()[..], &1_u64.to_le_bytes()[..], &[4, 0]].concat();
    let mut bytes = bytes;
    for at in 0..bytes.len() - 800 {
        if bytes[at..].starts_with(&head) {
            bytes[at + 100] ^= 1;
        }
    }
    fs::write(&path, bytes).unwrap();
    let opened = open_with(home.path(), &Options::default()).unwrap();
    assert!(matches!(opened.entries(1, 22, 1 << 20), Err(Error::Damaged { first: 11, last: 11, .. })));
    assert_eq!(opened.store.repair(11, 11, &configuration(&[b'd'; 900])).unwrap(), Repaired::Unchanged);
    assert_eq!(opened.store.repair(11, 11, &block_of(11, 1, &[b"x"])).unwrap(), Repaired::Unchanged);
    assert_eq!(opened.store.repair(11, 11, &configuration(&[b'c'; 900])).unwrap(), Repaired::Replaced);
    assert_eq!(opened.entries(1, 22, 1 << 20).unwrap().len(), 21);
}

#[test]
fn a_truncation_that_came_first_wins() {
    for mode in MODES {
        let filled = Filled::with(mode, &[85]);
        assert_eq!(filled.range(1, 101), Err((81, 90)));
        filled.opened.put(&[Operation::TruncateSuffix { from: 81 }]);
        filled.opened.put(&[Operation::Append { block: &block_at(81, 8) }]);
        filled.opened.put(&[Operation::Append { block: &block_at(91, 8) }]);
        let old = block_at(81, term_at(81));
        // Until the home has taken it in, what it has is still the damaged block: it goes with the rest.
        filled.opened.store.repair(81, 90, &old).unwrap();
        let entries = filled.range(81, 101).unwrap();
        assert!(entries.iter().all(|entry| entry.term == 8), "{mode:?}");
        filled.opened.store.close();
        let opened = open_with(&filled.dir, &options(mode)).unwrap();
        assert_eq!(opened.store.repair(81, 90, &old).unwrap(), Repaired::Unchanged);
        assert_eq!(opened.entries(81, 101, 1 << 20).unwrap(), entries, "{mode:?}");
    }
}

#[test]
fn of_a_block_in_which_the_log_begins_only_what_is_kept_is_replaced() {
    for mode in MODES {
        let filled = Filled::with(mode, &[27]);
        filled.opened.put(&[keep(25, 35, 1)]);
        filled.opened.store.close();
        let opened = open_with(&filled.dir, &options(mode)).unwrap();
        let Err(Error::Damaged { first, last, .. }) = opened.entries(25, 101, 1 << 20) else { panic!("it is whole") };
        assert_eq!((first, last), (25, 30));
        let old = block_at(21, term_at(21));
        assert_eq!(opened.store.repair(25, 30, &pieces(25, 30, 1, 26)).unwrap(), Repaired::Replaced);
        assert_eq!(opened.store.repair(21, 30, &old).unwrap(), Repaired::Unchanged);
        opened.store.close();
        let opened = open_with(&filled.dir, &options(mode)).unwrap();
        assert_eq!(opened.entries(25, 101, 1 << 20).unwrap(), filled.intact.0[24..]);
        opened.put(&[keep(32, 36, 1)]);
        assert!(opened.read(30, 101, 1 << 20).unwrap().is_empty());
    }
}

#[test]
fn the_last_block_is_told_without_its_end() {
    let filled = Filled::with(Mode::Lmdb, &[]);
    rot(&filled.dir, 95);
    let error = filled.opened.entries(1, 101, 1 << 20).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    filled.opened.put(&[Operation::Append { block: &block_at(101, 9) }]);
    assert_eq!(filled.range(1, 101), Err((91, 100)), "the next block tells it");
    assert_eq!(filled.opened.store.repair(91, 100, &block_at(91, term_at(91))).unwrap(), Repaired::Replaced);
    assert_eq!(filled.range(1, 101).unwrap(), filled.intact.0);
}

#[test]
fn a_disk_without_room_repairs_nothing_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    fill(home.path(), Mode::Lmdb);
    rot(home.path(), 25);
    let mut options = options(Mode::Lmdb);
    options.faults = Faults::injected(|point| (point == FaultPoint::Reserve).then(|| ErrorKind::StorageFull.into()));
    let opened = open_with(home.path(), &options).unwrap();
    let error = opened.store.repair(21, 30, &block_at(21, 1)).unwrap_err();
    assert_eq!(error.code(), "ERR_RAFT_STORE_FULL");
    assert!(opened.store.fault().is_none());
}

#[test]
fn a_commit_that_fails_poisons() {
    let home = tempfile::tempdir().unwrap();
    fill(home.path(), Mode::Lmdb);
    rot(home.path(), 25);
    let mut options = options(Mode::Lmdb);
    options.faults = Faults::injected(|point| (point == FaultPoint::Commit).then(|| ErrorKind::Other.into()));
    let opened = open_with(home.path(), &options).unwrap();
    let error = opened.store.repair(21, 30, &block_at(21, 1)).unwrap_err();
    assert!(["ERR_RAFT_STORE_POISONED", "ERR_RAFT_CLOSED"].contains(&error.code()), "{error}");
    opened.until("it is poisoned", |progress| progress.poisoned);
    assert_eq!(opened.store.repair(21, 30, &block_at(21, 1)).unwrap_err().code(), "ERR_RAFT_STORE_POISONED");
}

#[test]
fn a_closed_store_repairs_nothing() {
    let filled = Filled::with(Mode::Lmdb, &[25]);
    filled.opened.store.close();
    assert_eq!(filled.opened.store.repair(21, 30, &block_at(21, 1)).unwrap_err().code(), "ERR_RAFT_CLOSED");
}
