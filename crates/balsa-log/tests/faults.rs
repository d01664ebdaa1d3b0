//! What goes wrong while the store is open: it is poisoned, or it waits for a disk that is full. There is no third
//! outcome.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use balsa_log::format::block::KIND_NOOP;
use balsa_log::format::operation::Operation;
use balsa_log::{Error, FaultPoint, Faults, Options};
use common::{Opened, block_of, crashed, open, open_with, ticket};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn options(fault: impl Fn(FaultPoint) -> Option<IoError> + Send + Sync + 'static) -> Options {
    let mut options = Options::default();
    options.faults = Faults::injected(fault);
    options
}

fn append(first: u64) -> Vec<u8> {
    block_of(first, 1, &[b"payload"])
}

/// Opens a store with entry 1 whose next writes meet `fault`.
fn with_fault(dir: &Path, fault: impl Fn(FaultPoint) -> Option<IoError> + Send + Sync + 'static) -> Opened {
    let opened = open(dir);
    opened.put(&[Operation::Append { block: &append(1) }]);
    opened.store.close();
    open_with(dir, &options(fault)).unwrap()
}

fn assert_poisoned(opened: &Opened, said: &str) {
    opened.until("the store is poisoned", |progress| progress.poisoned);
    let progress = opened.store.poll();
    assert_eq!((progress.durable, progress.credit), (0, 0));
    let (code, message) = opened.store.fault().unwrap();
    assert_eq!(code, "ERR_RAFT_STORE_POISONED");
    assert!(message.contains(said), "{message}");
    let error = opened.store.submit(&ticket(&[Operation::Append { block: &append(2) }])).unwrap_err();
    assert_eq!(error.code(), "ERR_RAFT_STORE_POISONED");
    assert_eq!(opened.entries(1, 2, 1000).unwrap().len(), 1, "reads go on");
}

#[test]
fn d1_a_failed_write_or_commit_poisons_for_good_and_the_log_before_it_is_there_after_a_reopen() {
    for failing in [FaultPoint::Reserve, FaultPoint::Write, FaultPoint::Commit] {
        for errno in [EIO, ENOSPC] {
            if (failing, errno) == (FaultPoint::Reserve, ENOSPC) {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let opened =
                with_fault(dir.path(), move |point| (point == failing).then(|| IoError::from_raw_os_error(errno)));
            opened.submit(&[Operation::Append { block: &append(2) }]);
            assert_poisoned(&opened, if failing == FaultPoint::Reserve { "reserving room in" } else { "injected" });
            opened.store.close();
            let again = open(dir.path());
            assert_eq!(again.state.last, 1);
            assert!(!again.state.was_clean, "a poisoned store is not closed clean");
        }
    }
}

#[test]
fn nothing_is_reported_durable_before_its_own_group_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (queued, wait_queued) = std::sync::mpsc::channel::<()>();
    let wait_queued = std::sync::Mutex::new(wait_queued);
    let writes = AtomicU32::new(0);
    // The first write waits until everything is queued; the third group commit fails.
    let fault = move |point| match point {
        FaultPoint::Write if writes.fetch_add(1, Ordering::SeqCst) == 0 => {
            wait_queued.lock().unwrap().recv().unwrap();
            None
        }
        FaultPoint::Commit if writes.load(Ordering::SeqCst) == 3 => Some(IoError::from_raw_os_error(EIO)),
        _ => None,
    };
    let opened = open_with(dir.path(), &options(fault)).unwrap();
    let payload = [0; 60_000];
    let last =
        (1..=60).map(|first| opened.submit(&[Operation::Append { block: &block_of(first, 1, &[&payload]) }])).last();
    queued.send(()).unwrap();
    opened.until("the store is poisoned", |progress| progress.poisoned);
    let durable = opened.store.poll().durable;
    assert!(durable >= 2 && Some(durable) < last, "{durable} of {last:?}");
    opened.store.close();
    assert_eq!(open(dir.path()).state.last, durable);
}

#[test]
fn wakes_are_coalesced_until_the_next_poll() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    for first in 1..=5 {
        opened.submit(&[Operation::Append { block: &append(first) }]);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while opened.store.stats().last < first {
            assert!(std::time::Instant::now() < deadline, "entry {first} is not durable");
            std::thread::yield_now();
        }
    }
    opened.store.close();
    let stats = opened.store.stats();
    assert_eq!((stats.group_commits, stats.wakes), (5, 1));
}

