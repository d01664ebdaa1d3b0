//! The two writers of a store with a journal, over the backlog between them: the real writer of the journal before
//! segments in memory, and a writer of the home that only counts.

#![allow(clippy::panic, reason = "a test")]

use std::io;
use std::path::Path;

use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::{Bell, PATIENCE, length_of, orders};
use crate::backlog::Backlog;
use crate::error::Error;
use crate::format::operation::{Operation, encode};
use crate::journal::{Position, Segments};
use crate::journal_writer::JournalWriter;
use crate::log::Log;
use crate::progress::{Progress, Stats};
use crate::queue::{Batch, Next, Queue, Ticket};
use crate::room::{Room, Usage};
use crate::shared::Shared;
use crate::watch::Watch;
use crate::writer::Feed;

/// Fewer than of the queue: each takes three threads many more steps.
const ORDERS: usize = 200;
/// A segment takes so many tickets.
const SEGMENT_TICKETS: usize = 2;
const SEGMENTS_AT_FIRST: u32 = 2;
/// So a group commit takes four tickets at most, and then segments that are made for it.
const SEGMENTS_MAX: u32 = 3;
const TICKET_BYTES: usize = 24;
/// What it takes of the queue.
const TICKET_COST: u64 = 24 + 64;
/// A home of which the backlog takes a 64th: more than the journal; or less than five tickets, a quarter of which is more
/// than one.
const LARGE_HOME: u64 = 1 << 20;
const SMALL_HOME: u64 = 117 * 64;
const NOTHING: Usage = Usage { used: 0, gone: 0 };

/// What is durable: written by one of the writers, and looked at by the other and by the test.
#[derive(Default)]
struct Device {
    /// The last batch in the journal.
    journal: AtomicU64,
    /// Of those, the last one that the home holds, and the segments that it knows of.
    home: AtomicU64,
    known: AtomicU64,
    /// The tickets in the home, in order.
    tickets: Mutex<Vec<Ticket>>,
}

/// A journal in memory, which another segment is made for as soon as one is wanted.
struct Memory {
    device: Arc<Device>,
    /// The batch whose write fails.
    fails_at: u64,
    sequence: u64,
    /// Tickets for which there is room in the current segment.
    room: usize,
    free: usize,
    /// The last batch in each of those that are full.
    full: Vec<u64>,
    unknown: Option<u32>,
    count: u32,
    watched: u32,
}

impl Memory {
    fn parts(&self, tickets: usize) -> usize {
        tickets.saturating_sub(self.room).div_ceil(SEGMENT_TICKETS)
    }
}

impl Segments for Memory {
    fn held(&mut self, sequence: u64, known: u32) {
        assert!(sequence <= self.device.home.load(Ordering::SeqCst), "the home does not hold that");
        assert!(u64::from(known) <= self.device.known.load(Ordering::SeqCst), "the home does not know of that");
        let before = self.full.len();
        self.full.retain(|last| *last > sequence);
        self.free += before - self.full.len();
        self.free += usize::from(self.unknown.take_if(|number| *number <= known).is_some());
    }

    fn has_room(&mut self, bytes: usize) -> Result<bool, Error> {
        let fits = self.parts(bytes / TICKET_BYTES) <= self.free;
        let wants = !fits || (self.free == 0 && self.room < SEGMENT_TICKETS);
        if wants && self.unknown.is_none() && self.count < SEGMENTS_MAX {
            self.count += 1;
            self.unknown = Some(self.count);
        }
        Ok(fits)
    }

    fn has_grown(&self) -> bool {
        self.count > self.watched
    }

