//! Reads beside the two writers of a store with a journal: whatever came home meanwhile, what is read is a part of one
//! state of the log.

#![allow(clippy::indexing_slicing, reason = "a test")]

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::{PATIENCE, orders};
use crate::backlog::Backlog;
use crate::error::Error;
use crate::format::block::{self, KIND_COMMAND};
use crate::format::operation::{Compact, Operation, encode};
use crate::format::snapshot::Snapshot;
use crate::format::{read_size, read_u64};
use crate::journal::Position;
use crate::log::Log;
use crate::plan::{Step, plan};
use crate::progress::Stats;
use crate::queue::{Next, Queue, Ticket};
use crate::read::{Filling, ReadOutcome};
use crate::room::{Room, Usage};
use crate::shared::Shared;
use crate::writer::Feed;

const ORDERS: usize = 500;
/// So small that each batch is much: it comes home at once.
const HOME_BYTES: u64 = 1 << 12;
const NOTHING: Usage = Usage { used: 0, gone: 0 };
const BYTES_MAX: usize = 1 << 16;

/// A log: its first entry, and the term of each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    first: u64,
    terms: Vec<u64>,
}

impl Terms {
    fn last(&self) -> u64 {
        self.first + u64::try_from(self.terms.len()).unwrap() - 1
    }

    /// The terms of the entries from `lo` on, or of none.
    fn from(&self, lo: u64) -> &[u64] {
        let begin = lo.checked_sub(self.first).map_or(usize::MAX, |begin| usize::try_from(begin).unwrap());
        self.terms.get(begin..).unwrap_or_default()
    }

    fn follow(&mut self, step: &Step<'_>) {
        match step {
            Step::Append { info, .. } => self.terms.extend((info.first..=info.last).map(|_| info.term)),
            Step::TruncateSuffix { from } => self.terms.truncate(usize::try_from(from - self.first).unwrap()),
            Step::Compact(Compact { first, keep_suffix, .. }) => {
                let kept = if *keep_suffix { self.from(*first).to_vec() } else { Vec::new() };
                *self = Self { first: *first, terms: kept };
            }
            Step::HardState { .. } | Step::Put { .. } | Step::Delete { .. } => {}
        }
    }
}

fn block_of(first: u64, terms: u64, count: usize) -> Vec<u8> {
    let mut block = block::lay_out(first, terms, &vec![(KIND_COMMAND, 1, b"x".as_slice()); count]);
    block::seal(&mut block, 0).unwrap();
    block
}

fn ticket(operations: &[Operation<'_>]) -> Ticket {
    let mut bytes = Vec::new();
    operations.iter().for_each(|operation| encode(&mut bytes, operation));
    bytes.into()
}

fn compact(first: u64, prev_term: u64, keep_suffix: bool) -> Operation<'static> {
    let snapshot = Snapshot {
        index: first - 1,
        term: prev_term,
        time: 1,
        configuration_index: 1,
        id: [1; 16],
        configuration: b"c".as_slice(),
    };
    Operation::Compact(Compact { first, prev_term, snapshot, keep_suffix })
}

/// Appends, truncations whose entries come again in the same batch and in the next one, compactions of either kind.
fn tickets() -> Vec<Ticket> {
    let append = |first, term, count| block_of(first, term, count);
    vec![
        ticket(&[Operation::Append { block: &append(1, 1, 2) }]),
        ticket(&[Operation::Append { block: &append(3, 1, 3) }]),
        ticket(&[Operation::TruncateSuffix { from: 4 }, Operation::Append { block: &append(4, 2, 1) }]),
        ticket(&[Operation::TruncateSuffix { from: 2 }]),
        ticket(&[Operation::Append { block: &append(2, 3, 3) }]),
        ticket(&[compact(3, 3, true)]),
        ticket(&[compact(7, 4, false), Operation::Append { block: &append(7, 5, 2) }]),
    ]
}

struct Both {
    shared: Arc<Shared>,
    backlog: Backlog,
    /// What the writer of the journal has written, and in how many batches.
    written: Mutex<(Log, u64)>,
    /// What the home holds.
    taken: Mutex<Log>,
    /// The same, as its readers see it.
    home: Mutex<Terms>,
    /// Every state of the log so far.
    states: Mutex<Vec<Terms>>,
}

impl Both {
    fn new() -> Self {
        let queue = Queue::new(1 << 20, 0);
        let room = Room::new(1 << 30, NOTHING);
        let shared = Arc::new(Shared::new(queue, room, Box::new(|| {}), Stats::default()));
        let backlog = Backlog::new(Arc::clone(&shared), HOME_BYTES, &Log::new(), Position::BEGIN, 2);
        let empty = Terms { first: 1, terms: Vec::new() };
        let (written, taken) = (Mutex::new((Log::new(), 0)), Mutex::new(Log::new()));
        Self { shared, backlog, written, taken, home: Mutex::new(empty.clone()), states: Mutex::new(vec![empty]) }
    }

