//! Compaction: `first` moves with its ticket, whatever lies below it; the blocks there go in slices, and their room is
//! used again.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::Error as IoError;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use balsa_log::format::operation::{Compact, Operation};
use balsa_log::{FaultPoint, Faults, Options, TermRun};
use common::{Opened, block_of, crashed, keep, open, open_with, replace, snapshot};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// What one transaction of its own removes, of small blocks and in bytes.
const SLICE_BLOCKS: u64 = 256;
const SLICE_BYTES: u64 = 4 << 20;

fn options(fault: impl Fn(FaultPoint) -> Option<IoError> + Send + Sync + 'static) -> Options {
    let mut options = Options::default();
    options.faults = Faults::injected(fault);
    options
}

fn small_map(mebibytes: usize) -> Options {
    let mut options = Options::default();
    options.map_bytes = mebibytes << 20;
    options
}

/// Counts transactions, as far as they write rows of the log or remove blocks.
fn counted(transactions: &Arc<AtomicU64>) -> Options {
    let transactions = Arc::clone(transactions);
    options(move |point| {
        transactions.fetch_add(u64::from(point == FaultPoint::Write), Ordering::SeqCst);
        None
    })
}

/// Appends blocks of one entry in term 1 up to `last`, as few tickets as the queue takes.
fn fill(opened: &Opened, last: u64, length: usize) {
    let first = opened.store.stats().last + 1;
    let payload = vec![7; length];
    let blocks: Vec<_> = (first..=last).map(|index| block_of(index, 1, &[&payload])).collect();
    for blocks in blocks.chunks(1 + (4 << 20) / (length + 100)) {
        let steps: Vec<_> = blocks.iter().map(|block| Operation::Append { block }).collect();
        opened.put(&steps);
    }
}

/// Waits until enough of what is left behind is gone.
fn until_swept(opened: &Opened, used_at_most: u64) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while opened.store.stats().used_bytes > used_at_most {
        assert!(std::time::Instant::now() < deadline, "{:?}", opened.store.stats());
        std::thread::yield_now();
    }
}

/// Waits for this transaction; behind it comes nothing but two tickets.
fn assert_writes_no_more_than(opened: &Opened, transactions: &AtomicU64, last: u64) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while transactions.load(Ordering::SeqCst) < last {
        assert!(std::time::Instant::now() < deadline, "{transactions:?} of {last}");
        std::thread::yield_now();
    }
    // An idle writer would go on before it takes the second.
    opened.put(&[Operation::Delete { key: "k" }]);
    opened.put(&[Operation::Delete { key: "k" }]);
    assert_eq!(transactions.load(Ordering::SeqCst), last + 2);
}

fn assert_log(opened: &Opened, first: u64, last: u64) {
    let entries = if first > last { Vec::new() } else { opened.entries(first, last + 1, 1 << 20).unwrap() };
    assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), (first..=last).collect::<Vec<_>>());
    for below in 1..first.min(20) {
        assert!(opened.read(below, last + 1, 1 << 20).unwrap().is_empty(), "{below} is not kept");
    }
    if first > 1 {
        assert!(opened.read(first - 1, last + 1, 1 << 20).unwrap().is_empty(), "{first} is the first");
    }
}