    fn watch(&mut self) -> Result<Watch, Error> {
        self.watched = self.count;
        Ok(Watch::new(Path::new("."), &[]).unwrap())
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn is_low(&self) -> bool {
        self.free == 0
    }

    fn is_stuck(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    fn write(&mut self, tickets: &[Ticket]) -> Result<(Position, u64), Error> {
        if self.sequence + 1 == self.fails_at {
            return Err(Error::io("the journal", io::ErrorKind::Other.into()));
        }
        for _ in tickets {
            if self.room == 0 {
                assert!(self.free > 0, "there was room");
                self.full.push(self.sequence);
                self.free -= 1;
                self.room = SEGMENT_TICKETS;
            }
            self.room -= 1;
        }
        self.sequence += 1;
        self.device.journal.store(self.sequence, Ordering::SeqCst);
        Ok((Position { sequence: self.sequence, crc: 0 }, 1))
    }
}

/// How the writer of the home ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It marked an orderly close: the next open does not look at the journal.
    Clean,
    NotClean,
}

/// What it meets.
#[derive(Clone, Copy)]
enum Home {
    Sound,
    /// A transaction fails, when there were so many.
    Fails(usize),
    /// The disk is full from its first transaction on.
    Full,
}

struct Both {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    device: Arc<Device>,
    journal: thread::JoinHandle<()>,
    home: thread::JoinHandle<End>,
}

impl Both {
    /// `fails_at`: the batch whose write to the journal fails; 0: none.
    fn new(home_bytes: u64, fails_at: u64, meets: Home) -> Self {
        let bell = Arc::new(Bell::default());
        let rung = Arc::clone(&bell);
        let room = Room::new(1 << 30, NOTHING);
        let queue = Queue::new(4 * TICKET_COST, 0);
        let shared = Arc::new(Shared::new(queue, room, Box::new(move || rung.ring()), Stats::default()));
        let device = Arc::new(Device::default());
        device.known.store(u64::from(SEGMENTS_AT_FIRST), Ordering::SeqCst);
        let position = Position { sequence: 0, crc: 0 };
        let log = Log::new();
        let backlog = Arc::new(Backlog::new(Arc::clone(&shared), home_bytes, &log, position, SEGMENTS_AT_FIRST));
        let memory = Memory {
            device: Arc::clone(&device),
            fails_at,
            sequence: 0,
            room: SEGMENT_TICKETS,
            free: 1,
            full: Vec::new(),
            unknown: None,
            count: SEGMENTS_AT_FIRST,
            watched: 0,
        };
        let writer = JournalWriter::new(Arc::clone(&shared), Arc::clone(&backlog), memory, log).unwrap();
        let journal = thread::spawn(move || writer.run());
        let (counted, rung) = (Arc::clone(&device), Arc::clone(&bell));
        let home = thread::spawn(move || write_home(&backlog, &counted, &rung, meets));
        Self { shared, bell, device, journal, home }
    }

    /// Sleeps until the news is what the caller waits for. All that it is told must be so.
    fn until(&self, is_enough: impl Fn(&Progress) -> bool) -> Progress {
        loop {
            let progress = self.shared.poll();
            assert!(!progress.full, "there is room");
            assert!(self.shared.stats().behind_bytes <= 1 << 10, "{:?}", self.shared.stats());
            if is_enough(&progress) {
                return progress;
            }
            self.bell.wait();
        }
    }

    /// Submits tickets as the credit comes, from the number `first` on to `last`. Gives that of the last one; it is less
    /// where the store does not go on.
    fn submit(&self, first: u64, last: u64) -> u64 {
        for number in first..=last {
            let ends = |progress: &Progress| progress.poisoned || progress.stalled;
            let progress = self.until(|progress| ends(progress) || progress.credit >= TICKET_COST);
            if ends(&progress) || self.shared.submit(&ticket(number)).is_err() {
                return number - 1;
            }
        }
        last
    }

    /// What was acknowledged last, and how the home ended. What is beyond the home is not for it to forget.
    fn ended(self) -> (u64, End) {
        self.journal.join().unwrap();
        let end = self.home.join().unwrap();
        let (home, journal) = (self.device.home.load(Ordering::SeqCst), self.device.journal.load(Ordering::SeqCst));
        assert!(end == End::NotClean || home == journal, "a clean home holds {home} batches of {journal}");
        let tickets = self.device.tickets.lock().unwrap();
        for (number, found) in (1..).zip(tickets.iter()) {
            assert_eq!(**found, *ticket(number), "ticket {number}");
        }
        let durable = self.shared.poll().durable;
        assert!(length_of(&tickets) <= durable, "the home is ahead of what was told");
        if end == End::Clean {
            assert_eq!((length_of(&tickets), self.shared.stats().behind_bytes), (durable, 0));
        }
        (durable, end)
    }
}

fn ticket(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, &Operation::Delete { key: &number.to_string() });
    assert_eq!(bytes.len(), TICKET_BYTES);
    bytes
}

/// The writer of the home (`writer.rs`), with nothing behind it. Rings when something came.
fn write_home(backlog: &Backlog, device: &Device, bell: &Bell, meets: Home) -> End {
    for transactions in 0.. {
        match backlog.next(PATIENCE) {
            Next::Batch(batch) => {
                if matches!(meets, Home::Full) {
                    while backlog.stall() {}
                    backlog.poison(&full());
                    return End::NotClean;
                }
                if matches!(meets, Home::Fails(at) if transactions >= at) {
                    backlog.poison(&full());
                    return End::NotClean;
                }
                commit(device, &batch);
                backlog.publish(&batch, &Log::new(), NOTHING, 2);
                bell.ring();
            }
            Next::Nothing => {}
            Next::End if backlog.fault().is_some() => return End::NotClean,
            Next::End => return End::Clean,
        }
    }
    End::NotClean
}