#[test]
fn a_panic_of_the_writer_poisons() {
    let dir = tempfile::tempdir().unwrap();
    let opened = with_fault(dir.path(), |point| {
        assert!(point != FaultPoint::Write, "injected panic");
        None
    });
    opened.submit(&[Operation::Append { block: &append(2) }]);
    assert_poisoned(&opened, "panicked");
}

#[test]
fn a_full_disk_is_reported_and_the_same_tickets_go_through_when_there_is_room() {
    const EFBIG: i32 = 27;
    for errno in [ENOSPC, EFBIG] {
        let dir = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicU32::new(2));
        let left = Arc::clone(&full);
        let opened = with_fault(dir.path(), move |point| {
            let is_full = point == FaultPoint::Reserve
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            is_full.then(|| IoError::from_raw_os_error(errno))
        });
        opened.submit(&[Operation::Append { block: &append(2) }]);
        opened.until("stalled is reported", |progress| progress.stalled);
        let last = opened.submit(&[Operation::Append { block: &append(3) }]);
        opened.until("it goes on", |progress| progress.durable >= last);
        assert!(!opened.store.poll().stalled);
        assert_eq!(opened.entries(1, 4, 1000).unwrap().len(), 3);
    }
}

#[test]
fn where_no_room_can_be_reserved_the_file_still_reaches_its_last_page_after_each_commit() {
    const EOPNOTSUPP: i32 = 95;
    const ENOSYS: i32 = 38;
    for errno in [EOPNOTSUPP, ENOSYS] {
        let dir = tempfile::tempdir().unwrap();
        let refuse = move |point| (point == FaultPoint::Reserve).then(|| IoError::from_raw_os_error(errno));
        let opened = open_with(dir.path(), &options(refuse)).unwrap();
        let blocks: Vec<_> = (1..=60).map(|first| block_of(first, 1, &[&[7; 5000]])).collect();
        // From the second ticket on, LMDB counts pages of what is appended and cut off again that it never writes.
        for round in 1..=3 {
            let appends = blocks.iter().map(|block| Operation::Append { block });
            let steps: Vec<_> = appends.chain([Operation::TruncateSuffix { from: 1 }]).collect();
            opened.put(&steps);
            let copy = crashed(dir.path());
            assert_eq!(open(copy.path()).state.last, 0, "round {round}");
        }
    }
}

#[test]
fn a_reservation_that_a_signal_interrupts_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let left = AtomicU32::new(3);
    let opened = with_fault(dir.path(), move |point| {
        let interrupted = point == FaultPoint::Reserve
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        interrupted.then(|| IoError::from(ErrorKind::Interrupted))
    });
    opened.put(&[Operation::Append { block: &append(2) }]);
}

#[test]
fn closing_on_a_full_disk_ends_and_leaves_what_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let opened =
        with_fault(dir.path(), |point| (point == FaultPoint::Reserve).then(|| IoError::from(ErrorKind::StorageFull)));
    opened.submit(&[Operation::Append { block: &append(2) }]);
    opened.until("stalled is reported", |progress| progress.stalled);
    opened.store.close();
    assert_eq!(opened.store.fault().unwrap().0, "ERR_RAFT_STORE_FULL");
    assert_eq!(open(dir.path()).state.last, 1);
}

#[test]
fn what_breaks_the_rules_of_the_log_poisons_before_it_is_written() {
    let vote = |term, voted_for| Operation::HardState { term, commit: 0, voted_for };
    let gap = append(3);
    let again = append(1);
    let old_term = common::sealed(2, 4, &[(1, 0, b"x")]);
    let mut damaged = append(2);
    damaged[60] ^= 1;
    let cases: Vec<(&str, Vec<Operation<'_>>)> = vec![
        ("next index is 2", vec![Operation::Append { block: &gap }]),
        ("next index is 2", vec![Operation::Append { block: &again }]),
        ("not intact", vec![Operation::Append { block: &damaged }]),
        ("behind an entry of term 5", vec![Operation::Append { block: &old_term }]),
        ("a truncation from 2", vec![Operation::TruncateSuffix { from: 2 }]),
        ("behind term 5", vec![vote(4, Some("a"))]),
        ("a second vote in term 5", vec![vote(5, Some("b"))]),
        ("a second vote in term 5", vec![vote(5, None)]),
    ];
    for (said, operations) in cases {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        let first = block_of(1, 5, &[b"x"]);
        opened.put(&[Operation::Append { block: &first }, vote(5, Some("a"))]);
        opened.submit(&operations);
        opened.until("the store is poisoned", |progress| progress.poisoned);
        let (_, message) = opened.store.fault().unwrap();
        assert!(message.contains(said), "{message}");
        opened.store.close();
        let again = open(dir.path());
        assert_eq!(again.state.last, 1);
        assert_eq!(again.state.hard_state.voted_for.as_deref(), Some("a"));
    }
}