#[test]
fn entries_stay_from_the_middle_of_a_block_on_and_those_before_it_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    opened.put(&[
        Operation::Append { block: &block_of(1, 1, &[b"1", b"2", b"3"]) },
        Operation::Append { block: &block_of(4, 2, &[b"4", b"5", b"6"]) },
        Operation::Append { block: &block_of(7, 3, &[b"7", b"8"]) },
    ]);
    let compact = |first, prev_term, index, term| {
        Operation::Compact(Compact { first, prev_term, snapshot: snapshot(index, term), keep_suffix: true })
    };
    opened.put(&[compact(5, 2, 7, 3)]);
    assert_eq!((opened.store.stats().first, opened.store.stats().last), (5, 8));
    for _ in 0..2 {
        assert_log(&opened, 5, 8);
        opened.store.close();
        opened = open(dir.path());
        assert_eq!((opened.state.first, opened.state.prev_term, opened.state.last), (5, 2, 8));
        assert_eq!(opened.state.terms, [TermRun { first: 5, term: 2 }, TermRun { first: 7, term: 3 }]);
        assert_eq!(opened.state.snapshot.as_ref().map(|snapshot| snapshot.index), Some(7));
    }
    // To the end of the log, and on from there in the same term: a run of its own.
    opened.put(&[compact(9, 3, 8, 3), Operation::Append { block: &block_of(9, 3, &[b"9"]) }]);
    opened.store.close();
    opened = open(dir.path());
    assert_eq!((opened.state.first, opened.state.prev_term, opened.state.last), (9, 3, 9));
    assert_eq!(opened.state.terms, [TermRun { first: 9, term: 3 }]);
    assert_log(&opened, 9, 9);
    // A truncation down to the first entry that is kept.
    opened.put(&[Operation::TruncateSuffix { from: 9 }, Operation::Append { block: &block_of(9, 4, &[b"new"]) }]);
    assert_eq!(opened.entries(9, 10, 1000).unwrap()[0].term, 4);
}

#[test]
fn a_snapshot_in_place_of_the_log_leaves_nothing_of_it_whether_it_ends_before_or_behind() {
    // The snapshot lies within the log, at its end, behind it, and far behind it.
    for index in [3, 600, 900, 901, 5000] {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        fill(&opened, 900, 40);
        let next = block_of(index + 1, 8, &[b"a", b"b"]);
        opened.put(&[replace(index, 7)]);
        let stats = opened.store.stats();
        assert_eq!((stats.first, stats.last), (index + 1, index));
        assert!(opened.read(index + 1, index + 2, 1000).unwrap().is_empty());
        opened.put(&[Operation::Append { block: &next }]);
        opened.store.close();
        let again = open(dir.path());
        assert_eq!((again.state.first, again.state.prev_term, again.state.last), (index + 1, 7, index + 2));
        assert_eq!(again.state.terms, [TermRun { first: index + 1, term: 8 }]);
        let entries = again.entries(index + 1, index + 3, 1000).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.payload.clone()).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_log(&again, index + 1, index + 2);
    }
}

#[test]
fn what_is_left_behind_goes_in_slices_while_nothing_comes_and_then_nothing_is_written() {
    // Small blocks go by their number, large ones by their bytes.
    for (blocks, length, per_slice) in [(2000, 40, SLICE_BLOCKS), (300, 60_000, SLICE_BYTES / 60_080 + 1)] {
        let dir = tempfile::tempdir().unwrap();
        let transactions = Arc::new(AtomicU64::new(0));
        let opened = open_with(dir.path(), &counted(&transactions)).unwrap();
        fill(&opened, blocks, length);
        let before = transactions.load(Ordering::SeqCst);
        opened.put(&[keep(blocks, blocks, 1)]);
        assert_log(&opened, blocks, blocks);
        // The last block stays.
        let slices = (blocks - 1).div_ceil(per_slice);
        assert_writes_no_more_than(&opened, &transactions, before + slices);
        until_swept(&opened, 512 << 10);
        assert_log(&opened, blocks, blocks);
    }
}