    /// As the writer of the journal.
    fn write(&self, tickets: &[Ticket]) {
        let mut written = self.written.lock().unwrap();
        let (log, sequence) = &mut *written;
        for ticket in tickets {
            let tickets = [Ticket::clone(ticket)];
            let plan = plan(log, &tickets).unwrap();
            let mut states = self.states.lock().unwrap();
            let mut state = states.last().unwrap().clone();
            plan.steps.iter().for_each(|step| state.follow(step));
            states.push(state);
            drop(states);
            *sequence += 1;
            self.shared.coming(plan.bytes);
            self.backlog.push(&tickets, &plan, Position { sequence: *sequence, crc: 0 });
            plan.steps.iter().for_each(|step| log.follow(step));
        }
    }

    /// As the writer of the home. False: nothing more comes.
    fn take_in(&self) -> bool {
        let Next::Batch(batch) = self.backlog.next(PATIENCE) else { return false };
        let mut log = self.taken.lock().unwrap();
        let plan = plan(&log, &batch.tickets).unwrap();
        let mut home = self.home.lock().unwrap();
        plan.steps.iter().for_each(|step| home.follow(step));
        drop(home);
        plan.steps.iter().for_each(|step| log.follow(step));
        self.backlog.publish(&batch, &log, NOTHING, 2);
        true
    }

    /// As a reader of the home (`lmdb/reader.rs`): one image of it, at once.
    fn read_home(&self, filling: &mut Filling<'_>, end: u64) -> Result<ReadOutcome, Error> {
        let home = self.home.lock().unwrap().clone();
        let (lo, end) = (filling.next(), end.min(home.last() + 1));
        if lo < home.first || lo >= end {
            return Ok(ReadOutcome::Filled(0));
        }
        filling.until(end);
        for (index, term) in (lo..end).zip(home.from(lo)) {
            let block = block_of(index, *term, 1);
            let info = block::check(&block, block::Depth::Block).unwrap();
            filling.take(&block, &info).unwrap();
        }
        Ok(filling.so_far())
    }

    /// The terms of the entries from `lo` on.
    fn read(&self, lo: u64) -> Vec<u64> {
        let mut out = vec![0; BYTES_MAX];
        let mut filling = Filling::new(lo, 20, BYTES_MAX, &mut out);
        let outcome = self.backlog.read_into(&mut filling, 20, BYTES_MAX, |filling, end| self.read_home(filling, end));
        let ReadOutcome::Filled(filled) = outcome.unwrap() else { return Vec::new() };
        let (mut blocks, mut terms) = (&out[..filled], Vec::new());
        while !blocks.is_empty() {
            assert_eq!(read_u64(blocks, 8), Some(lo + u64::try_from(terms.len()).unwrap()), "a gap");
            let count = read_size(blocks, 16).unwrap();
            terms.extend((0..count).map(|_| read_u64(blocks, 24 + 16).unwrap()));
            blocks = &blocks[24 + read_size(blocks, 20).unwrap() + 4 * count + 4..];
        }
        terms
    }
}

/// Both writers at work, and reads from these entries on.
fn read_beside(both: &Arc<Both>, tickets: Vec<Ticket>, from: &[u64]) {
    let (writing, taking) = (Arc::clone(both), Arc::clone(both));
    let write = move || {
        writing.write(&tickets);
        writing.backlog.finish();
    };
    let threads = [thread::spawn(write), thread::spawn(move || while taking.take_in() {})];
    for lo in from {
        // The newest of them may not be there yet.
        let begin = both.states.lock().unwrap().len().saturating_sub(2);
        let read = both.read(*lo);
        let states = both.states.lock().unwrap();
        let is_of =
            |state: &Terms| state.from(*lo).starts_with(&read) && (!read.is_empty() || state.from(*lo).is_empty());
        assert!(states[begin..].iter().any(is_of), "{read:?} from {lo} on: {:?}", &states[begin..]);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn what_is_read_is_a_part_of_one_state_of_the_log_and_at_the_end_all_of_it() {
    orders(ORDERS, || {
        let both = Arc::new(Both::new());
        read_beside(&both, tickets(), &[1, 2, 1, 3, 7, 1]);
        assert_eq!((both.read(7), both.read(6)), (vec![5, 5], Vec::new()));
    });
}

#[test]
fn entries_that_came_home_in_place_of_others_never_stand_before_those_that_were_behind_them() {
    orders(ORDERS, || {
        let both = Arc::new(Both::new());
        let append = |block: Vec<u8>| [ticket(&[Operation::Append { block: &block }])];
        both.write(&append(block_of(1, 1, 2)));
        assert!(both.take_in());
        both.write(&append(block_of(3, 1, 3)));
        let instead = [Operation::TruncateSuffix { from: 2 }, Operation::Append { block: &block_of(2, 2, 3) }];
        read_beside(&both, vec![ticket(&instead)], &[1]);
        assert_eq!(both.read(1), [1, 2, 2, 2]);
    });
}
