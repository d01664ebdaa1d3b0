//! A store with a journal in front of LMDB: what its files hold after a crash, what is damage and what was cut off, what a
//! failure does, and how one mode becomes the other.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use balsa_log::format::operation::Operation;
use balsa_log::{FaultPoint, Faults, JournalSize, Mode, Options};
use common::{Gate, Opened, block_of, crashed, open_with, ticket};

const SECTOR: usize = 4096;
const SEGMENT: u32 = 256 << 10;
const ENOSPC: i32 = 28;

fn journal() -> Options {
    let mut options = Options::default();
    options.mode = Mode::Journal(JournalSize { segment_bytes: SEGMENT, bytes_max: 1 << 20 });
    options
}

/// Options for a store that fails at a point for as long as it is told to.
fn failing_at(fatal: FaultPoint, cause: fn() -> IoError) -> (Options, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&armed);
    let mut options = journal();
    options.faults = Faults::injected(move |point| (point == fatal && fails.load(Ordering::SeqCst)).then(cause));
    (options, armed)
}

fn until_lmdb_has_all(opened: &Opened) {
    while opened.store.stats().behind_bytes > 0 {
        std::thread::yield_now();
    }
}

/// A store whose home takes in nothing while the gate is shut, as it is now.
fn open_alone(dir: &Path) -> (Opened, Gate) {
    let gate = Gate::default();
    let mut options = journal();
    options.faults = gate.faults();
    let opened = open_with(dir, &options).unwrap();
    gate.set(true);
    (opened, gate)
}

fn append(opened: &Opened, index: u64, length: usize) {
    opened.put(&[Operation::Append { block: &block_of(index, 1, &[&vec![index as u8; length]]) }]);
}

fn last_of(dir: &Path) -> u64 {
    open_with(dir, &journal()).unwrap().state.last
}

fn error_of(dir: &Path, options: &Options) -> balsa_log::Error {
    open_with(dir, options).err().unwrap()
}

/// What a crash leaves of a store that has five entries in its journal, and none in LMDB.
fn five_in_the_journal() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (opened, gate) = open_alone(dir.path());
    (1..=5).for_each(|index| append(&opened, index, 100));
    let copy = crashed(dir.path());
    gate.set(false);
    copy
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_group_commit_takes_one_flush_and_an_idle_store_is_soon_all_in_lmdb_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&writes);
    let mut options = journal();
    options.mode = Mode::Journal(JournalSize::default());
    options.faults = Faults::injected(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        None
    });
    let opened = open_with(dir.path(), &options).unwrap();
    (1..=300).for_each(|index| append(&opened, index, 100));
    let stats = opened.store.stats();
    assert!(stats.flushes <= stats.group_commits * 11 / 10 + 2, "{stats:?}");
    assert!(stats.group_commits > 100, "{stats:?}");
    until_lmdb_has_all(&opened);
    let before = writes.load(Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(writes.load(Ordering::SeqCst), before, "nothing is written");
    assert_eq!(opened.entries(1, 301, 1 << 20).unwrap().len(), 300);
}

#[test]
fn what_lmdb_lacks_is_read_from_memory_and_found_again_behind_a_crash() {
    let copy = five_in_the_journal();
    let opened = open_with(copy.path(), &journal()).unwrap();
    assert_eq!((opened.state.last, opened.state.was_clean), (5, false));
    assert_eq!(opened.entries(1, 6, 1 << 20).unwrap().len(), 5);
    assert_eq!(opened.state.boot_counter, 2);
}

#[test]
fn the_last_batch_may_have_been_cut_off_and_every_other_is_missed() {
    for at in 0..5 {
        // Magic, length, number, salt, flags, body length, chain, checksum, body, end of the body.
        for byte in [0, 4, 8, 16, 24, 28, 32, 36, 40, 180] {
            let copy = five_in_the_journal();
            change(&copy.path().join("journal-0001"), |bytes| bytes[at * SECTOR + byte] ^= 0x10);
            if at == 4 {
                assert_eq!(last_of(copy.path()), 4, "byte {byte}");
                continue;
            }
            let error = error_of(copy.path(), &journal());
            assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT", "byte {byte} of batch {at}");
            assert!(error.to_string().contains("journal-0001"), "{error}");
        }
    }
}