#[test]
fn a_compaction_that_breaks_the_rules_of_the_log_poisons_before_it_is_written() {
    let compact = |first, prev_term, index, term, keep_suffix| {
        Operation::Compact(Compact { first, prev_term, snapshot: snapshot(index, term), keep_suffix })
    };
    // The log has entries 4 and 5 in term 1, 6 to 9 in term 2, behind a snapshot of 5.
    let cases = [
        ("it goes back", compact(3, 1, 7, 2, true)),
        ("leaves out entries", compact(9, 2, 7, 2, true)),
        ("it goes back", compact(4, 1, 4, 1, true)),
        ("there is no suffix", compact(7, 2, 10, 2, true)),
        ("the next entry is 13", compact(12, 2, 12, 2, false)),
        ("which are 1 and 2", compact(6, 2, 7, 2, true)),
        ("which are 1 and 2", compact(6, 1, 7, 1, true)),
        ("which are 3 and 3", compact(13, 2, 12, 3, false)),
    ];
    for (said, operation) in cases {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path());
        let (old, new) = (block_of(1, 1, &[b"x".as_slice(); 5]), block_of(6, 2, &[b"y".as_slice(); 4]));
        opened.put(&[Operation::Append { block: &old }, Operation::Append { block: &new }, compact(4, 1, 5, 1, true)]);
        opened.submit(&[operation]);
        opened.until("the store is poisoned", |progress| progress.poisoned);
        let (_, message) = opened.store.fault().unwrap();
        assert!(message.contains(said) && message.contains("4 to 9"), "{said}: {message}");
        opened.store.close();
        let again = open(dir.path());
        assert_eq!((again.state.first, again.state.prev_term, again.state.last), (4, 1, 9));
        assert_eq!(again.state.snapshot.map(|snapshot| snapshot.index), Some(5));
    }
}

/// Stops the writer before it writes anything in chosen transactions, counted from when it is armed.
struct Stops {
    armed: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    reached: Receiver<()>,
    go_on: Sender<()>,
}

impl Stops {
    fn at(stops: &'static [u64]) -> (Self, Options) {
        let (armed, transactions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (tell, reached) = channel();
        let (go_on, wait) = channel();
        let (is_armed, count) = (Arc::clone(&armed), Arc::clone(&transactions));
        let both = Mutex::new((tell, wait));
        let fault = move |point| {
            if point == FaultPoint::Write && is_armed.load(Ordering::SeqCst) {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                if stops.contains(&number) {
                    let (tell, wait) = &*both.lock().unwrap();
                    tell.send(()).unwrap();
                    wait.recv().unwrap();
                }
            }
            None
        };
        (Self { armed, transactions, reached, go_on }, options(fault))
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Waits for the next stop.
    fn wait(&self) {
        self.reached.recv().unwrap();
    }

    fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }
}

#[test]
fn a_ticket_does_not_wait_for_all_that_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (stops, options) = Stops::at(&[2, 4]);
    let opened = open_with(dir.path(), &options).unwrap();
    fill(&opened, 3000, 40);
    stops.arm();
    opened.put(&[keep(3000, 3000, 1)]);
    // In the first transaction behind that of the compaction.
    stops.wait();
    let number = opened.submit(&[Operation::Append { block: &block_of(3001, 1, &[b"x"]) }]);
    stops.go_on();
    opened.until("it is durable", |progress| progress.durable >= number);
    stops.wait();
    stops.go_on();
    assert_log(&opened, 3000, 3001);
}

#[test]
fn a_group_commit_removes_twice_as_many_blocks_as_it_adds() {
    let dir = tempfile::tempdir().unwrap();
    let (stops, options) = Stops::at(&[1, 3]);
    let opened = open_with(dir.path(), &options).unwrap();
    fill(&opened, 10_000, 40);
    stops.arm();
    opened.submit(&[keep(10_000, 10_000, 1)]);
    stops.wait();
    let blocks: Vec<_> = (10_001..=12_000).map(|index| block_of(index, 1, &[b"x"])).collect();
    let steps: Vec<_> = blocks.iter().map(|block| Operation::Append { block }).collect();
    let number = opened.submit(&steps);
    stops.go_on();
    stops.wait();
    assert_eq!(opened.store.poll().durable, number, "the second transaction was that of the ticket");
    stops.go_on();
    let left = 9999 - SLICE_BLOCKS - 2 * 2000;
    assert_writes_no_more_than(&opened, &stops.transactions, 2 + left.div_ceil(SLICE_BLOCKS));
    assert_log(&opened, 10_000, 12_000);
}

/// Fails the transaction number `fatal` of those that come when it is armed, at `point`.
fn failing_at(fatal: u64, failing: FaultPoint, armed: &Arc<AtomicBool>) -> Options {
    let (armed, seen) = (Arc::clone(armed), AtomicU64::new(0));
    options(move |point| {
        let fails = point == failing && armed.load(Ordering::SeqCst) && seen.fetch_add(1, Ordering::SeqCst) == fatal;
        fails.then(|| IoError::from_raw_os_error(EIO))
    })
}