fn commit(device: &Device, batch: &Batch) {
    let (position, segments) = batch.journal.unwrap();
    assert_eq!(position.sequence, batch.last);
    assert!(batch.last >= device.home.load(Ordering::SeqCst), "the home goes back");
    assert!(batch.last <= device.journal.load(Ordering::SeqCst), "the home is ahead of the journal");
    device.tickets.lock().unwrap().extend(batch.tickets.iter().cloned());
    device.known.store(u64::from(segments), Ordering::SeqCst);
    device.home.store(batch.last, Ordering::SeqCst);
}

/// An error with a code of its own, by which it is told from those that follow it.
fn full() -> Error {
    Error::Full { detail: "the home".to_owned() }
}

#[test]
fn whatever_the_order_all_comes_home_and_neither_writer_waits_for_the_other_for_ever() {
    for home_bytes in [LARGE_HOME, SMALL_HOME] {
        let test = move || {
            let both = Both::new(home_bytes, 0, Home::Sound);
            assert_eq!(both.submit(1, 9), 9);
            both.until(|progress| progress.durable == 9);
            both.shared.begin_close();
            assert!(both.shared.fault().is_none());
            assert_eq!(both.ended(), (9, End::Clean));
        };
        orders(ORDERS, test);
    }
}

#[test]
fn a_group_commit_that_needs_every_segment_or_more_room_than_there_is_gets_it() {
    for home_bytes in [LARGE_HOME, SMALL_HOME] {
        let test = move || {
            let both = Both::new(home_bytes, 0, Home::Sound);
            for (first, last) in [(1, 4), (5, 5), (6, 9)] {
                assert_eq!(both.submit(first, last), last);
                both.until(|progress| progress.durable == last);
            }
            both.shared.begin_close();
            assert_eq!(both.ended(), (9, End::Clean));
        };
        orders(ORDERS, test);
    }
}

#[test]
fn what_was_queued_at_a_close_is_written_and_comes_home() {
    orders(ORDERS, || {
        let both = Both::new(SMALL_HOME, 0, Home::Sound);
        let submitted = both.submit(1, 6);
        both.shared.begin_close();
        assert_eq!(both.ended(), (submitted, End::Clean));
    });
}

#[test]
fn what_is_much_comes_home_though_nobody_waits_for_it() {
    orders(ORDERS, || {
        let both = Both::new(SMALL_HOME, 0, Home::Sound);
        both.submit(1, 2);
        both.until(|progress| progress.durable == 2);
        while length_of(&both.device.tickets.lock().unwrap()) < 2 {
            both.bell.wait();
        }
        both.shared.begin_close();
        assert_eq!(both.ended(), (2, End::Clean));
    });
}

#[test]
fn a_journal_that_fails_ends_both_and_the_home_never_passes_for_all_there_is() {
    for fails_at in [1, 3] {
        let test = move || {
            let both = Both::new(LARGE_HOME, fails_at, Home::Sound);
            both.submit(1, 9);
            both.until(|progress| progress.poisoned);
            assert_eq!(both.shared.fault().unwrap().0, "ERR_RAFT_STORE_POISONED");
            assert_eq!(both.ended().1, End::NotClean);
        };
        orders(ORDERS, test);
    }
}

#[test]
fn a_home_that_fails_ends_both_and_it_is_its_error_that_stays() {
    for transactions in [0, 1] {
        let test = move || {
            let both = Both::new(SMALL_HOME, 0, Home::Fails(transactions));
            both.submit(1, 9);
            both.until(|progress| progress.poisoned);
            assert_eq!(both.shared.fault().unwrap(), ("ERR_RAFT_STORE_FULL", full().to_string()));
            assert_eq!(both.ended().1, End::NotClean);
        };
        orders(ORDERS, test);
    }
}

#[test]
fn a_home_without_room_is_told_when_the_journal_has_none_and_a_close_ends_the_wait() {
    orders(ORDERS, || {
        let both = Both::new(LARGE_HOME, 0, Home::Full);
        both.submit(1, 20);
        let durable = both.until(|progress| progress.stalled).durable;
        both.shared.begin_close();
        let (last, end) = both.ended();
        assert!(last >= durable && end == End::NotClean);
    });
}

#[test]
fn a_home_without_room_loses_nothing_at_a_close_and_poisons_nobody_while_the_journal_has_some() {
    orders(ORDERS, || {
        let both = Both::new(LARGE_HOME, 0, Home::Full);
        assert_eq!(both.submit(1, 2), 2);
        both.until(|progress| progress.durable == 2);
        both.shared.begin_close();
        let shared = Arc::clone(&both.shared);
        assert_eq!(both.ended(), (2, End::NotClean));
        assert!(shared.fault().is_none());
    });
}