#[test]
fn an_open_that_is_cut_off_names_no_batch_that_may_have_been_in_the_cache_alone() {
    let copy = five_in_the_journal();
    let (first, second) = (copy.path().join("journal-0001"), copy.path().join("journal-0002"));
    let mut options = journal();
    // Between what LMDB takes in and the boot that is counted: the second segment cannot be opened.
    let blocked = second.clone();
    options.faults = Faults::injected(move |point| {
        if point == FaultPoint::Write {
            fs::remove_file(&blocked).unwrap();
            fs::create_dir(&blocked).unwrap();
        }
        None
    });
    assert!(error_of(copy.path(), &options).to_string().contains("opening the journal"));
    fs::remove_dir(&second).unwrap();
    fs::write(&second, vec![0; SEGMENT as usize]).unwrap();
    // The power fails, and with it goes what was never flushed.
    change(&first, |bytes| bytes[4 * SECTOR..5 * SECTOR].fill(0));
    assert_eq!(last_of(copy.path()), 5);
}

#[test]
fn a_batch_at_another_place_or_of_another_store_is_none() {
    let copy = five_in_the_journal();
    let (from, other) = (copy.path().join("journal-0001"), copy.path().join("journal-0002"));
    let first = fs::read(&from).unwrap();
    // All of them once more, elsewhere.
    change(&other, |bytes| bytes[..5 * SECTOR].copy_from_slice(&first[..5 * SECTOR]));
    change(&from, |bytes| bytes.copy_within(..5 * SECTOR, 8 * SECTOR));
    assert_eq!(last_of(copy.path()), 5);
    let stranger = five_in_the_journal();
    fs::copy(stranger.path().join("journal-0001"), &from).unwrap();
    assert_eq!(last_of(copy.path()), 5);
}

/// What is called so, and how it is done.
type Loss = (&'static str, fn(&Path));

#[test]
fn a_segment_that_is_missing_or_of_another_length_is_damage_unless_the_store_was_closed() {
    let changes: [Loss; 3] = [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("shorter", |path| change(path, |bytes| bytes.truncate(SECTOR))),
        ("longer", |path| change(path, |bytes| bytes.resize(bytes.len() + SECTOR, 0))),
    ];
    for (how, lose) in changes {
        for name in ["journal-0001", "journal-0002"] {
            let copy = five_in_the_journal();
            lose(&copy.path().join(name));
            let error = error_of(copy.path(), &journal());
            assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT", "{how}");
            assert!(error.to_string().contains(name), "{how}: {error}");
            let dir = tempfile::tempdir().unwrap();
            let opened = open_with(dir.path(), &journal()).unwrap();
            append(&opened, 1, 100);
            opened.store.close();
            lose(&dir.path().join(name));
            let again = open_with(dir.path(), &journal()).unwrap();
            append(&again, 2, 100);
            assert_eq!(again.entries(1, 3, 1 << 20).unwrap().len(), 2, "{how}");
        }
    }
}

#[test]
fn a_group_commit_longer_than_a_segment_is_there_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, gate) = open_alone(dir.path());
    append(&opened, 1, 100);
    let payload = vec![7; 60_000];
    let blocks: Vec<_> = (2..=7).map(|index| block_of(index, 1, &[&payload])).collect();
    let steps: Vec<_> = blocks.iter().map(|block| Operation::Append { block }).collect();
    opened.put(&steps);
    let copy = crashed(dir.path());
    let cut = crashed(dir.path());
    gate.set(false);
    assert_eq!(last_of(copy.path()), 7);
    // Its last part.
    change(&cut.path().join("journal-0002"), |bytes| bytes[40] ^= 1);
    let opened = open_with(cut.path(), &journal()).unwrap();
    assert_eq!(opened.state.last, 1);
    // What is written now is told from what was cut off.
    append(&opened, 2, 100);
    let again = crashed(cut.path());
    assert_eq!(last_of(again.path()), 2);
}