#[test]
fn d1_a_failure_in_any_transaction_of_a_compaction_leaves_the_log_before_it_or_behind_it() {
    for (name, compaction, first) in [("keep", keep(1500, 1600, 1), 1500), ("replace", replace(1800, 3), 1801)] {
        for failing in [FaultPoint::Write, FaultPoint::Commit] {
            for fatal in 0..5 {
                let what = format!("{name}, {failing:?} {fatal}");
                let dir = tempfile::tempdir().unwrap();
                let armed = Arc::new(AtomicBool::new(false));
                let opened = open_with(dir.path(), &failing_at(fatal, failing, &armed)).unwrap();
                fill(&opened, 2000, 40);
                let filled = opened.store.poll().durable;
                armed.store(true, Ordering::SeqCst);
                let number = opened.submit(&[compaction]);
                assert!(number > filled);
                opened.until("the store is poisoned", |progress| progress.poisoned);
                let copy = crashed(dir.path());
                opened.store.close();
                let was_done = opened.store.poll().durable == number;
                for dir in [copy.path(), dir.path()] {
                    let again = open(dir);
                    let (first, last) = match (was_done, name) {
                        (false, _) => (1, 2000),
                        (true, "keep") => (first, 2000),
                        (true, _) => (first, first - 1),
                    };
                    assert_eq!((again.state.first, again.state.last), (first, last), "{what}");
                    assert_eq!(again.state.snapshot.is_some(), was_done, "{what}");
                    assert_log(&again, first, last);
                    again.put(&[Operation::Append { block: &block_of(last + 1, 3, &[b"next"]) }]);
                    assert_log(&again, first, last + 1);
                    if was_done {
                        until_swept(&again, 256 << 10);
                        assert_log(&again, first, last + 1);
                    }
                }
            }
        }
    }
}

#[test]
fn a_full_disk_puts_off_what_is_left_behind_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let filled = open(dir.path());
    fill(&filled, 3000, 40);
    filled.put(&[keep(3000, 3000, 1)]);
    filled.store.close();
    let (full, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (is_full, count) = (Arc::clone(&full), Arc::clone(&asked));
    let fault = move |point| {
        let fails = point == FaultPoint::Reserve && is_full.load(Ordering::SeqCst);
        count.fetch_add(u64::from(fails), Ordering::SeqCst);
        fails.then(|| IoError::from_raw_os_error(ENOSPC))
    };
    let opened = open_with(dir.path(), &options(fault)).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while asked.load(Ordering::SeqCst) < 2 {
        assert!(std::time::Instant::now() < deadline, "it is tried again");
        std::thread::yield_now();
    }
    let progress = opened.store.poll();
    assert!(!progress.stalled && !progress.poisoned, "nobody waits for it");
    full.store(false, Ordering::SeqCst);
    until_swept(&opened, 256 << 10);
    assert_log(&opened, 3000, 3000);
}

/// The length of the data file.
fn file_bytes(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("data.mdb")).unwrap().len()
}

/// One cycle of a log that is compacted: `count` blocks more, then half of it goes.
fn cycle(opened: &Opened, count: u64, length: usize, replaces: bool) {
    let last = opened.store.stats().last + count;
    fill(opened, last, length);
    let first = (opened.store.stats().first + last) / 2;
    opened.put(&[if replaces { replace(last, 1) } else { keep(first, last, 1) }]);
}