#[test]
fn a_ticket_that_cannot_be_read_is_refused_at_once_and_poisons_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let mut unknown = 7_u32.to_le_bytes().to_vec();
    unknown.resize(16, 0);
    let long = vec![0; 4097];
    let key = "k".repeat(256);
    let bad = [
        vec![],
        vec![1, 2, 3],
        unknown,
        ticket(&[Operation::Put { key: "k", value: &long }]),
        ticket(&[Operation::Put { key: "", value: b"" }]),
        ticket(&[Operation::Delete { key: &key }]),
    ];
    for bytes in bad {
        assert_eq!(opened.store.submit(&bytes).unwrap_err().code(), "INVALID");
    }
    opened.put(&[Operation::Append { block: &append(1) }]);
    assert_eq!(opened.store.poll().durable, 1);
}

#[test]
fn d5_credit_bounds_entries_and_the_reserve_still_takes_a_vote() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(|point| (point == FaultPoint::Reserve).then(|| IoError::from_raw_os_error(ENOSPC)));
    options.queue_capacity_bytes = 20_000;
    options.credit_reserve_bytes = 4_000;
    let opened = open_with(dir.path(), &options).unwrap();
    assert_eq!(opened.store.poll().credit, 16_000);
    let payload = [0; 3000];
    let mut first = 1;
    while opened.store.poll().credit >= 3_100 {
        opened.submit(&[Operation::Append { block: &block_of(first, 1, &[&payload]) }]);
        first += 1;
    }
    let over = ticket(&[Operation::Append { block: &block_of(first, 1, &[&payload]) }]);
    assert_eq!(opened.store.submit(&over).unwrap_err().code(), "INVALID");
    let vote = ticket(&[Operation::HardState { term: 1, commit: 0, voted_for: Some("a") }]);
    let mut votes = 0;
    while opened.store.submit(&vote).is_ok() {
        votes += 1;
    }
    assert!((30..500).contains(&votes), "{votes} votes fitted into the reserve");
}

#[test]
fn d7_a_full_map_poisons_with_its_own_code_and_a_larger_one_holds_whole_tickets() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.map_bytes = 256 * 1024;
    let opened = open_with(dir.path(), &options).unwrap();
    let payload = [0; 60_000];
    let mut first = 1;
    let mut durable = 0;
    while !opened.store.poll().poisoned {
        let block = block_of(first, first, &[&payload]);
        let vote = Operation::HardState { term: first, commit: 0, voted_for: Some("a") };
        match opened.store.submit(&ticket(&[vote, Operation::Append { block: &block }])) {
            Ok(number) => {
                opened.until("durable or poisoned", |now| now.durable >= number || now.poisoned);
                durable = if opened.store.poll().durable >= number { first } else { durable };
            }
            Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{error:?}"),
        }
        first += 1;
    }
    assert_eq!(opened.store.fault().unwrap().0, "ERR_RAFT_STORE_FULL");
    opened.store.close();
    let again = open(dir.path());
    assert!(durable >= 1);
    assert_eq!((again.state.last, again.state.hard_state.term), (durable, durable));
}

/// Options for a store with a map that is full soon.
fn small_map(mebibytes: usize) -> Options {
    let mut options = Options::default();
    options.map_bytes = mebibytes << 20;
    options
}

/// What a new leader writes: its vote for itself, then its first entry.
fn lead(opened: &Opened, term: u64) {
    let first = opened.store.stats().last + 1;
    opened.put(&[Operation::HardState { term, commit: first - 1, voted_for: Some("a") }]);
    opened.put(&[Operation::Append { block: &common::sealed(first, term, &[(KIND_NOOP, 0, &[])]) }]);
}