#[test]
fn a_group_commit_that_needs_more_segments_than_there_are_waits_for_one_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), &journal()).unwrap();
    append(&opened, 1, 200_000);
    until_lmdb_has_all(&opened);
    // More than what is left of one segment and the whole of the other, and nothing that LMDB could take in.
    let blocks: Vec<_> = (2..=7).map(|index| block_of(index, 1, &[&[7; 60_000]])).collect();
    opened.put(&blocks.iter().map(|block| Operation::Append { block }).collect::<Vec<_>>());
    assert_eq!(opened.entries(1, 8, 1 << 20).unwrap().len(), 7);
}

#[test]
fn segments_are_written_over_again_and_again_whatever_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), &journal()).unwrap();
    for index in 1..=400 {
        append(&opened, index, if index % 7 == 0 { 50_000 } else { 300 });
    }
    let files = fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("journal-"));
    assert!(files.count() <= 4);
    until_lmdb_has_all(&opened);
    let copy = crashed(dir.path());
    assert_eq!(last_of(copy.path()), 400);
    assert_eq!(opened.entries(1, 401, 1 << 20).unwrap().len(), 400);
}

#[test]
fn d1_a_failed_write_of_the_journal_poisons_for_good_and_what_was_before_it_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let (options, armed) = failing_at(FaultPoint::Journal, || ErrorKind::Other.into());
    let opened = open_with(dir.path(), &options).unwrap();
    append(&opened, 1, 100);
    armed.store(true, Ordering::SeqCst);
    opened.submit(&[Operation::Append { block: &block_of(2, 1, &[b"x"]) }]);
    opened.until("poisoned", |progress| progress.poisoned);
    assert_eq!(opened.store.fault().unwrap().0, "ERR_RAFT_STORE_POISONED");
    assert_eq!(opened.entries(1, 2, 1 << 20).unwrap().len(), 1, "reads go on");
    opened.store.close();
    let again = open_with(dir.path(), &journal()).unwrap();
    assert_eq!((again.state.last, again.state.was_clean), (1, false));
}

#[test]
fn d1_a_failed_transaction_of_lmdb_poisons_as_well_and_nothing_of_the_journal_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (options, armed) = failing_at(FaultPoint::Commit, || ErrorKind::Other.into());
    let opened = open_with(dir.path(), &options).unwrap();
    armed.store(true, Ordering::SeqCst);
    // Not waited for: LMDB may fail before anybody sees that the journal has it.
    opened.submit(&[Operation::Append { block: &block_of(1, 1, &[&[1; 100]]) }]);
    opened.until("poisoned", |progress| progress.poisoned);
    opened.store.close();
    assert_eq!(last_of(dir.path()), 1);
}

#[test]
fn a_full_disk_is_met_when_the_journal_is_full_and_at_a_close_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (options, full) = failing_at(FaultPoint::Reserve, || IoError::from_raw_os_error(ENOSPC));
    let opened = open_with(dir.path(), &options).unwrap();
    full.store(true, Ordering::SeqCst);
    let (mut last, mut number) = (0, 0);
    while !opened.store.poll().stalled {
        let bytes = ticket(&[Operation::Append { block: &block_of(last + 1, 1, &[&[1; 30_000]]) }]);
        if opened.store.poll().credit > bytes.len() as u64 {
            number = opened.store.submit(&bytes).unwrap();
            last += 1;
        }
    }
    assert!(opened.store.poll().durable > 5, "the journal had room");
    full.store(false, Ordering::SeqCst);
    opened.until("it goes on", |progress| progress.durable >= number && !progress.stalled);
    full.store(true, Ordering::SeqCst);
    append(&opened, last + 1, 100);
    opened.store.close();
    full.store(false, Ordering::SeqCst);
    assert_eq!(last_of(dir.path()), last + 1);
}