#[test]
fn under_endless_appends_and_compactions_the_file_reaches_a_size_and_stays_there() {
    // In leaves, just too large for one, of a page, of many.
    let cases = [
        (1000, 40, false),
        (1000, 40, true),
        (300, 2000, false),
        (300, 4100, true),
        (60, 60_000, false),
        (60, 60_000, true),
    ];
    for (count, length, replaces) in cases {
        let dir = tempfile::tempdir().unwrap();
        let opened = open_with(dir.path(), &small_map(64)).unwrap();
        let mut sizes = Vec::new();
        // The file grows in steps. When it takes the last of them depends on which tickets share a transaction, so on how
        // busy the machine is; one that goes on growing does not rest for so long.
        while sizes.len() < 24 || sizes[sizes.len() - 12..].iter().any(|size| *size != sizes[sizes.len() - 1]) {
            assert!(sizes.len() < 60, "{length}, {replaces}: {sizes:?}");
            cycle(&opened, count, length, replaces);
            sizes.push(file_bytes(dir.path()));
        }
        // What is kept, what a cycle adds, and as much for what is not free yet; and what is reserved before a ticket.
        let bound = count * (6 * (length as u64 + 200) + 3 * 4096) + (8 << 20);
        let size = sizes[sizes.len() - 1];
        assert!(size <= bound, "{length}, {replaces}: {size} of {bound}");
        opened.store.close();
        let again = open_with(dir.path(), &small_map(64)).unwrap();
        assert_log(&again, again.state.first, again.state.last);
    }
}

#[test]
fn d7_a_compaction_ends_what_a_full_store_reports_and_the_room_is_used_again() {
    for length in [40, 2000, 60_000] {
        for keeps in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let opened = open_with(dir.path(), &small_map(8)).unwrap();
            for round in 0..3 {
                while !opened.store.poll().full {
                    let last = opened.store.stats().last;
                    fill(&opened, last + (65_536 / (length as u64 + 120)).max(1), length);
                }
                let last = opened.store.stats().last;
                let first = if keeps { last } else { last + 1 };
                opened.put(&[if keeps { keep(first, last, 1) } else { replace(last, 1) }]);
                opened.until(&format!("{length}, {round}: there is room"), |progress| {
                    assert!(!progress.poisoned, "{:?}", opened.store.fault());
                    !progress.full
                });
                assert_log(&opened, first, last);
            }
            opened.store.close();
            let again = open_with(dir.path(), &small_map(8)).unwrap();
            assert_log(&again, again.state.first, again.state.last);
        }
    }
}

#[test]
fn d7_who_goes_by_the_credit_never_meets_the_end_of_the_map_through_endless_compactions_and_reads() {
    for seed in [2, 4, 6] {
        let dir = tempfile::tempdir().unwrap();
        let opened = open_with(dir.path(), &small_map(4)).unwrap();
        let (store, is_over) = (&opened.store, &AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut out = vec![0; 1 << 20];
                while !is_over.load(Ordering::SeqCst) {
                    let first = store.stats().first;
                    store.read_into(first, first + 100, 1 << 20, &mut out).unwrap();
                    // A server reads for a peer, and not without an end.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| press(&opened, seed)));
            is_over.store(true, Ordering::SeqCst);
            ended.unwrap();
        });
    }
}

/// Appends blocks of any length as the credit allows, and compacts whenever there is none.
fn press(opened: &Opened, seed: u64) {
    let mut state = seed;
    let mut draw = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let (mut next, mut number) = (1, 0);
    let mut compactions = 0;
    while compactions < 25 {
        let length = [40, 1360, 2000, 4100, 30_000, 120_000][draw(6) as usize];
        let block = block_of(next, 1, &[&vec![1; length]]);
        if opened.store.poll().credit >= block.len() as u64 {
            number = opened.submit(&[Operation::Append { block: &block }]);
            next += 1;
            continue;
        }
        let fits = |progress: &balsa_log::Progress| {
            assert!(!progress.poisoned, "seed {seed}: {:?}", opened.store.fault());
            progress.credit >= block.len() as u64
        };
        opened.until("all is durable", |progress| fits(&progress) || progress.durable >= number);
        if fits(&opened.store.poll()) {
            continue;
        }
        let first = opened.store.stats().first;
        let kept = first + (next - first) / (1 + draw(4));
        opened.put(&[if draw(5) == 0 { replace(next - 1, 1) } else { keep(kept, next - 1, 1) }]);
        compactions += 1;
    }
}