#[test]
fn d7_a_store_says_that_it_is_full_below_its_map_and_then_takes_what_many_new_leaders_write() {
    // Payloads in a leaf, just too large for one, and of many pages.
    for length in [40, 2000, 60_000] {
        let dir = tempfile::tempdir().unwrap();
        let opened = open_with(dir.path(), &small_map(8)).unwrap();
        let payload = vec![1; length];
        while !opened.store.poll().full {
            let first = opened.store.stats().last + 1;
            let count = 65_536 / (length + 100) as u64;
            let blocks: Vec<_> = (first..=first + count).map(|first| block_of(first, 1, &[&payload])).collect();
            let steps: Vec<_> = blocks.iter().map(|block| Operation::Append { block }).collect();
            opened.put(&steps);
        }
        let stats = opened.store.stats();
        assert_eq!(stats.capacity_bytes, 8 << 20);
        assert!((stats.capacity_bytes * 7 / 8..stats.capacity_bytes).contains(&stats.used_bytes), "{stats:?}");
        for term in 2..40 {
            lead(&opened, term);
        }
        opened.store.close();
        let again = open_with(dir.path(), &small_map(8)).unwrap();
        assert!(again.state.was_clean && again.store.poll().full);
        again.store.close();
        let larger = open_with(dir.path(), &small_map(32)).unwrap();
        assert!(!larger.store.poll().full);
        let block = block_of(larger.state.last + 1, 40, &[&payload]);
        larger.put(&[Operation::Append { block: &block }]);
    }
}

#[test]
fn d7_who_goes_by_the_credit_never_meets_the_end_of_the_map_whatever_the_length_of_entries() {
    for length in [0, 40, 1360, 2000, 4100, 30_000] {
        let dir = tempfile::tempdir().unwrap();
        let opened = open_with(dir.path(), &small_map(4)).unwrap();
        let payload = vec![1; length];
        let (mut first, mut last) = (1, 0);
        loop {
            let block = block_of(first, 1, &[&payload]);
            if opened.store.poll().credit < block.len() as u64 {
                opened.until("all is durable", |progress| progress.durable >= last);
                if opened.store.poll().credit < block.len() as u64 {
                    break;
                }
            }
            last = opened.submit(&[Operation::Append { block: &block }]);
            first += 1;
        }
        assert!(opened.store.poll().full && opened.store.fault().is_none(), "{:?}", opened.store.fault());
        for term in 2..10 {
            lead(&opened, term);
        }
    }
}

/// What is called so, and how it is done.
type Loss = (&'static str, fn(&Path));

#[test]
fn a_directory_or_file_that_is_taken_away_from_under_an_open_store_is_noticed_idle_or_busy() {
    let losses: [Loss; 5] = [
        ("deleted", |dir| std::fs::remove_dir_all(dir).unwrap()),
        ("moved", |dir| std::fs::rename(dir, dir.with_extension("moved")).unwrap()),
        ("data deleted", |dir| std::fs::remove_file(dir.join("data.mdb")).unwrap()),
        ("data replaced", |dir| {
            std::fs::copy(dir.join("data.mdb"), dir.join("copy")).unwrap();
            std::fs::rename(dir.join("copy"), dir.join("data.mdb")).unwrap();
        }),
        ("lock deleted", |dir| std::fs::remove_file(dir.join("LOCK")).unwrap()),
    ];
    for (how, lose) in losses {
        for busy in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("store");
            let opened = open(&dir);
            opened.put(&[Operation::Append { block: &append(1) }]);
            lose(&dir);
            let mut first = 2;
            while busy && opened.store.submit(&ticket(&[Operation::Append { block: &append(first) }])).is_ok() {
                first += 1;
                opened.until("a ticket", |progress| progress.poisoned || progress.durable + 1 >= first);
            }
            opened.until("the loss is noticed", |progress| progress.poisoned);
            let (code, message) = opened.store.fault().unwrap();
            assert_eq!(code, "ERR_RAFT_STORE_POISONED", "{how}");
            assert!(message.contains(dir.to_str().unwrap()), "{how}: {message}");
            assert!(message.contains("deleted, moved or replaced"), "{how}: {message}");
            assert!(message.contains("Do not start this server in an empty directory"), "{how}: {message}");
        }
    }
}

#[test]
fn a_store_stays_open_while_nothing_is_asked_of_it_and_its_files_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    // Longer than between two looks.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    opened.put(&[Operation::Append { block: &append(1) }]);
    assert!(opened.store.fault().is_none());
}

#[test]
fn a_closed_store_refuses_everything_and_closes_again() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    opened.put(&[Operation::Append { block: &append(1) }]);
    opened.store.close();
    opened.store.close();
    let bytes = ticket(&[Operation::Append { block: &append(2) }]);
    assert_eq!(opened.store.submit(&bytes).unwrap_err().code(), "ERR_RAFT_CLOSED");
    assert_eq!(opened.entries(1, 2, 1000).unwrap_err().code(), "ERR_RAFT_CLOSED");
}