#[test]
fn a_store_of_one_mode_becomes_one_of_the_other_and_back_wherever_that_is_cut_off() {
    let format = |dir: &Path| fs::read_to_string(dir.join("FORMAT")).unwrap();
    let has_segments = |dir: &Path| dir.join("journal-0001").exists();
    let dir = tempfile::tempdir().unwrap();
    let lmdb = Options::default();
    let opened = open_with(dir.path(), &lmdb).unwrap();
    append(&opened, 1, 100);
    drop(opened);
    let before = crashed(dir.path());
    let opened = open_with(dir.path(), &journal()).unwrap();
    assert_eq!((opened.state.last, format(dir.path()).as_str()), (1, "balsa-store 1 journal\n"));
    append(&opened, 2, 100);
    drop(opened);
    // Cut off before LMDB knew of the journal: its files are made anew.
    fs::copy(dir.path().join("journal-0001"), before.path().join("journal-0001")).unwrap();
    assert_eq!(last_of(before.path()), 1);
    // Cut off before FORMAT said so, on the way there or back; or the line was written by hand.
    let copy = five_in_the_journal();
    fs::write(copy.path().join("FORMAT"), "balsa-store 2 lmdb\n").unwrap();
    let opened = open_with(copy.path(), &lmdb).unwrap();
    assert_eq!((opened.state.last, has_segments(copy.path())), (5, false));
    append(&opened, 6, 100);
    drop(opened);
    // FORMAT says so, and LMDB knows of no journal any more.
    fs::write(copy.path().join("FORMAT"), "balsa-store 1 journal\n").unwrap();
    assert_eq!(last_of(copy.path()), 6);
    let opened = open_with(dir.path(), &lmdb).unwrap();
    assert_eq!((opened.state.last, format(dir.path()).as_str()), (2, "balsa-store 2 lmdb\n"));
    assert!(!has_segments(dir.path()));
}

#[test]
fn a_store_that_lost_its_format_is_told_by_its_journal() {
    let copy = five_in_the_journal();
    fs::remove_file(copy.path().join("FORMAT")).unwrap();
    for options in [journal(), Options::default()] {
        let error = error_of(copy.path(), &options).to_string();
        assert!(error.contains("\"balsa-store 1 journal\""), "{error}");
    }
    fs::write(copy.path().join("FORMAT"), "balsa-store 1 journal\n").unwrap();
    assert_eq!(last_of(copy.path()), 5);
}

#[test]
fn an_inspection_tells_what_the_journal_holds_and_writes_nothing() {
    let copy = five_in_the_journal();
    let image = |name: &str| fs::read(copy.path().join(name)).unwrap();
    let names = ["FORMAT", "data.mdb", "journal-0001", "journal-0002"];
    let before = names.map(image);
    let state = balsa_log::Store::inspect(copy.path(), &journal()).unwrap().unwrap();
    assert_eq!((state.last, state.boot_counter), (5, 1));
    assert!(names.map(image) == before, "it has written");
}

#[test]
fn a_segment_that_was_replaced_is_noticed_although_another_one_is_made_before_anybody_looks() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, gate) = open_alone(dir.path());
    append(&opened, 1, 100);
    let file = dir.path().join("journal-0001");
    let copy = dir.path().join("journal-0001.new");
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    // Two segments hold so much; the next entry waits for a third one, of which the home then has to know.
    (2..=9).for_each(|index| append(&opened, index, 50_000));
    opened.submit(&[Operation::Append { block: &block_of(10, 1, &[&[7; 50_000]]) }]);
    while !dir.path().join("journal-0003").exists() {
        std::thread::yield_now();
    }
    gate.set(false);
    opened.until("the loss is noticed", |progress| progress.poisoned);
    assert!(opened.store.fault().unwrap().1.contains("journal-0001"), "{:?}", opened.store.fault());
}

