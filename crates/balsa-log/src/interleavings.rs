//! Many orders of the steps of caller and writer. Waits never time out here: a wake that is lost is a deadlock, which the
//! scheduler reports together with the order that led to it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod backlog;
mod reads;

use std::ops::Add;
use std::time::Duration;

use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use crate::error::Error;
use crate::format::operation::{Operation, encode};
use crate::log::Log;
use crate::progress::{Progress, Stats};
use crate::queue::{Next, Queue};
use crate::room::{Room, Usage};
use crate::shared::Shared;

const ORDERS: usize = 500;
const CAPACITY: u64 = 1 << 20;
const RESERVE: u64 = 1 << 12;
/// Never waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A clock that stands still: what a wait waits for must come, for time does not.
#[derive(Clone, Copy)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(Duration::ZERO)
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::ZERO
    }

    pub(crate) fn saturating_duration_since(self, other: Self) -> Duration {
        self.0.saturating_sub(other.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0 + length)
    }
}

/// The caller's event loop: rung by the wake, it polls once and sleeps again.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.changed.wait_while(self.rung.lock().unwrap(), |rung| !*rung).unwrap();
        *rung = false;
    }
}

struct Both {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
}

impl Both {
    fn new() -> Self {
        let bell = Arc::new(Bell::default());
        let rung = Arc::clone(&bell);
        let room = Room::new(1 << 30, Usage { used: 0, gone: 0 });
        let queue = Queue::new(CAPACITY, RESERVE);
        Self { shared: Arc::new(Shared::new(queue, room, Box::new(move || rung.ring()), Stats::default())), bell }
    }

    /// A writer that writes nothing, and says that it is durable. Ends when it is told to; answers with how many tickets
    /// it was given.
    fn writer(&self) -> thread::JoinHandle<u64> {
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            let mut taken = 0;
            loop {
                match shared.next(PATIENCE) {
                    Next::Batch(batch) => {
                        taken += length_of(&batch.tickets);
                        assert_eq!(batch.last, taken, "a gap in the numbers");
                        shared.publish(&batch, &Log::new(), Some(Usage { used: 0, gone: 0 }), 1);
                    }
                    Next::Nothing => {}
                    Next::End => return taken,
                }
            }
        })
    }

    /// Sleeps until the news is what the caller waits for.
    fn until(&self, is_enough: impl Fn(&Progress) -> bool) -> Progress {
        loop {
            let progress = self.shared.poll();
            if is_enough(&progress) {
                return progress;
            }
            self.bell.wait();
        }
    }
}

fn ticket() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, &Operation::Delete { key: "k" });
    bytes
}

fn length_of<Item>(items: &[Item]) -> u64 {
    u64::try_from(items.len()).unwrap()
}

fn every_order(test: impl Fn() + Clone + Send + Sync + 'static) {
    orders(ORDERS, test);
}

fn orders(count: usize, test: impl Fn() + Clone + Send + Sync + 'static) {
    shuttle::check_random(test.clone(), count);
    shuttle::check_pct(test, count, 3);
}

#[test]
fn all_news_reaches_the_caller_and_all_room_comes_back() {
    every_order(|| {
        let both = Both::new();
        let credit = both.shared.poll().credit;
        let writer = both.writer();
        let mut before = 0;
        for number in 1..=4 {
            assert_eq!(both.shared.submit(&ticket()).unwrap(), number);
            let Progress { durable, .. } = both.shared.poll();
            assert!(durable >= before && durable <= number, "durable {durable} after {before}");
            before = durable;
        }
        assert_eq!(both.until(|progress| progress.durable == 4).credit, credit);
        both.shared.begin_close();
        assert_eq!(writer.join().unwrap(), 4);
    });
}

#[test]
fn a_close_reaches_a_writer_that_waits_and_what_was_queued_is_still_written() {
    every_order(|| {
        let both = Both::new();
        let writer = both.writer();
        both.shared.submit(&ticket()).unwrap();
        both.shared.submit(&ticket()).unwrap();
        both.shared.begin_close();
        assert!(matches!(both.shared.submit(&ticket()), Err(Error::Closed)));
        assert_eq!(writer.join().unwrap(), 2);
        assert_eq!(both.shared.poll().durable, 2);
    });
}

#[test]
fn poison_ends_the_writer_refuses_what_comes_and_is_told() {
    every_order(|| {
        let both = Both::new();
        let writer = both.writer();
        let shared = Arc::clone(&both.shared);
        let poisoner = thread::spawn(move || shared.poison(&Error::invalid("gone")));
        let accepted: Vec<u64> = (0..3).filter_map(|_| both.shared.submit(&ticket()).ok()).collect();
        both.until(|progress| progress.poisoned);
        assert_eq!(both.shared.poll().credit, 0);
        assert!(matches!(both.shared.submit(&ticket()), Err(Error::Poisoned { .. })));
        let taken = writer.join().unwrap();
        assert!(taken <= length_of(&accepted) && both.shared.poll().durable == taken);
        poisoner.join().unwrap();
    });
}

#[test]
fn a_full_disk_is_told_and_a_close_ends_its_wait() {
    every_order(|| {
        let both = Both::new();
        let shared = Arc::clone(&both.shared);
        let writer = thread::spawn(move || while shared.stall(PATIENCE) {});
        both.until(|progress| progress.stalled);
        both.shared.begin_close();
        writer.join().unwrap();
    });
}