#[test]
fn a_close_waits_for_a_segment_that_is_being_made() {
    let dir = tempfile::tempdir().unwrap();
    let (begun, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&ended));
    let mut options = journal();
    options.faults = Faults::injected(move |point| {
        if point == FaultPoint::Segment {
            begins.store(true, Ordering::SeqCst);
            // Long enough for a close that does not wait.
            std::thread::sleep(std::time::Duration::from_millis(300));
            ends.store(true, Ordering::SeqCst);
        }
        None
    });
    let opened = open_with(dir.path(), &options).unwrap();
    let mut index = 1;
    while !begun.load(Ordering::SeqCst) {
        append(&opened, index, 60_000);
        index += 1;
    }
    opened.store.close();
    assert!(ended.load(Ordering::SeqCst));
    assert_eq!(last_of(dir.path()), index - 1);
}

#[test]
fn a_segment_that_cannot_be_made_leaves_nothing_and_the_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), &journal()).unwrap();
    // In the way of the last step.
    fs::create_dir_all(dir.path().join("journal-0003").join("x")).unwrap();
    (1..=40).for_each(|index| append(&opened, index, 60_000));
    opened.store.close();
    assert!(!dir.path().join("journal-0003.new").exists());
}

/// A group commit that takes more segments than there are at first, behind one entry in the first of them.
fn submit_much(opened: &Opened) -> u64 {
    append(opened, 1, 200_000);
    let blocks: Vec<_> = (2..=7).map(|index| block_of(index, 1, &[&[7; 60_000]])).collect();
    opened.submit(&blocks.iter().map(|block| Operation::Append { block }).collect::<Vec<_>>())
}

#[test]
fn a_disk_without_room_for_a_segment_is_told_where_one_is_needed_and_a_close_does_not_wait_for_it() {
    let (options, full) = failing_at(FaultPoint::Segment, || IoError::from_raw_os_error(ENOSPC));
    for is_mended in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        full.store(true, Ordering::SeqCst);
        let opened = open_with(dir.path(), &options).unwrap();
        let number = submit_much(&opened);
        opened.until("stalled", |progress| progress.stalled);
        if is_mended {
            full.store(false, Ordering::SeqCst);
            opened.until("it goes on", |progress| progress.durable >= number && !progress.stalled);
            assert_eq!(opened.entries(1, 8, 1 << 20).unwrap().len(), 7);
        } else {
            opened.store.close();
            assert_eq!(opened.store.fault().unwrap().0, "ERR_RAFT_STORE_FULL");
            assert_eq!(last_of(dir.path()), 1);
        }
    }
}

#[test]
fn a_segment_that_is_needed_and_cannot_be_made_for_another_reason_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let (options, armed) = failing_at(FaultPoint::Segment, || ErrorKind::PermissionDenied.into());
    armed.store(true, Ordering::SeqCst);
    let opened = open_with(dir.path(), &options).unwrap();
    submit_much(&opened);
    opened.until("poisoned", |progress| progress.poisoned);
    assert!(opened.store.fault().unwrap().1.contains("making a segment"), "{:?}", opened.store.fault());
    opened.store.close();
    assert_eq!(last_of(dir.path()), 1);
}

#[test]
fn segments_of_a_size_that_takes_no_batch_are_refused_before_anything_is_written() {
    for segment_bytes in [0, 1, 4096, 8191, 10_000, u32::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = journal();
        options.mode = Mode::Journal(JournalSize { segment_bytes, ..JournalSize::default() });
        let error = error_of(dir.path(), &options);
        assert!(error.to_string().contains(&segment_bytes.to_string()), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_ticket_that_the_whole_journal_cannot_take_poisons_and_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), &journal()).unwrap();
    let block = block_of(1, 1, &[b"x"]);
    let mut steps = vec![Operation::Append { block: &block }];
    steps.extend((0..400).map(|_| Operation::Put { key: "k", value: &[1; 4000] }));
    opened.submit(&steps);
    opened.until("poisoned", |progress| progress.poisoned);
    opened.store.close();
    assert_eq!(last_of(dir.path()), 0);
}

#[test]
fn segments_of_another_day_than_lmdb_are_damage_or_count_for_nothing() {
    let names = ["journal-0001", "journal-0002"];
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), &journal()).unwrap();
    append(&opened, 1, 100);
    opened.store.close();
    let first_day = crashed(dir.path());
    let opened = open_with(dir.path(), &journal()).unwrap();
    append(&opened, 2, 100);
    until_lmdb_has_all(&opened);
    append(&opened, 3, 100);
    until_lmdb_has_all(&opened);
    let second_day = crashed(dir.path());
    drop(opened);
    // Of another boot, and zeros.
    let old = crashed(second_day.path());
    let take = |from: &Path, to: &Path| {
        names.iter().for_each(|name| assert!(fs::copy(from.join(name), to.join(name)).unwrap() > 0));
    };
    take(first_day.path(), old.path());
    let empty = crashed(second_day.path());
    names.iter().for_each(|name| change(&empty.path().join(name), |bytes| bytes.fill(0)));
    for copy in [old, empty] {
        let error = error_of(copy.path(), &journal());
        assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT");
        assert!(error.to_string().contains("of another day"), "{error}");
    }
    assert_eq!(last_of(second_day.path()), 3);
    // LMDB as it was at the close of the first day: what was written later is not of its log.
    let lmdb = crashed(first_day.path());
    take(dir.path(), lmdb.path());
    let (opened, gate) = open_alone(lmdb.path());
    assert_eq!(opened.state.last, 1);
    append(&opened, 2, 300);
    let again = crashed(lmdb.path());
    gate.set(false);
    assert_eq!(last_of(again.path()), 2);
}

#[test]
fn a_read_of_no_entries_gives_none_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, gate) = open_alone(dir.path());
    opened.put(&[Operation::Append { block: &block_of(1, 1, &[b"a", b"b", b"c"]) }]);
    for is_home in [false, true] {
        for (lo, hi) in [(0, 0), (0, 3), (2, 2), (3, 1), (4, 9), (4, 4), (u64::MAX, u64::MAX), (3, 0)] {
            assert_eq!(opened.read(lo, hi, 1 << 20).unwrap(), Vec::<Vec<u8>>::new(), "{lo} .. {hi}, home: {is_home}");
        }
        assert_eq!(opened.entries(2, 4, 1 << 20).unwrap().len(), 2);
        assert_eq!(opened.read(3, u64::MAX, 1 << 20).unwrap().len(), 1);
        gate.set(false);
        until_lmdb_has_all(&opened);
    }
}

#[test]
fn a_conversion_that_was_cut_off_leaves_nothing_by_which_a_lost_format_passes_for_a_new_store() {
    for options in [journal(), Options::default()] {
        let copy = five_in_the_journal();
        fs::write(copy.path().join("FORMAT.new"), "balsa-store 2 lmdb\n").unwrap();
        drop(open_with(copy.path(), &options).unwrap());
        fs::remove_file(copy.path().join("FORMAT")).unwrap();
        assert_eq!(error_of(copy.path(), &journal()).code(), "ERR_RAFT_DIR_UNUSABLE");
    }
}

#[test]
fn a_segment_that_is_taken_away_from_under_an_open_store_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), &journal()).unwrap();
    append(&opened, 1, 100);
    fs::remove_file(dir.path().join("journal-0002")).unwrap();
    opened.until("the loss is noticed", |progress| progress.poisoned);
    assert!(opened.store.fault().unwrap().1.contains("journal-0002"));
}

#[test]
fn a_segment_that_was_lost_behind_a_close_may_fail_to_be_made_again_and_the_next_open_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), &journal()).unwrap();
    append(&opened, 1, 100);
    opened.store.close();
    fs::remove_file(dir.path().join("journal-0002")).unwrap();
    let in_the_way = dir.path().join("journal-0002.new");
    fs::create_dir(&in_the_way).unwrap();
    assert_eq!(error_of(dir.path(), &journal()).code(), "ERR_RAFT_DIR_UNUSABLE");
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(last_of(dir.path()), 1);
}
