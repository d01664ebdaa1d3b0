//! Between the journal and the home: group commits that are durable, and that the home does not hold yet. The writer of
//! the journal puts them in, the writer of the home takes them out, many at a time; reads find here what the home lacks.
//!
//! What must hold:
//! - What is in here never exceeds its bound: beyond it the writer of the journal waits.
//! - The home takes what is in here when there is much of it, when the journal needs room, when nothing has come for a
//!   moment, and at a close. So an idle store is soon all in the home, and then writes nothing.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::journal::Position;
use crate::log::Log;
use crate::plan::Plan;
use crate::queue::{Batch, Next, Ticket};
use crate::read::{Filling, ReadOutcome};
use crate::room::Usage;
use crate::shared::Shared;
use crate::sync::{Condvar, Instant, Mutex, MutexGuard};
use crate::tail::{Found, Tail};
use crate::writer::{FULL_DISK_PAUSE, Feed};

/// What may wait for the home: memory, and what a crash leaves to be read again.
const CAPACITY_BYTES: u64 = 64 << 20;
/// The same as a part of the home: it must not meet its bound by surprise.
const CAPACITY_PART: u64 = 64;
/// From so much of it on the home takes what there is.
const PLENTY_PART: u64 = 4;
/// One transaction of the home takes so much, so that none takes long; and so many batches, which it then knows of.
const TRANSACTION_BYTES: u64 = 4 << 20;
/// When nothing has come for so long, the home takes what there is.
const IDLE: Duration = Duration::from_millis(50);
/// How often the writer of the journal looks whether a segment that is being made is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One group commit.
struct Waiting {
    tickets: Vec<Ticket>,
    position: Position,
    bytes: u64,
}

struct Inner {
    /// Those that the home has not taken.
    waiting: VecDeque<Waiting>,
    tail: Tail,
    /// Bytes of what is here, also of what the home has taken and does not hold yet.
    bytes: u64,
    /// From so many on the home takes them.
    plenty: u64,
    /// When the last one came.
    came_at: Instant,
    /// The last batch that the home holds.
    held: u64,
    /// Where the last batch ends that the home has taken.
    taken: Position,
    /// Segments that there are, those that the home was told of, and those that it knows of durably.
    segments: u32,
    told: u32,
    known: u32,
    /// The journal needs room, or the home has to know of a segment.
    is_wanted: bool,
    /// The home has something to do besides what is here.
    is_nudged: bool,
    /// The home has no room on its disk.
    is_stalled: bool,
    phase: Phase,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Phase {
    Open,
    /// Nothing more comes.
    Closing,
    Poisoned,
}

/// What the home holds of the journal.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) sequence: u64,
    pub(crate) segments: u32,
}

pub(crate) struct Backlog {
    shared: Arc<Shared>,
    /// Bound of what is here; one group commit may be larger.
    capacity: u64,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Backlog {
    /// Empty: the home holds everything up to `position`, and `log`.
    pub(crate) fn new(shared: Arc<Shared>, home_bytes: u64, log: &Log, position: Position, segments: u32) -> Self {
        let capacity = CAPACITY_BYTES.min(home_bytes / CAPACITY_PART);
        let inner = Inner {
            waiting: VecDeque::new(),
            tail: Tail::new(log),
            bytes: 0,
            plenty: capacity / PLENTY_PART,
            came_at: Instant::now(),
            held: position.sequence,
            taken: position,
            segments,
            told: segments,
            known: segments,
            is_wanted: false,
            is_nudged: false,
            is_stalled: false,
            phase: Phase::Open,
        };
        Self { shared, capacity, inner: Mutex::new(inner), changed: Condvar::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The writer of the journal

    /// What the home holds by now.
    pub(crate) fn held(&self) -> Held {
        let inner = self.inner();
        Held { sequence: inner.held, segments: inner.known }
    }

    /// Whether so much more may come.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let inner = self.inner();
        inner.bytes == 0 || inner.bytes.saturating_add(bytes) <= self.capacity
    }

    /// The journal needs room, or has one segment more: the home is to take what there is.
    pub(crate) fn want(&self, segments: u32) {
        let mut inner = self.inner();
        inner.is_wanted = true;
        inner.segments = segments;
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until the home holds more than `held`, or for a moment. False: it has no room, and the store is closing.
    pub(crate) fn wait(&self, held: Held) -> Result<bool, Error> {
        let same = |inner: &mut Inner| {
            let is_held = (inner.held, inner.known) == (held.sequence, held.segments);
            is_held && inner.phase != Phase::Poisoned && !inner.is_stalled
        };
        let waited = self.changed.wait_timeout_while(self.inner(), LOOK_EVERY, same);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if inner.phase == Phase::Poisoned {
            return Err(Error::Closed);
        }
        let is_stalled = inner.is_stalled;
        drop(inner);
        // A close is heard there, and not here.
        Ok(!is_stalled || self.shared.stall(LOOK_EVERY))
    }

    /// Adds a group commit that is durable in the journal. Reads find it from now on.
    pub(crate) fn push(&self, tickets: &[Ticket], plan: &Plan<'_>, position: Position) {
        let mut inner = self.inner();
        inner.tail.follow(plan, tickets, position.sequence);
        let was_empty = inner.waiting.is_empty();
        inner.waiting.push_back(Waiting { tickets: tickets.to_vec(), position, bytes: plan.bytes });
        inner.bytes += plan.bytes;
        inner.came_at = Instant::now();
        let is_news = was_empty || inner.is_due();
        drop(inner);
        if is_news {
            self.changed.notify_all();
        }
    }

    /// Nothing more comes: the home takes all that there is, and then it closes.
    pub(crate) fn finish(&self) {
        let mut inner = self.inner();
        if inner.phase == Phase::Open {
            inner.phase = Phase::Closing;
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// The writer of the home goes on at once, whether there is something here or not.
    pub(crate) fn nudge(&self) {
        self.inner().is_nudged = true;
        self.changed.notify_all();
    }

    // Reads

    /// Fills in entries up to `hi`, at most so many bytes. Those that the home holds are read there, with `home`, up to the
    /// index that it is given.
    pub(crate) fn read_into(
        &self,
        filling: &mut Filling<'_>,
        hi: u64,
        bytes_max: usize,
        home: impl FnOnce(&mut Filling<'_>, u64) -> Result<ReadOutcome, Error>,
    ) -> Result<ReadOutcome, Error> {
        let found = self.inner().tail.find(filling.next(), hi, bytes_max);
        match found {
            Found::Nothing => Ok(ReadOutcome::Filled(0)),
            Found::Tail(tail) => tail.read_into(filling, hi),
            Found::Home { end, then, cuts } => {
                let outcome = home(filling, end)?;
                let goes_on = filling.next() == end && end < hi && self.inner().tail.cuts() == cuts;
                if goes_on { then.read_into(filling, hi) } else { Ok(outcome) }
            }
        }
    }
}

impl Inner {
    /// Whether the home is to take at once what there is, whatever may still come.
    fn is_due(&self) -> bool {
        self.phase == Phase::Closing || self.is_wanted || self.bytes >= self.plenty
    }

    /// How long until the home is to take something; `None`: there is nothing. That there is another segment is
    /// something: the journal may need it before it can write anything that the home could take.
    fn due_in(&self) -> Option<Duration> {
        let has_news = !self.waiting.is_empty() || self.segments > self.told;
        has_news.then(|| if self.is_due() { Duration::ZERO } else { IDLE.saturating_sub(self.came_at.elapsed()) })
    }

    fn take(&mut self) -> Batch {
        let (mut tickets, mut bytes) = (Vec::new(), 0);
        while bytes < TRANSACTION_BYTES {
            let Some(next) = self.waiting.pop_front() else { break };
            bytes += next.bytes;
            tickets.extend(next.tickets);
            self.taken = next.position;
        }
        if self.waiting.is_empty() {
            self.is_wanted = false;
        }
        self.told = self.segments;
        Batch { tickets, last: self.taken.sequence, journal: Some((self.taken, self.told)) }
    }
}

impl Feed for Backlog {
    fn next(&self, patience: Duration) -> Next {
        let end = Instant::now() + patience;
        let mut inner = self.inner();
        loop {
            if inner.phase == Phase::Poisoned {
                return Next::End;
            }
            let due = inner.due_in();
            if due == Some(Duration::ZERO) {
                return Next::Batch(inner.take());
            }
            if inner.phase == Phase::Closing {
                return Next::End;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || std::mem::take(&mut inner.is_nudged) {
                return Next::Nothing;
            }
            let wait = due.map_or(left, |due| due.min(left));
            inner = self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The home holds this batch.
    fn publish(&self, batch: &Batch, _log: &Log, usage: Usage, flushes: u64) {
        let bytes = batch.bytes();
        let mut inner = self.inner();
        inner.tail.held(batch.last);
        inner.held = batch.last;
        inner.known = batch.journal.map_or(inner.known, |(_, segments)| segments);
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.is_stalled = false;
        drop(inner);
        self.changed.notify_all();
        self.shared.came_home(bytes, usage, flushes);
    }

    fn swept(&self, usage: Usage, flushes: u64) {
        self.shared.swept(usage, flushes);
    }

    fn poison(&self, error: &Error) {
        // A close that finds no room for the home: what waits is safe in the journal, and the next open takes it in.
        let is_safe = self.inner().phase == Phase::Closing && matches!(error, Error::Full { .. });
        // Before either writer can see the phase: the other one would take it for a close, and mark the home as one that
        // holds everything; or say something else of it first.
        if !is_safe {
            self.shared.poison(error);
        }
        self.inner().phase = Phase::Poisoned;
        self.changed.notify_all();
    }

    fn fault(&self) -> Option<(&'static str, String)> {
        self.shared.fault()
    }

    fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// The journal goes on as long as it has room. At a close nobody waits for a full disk: what is in the journal is
    /// safe there.
    fn stall(&self) -> bool {
        let mut inner = self.inner();
        inner.is_stalled = true;
        self.changed.notify_all();
        let (inner, _) = self
            .changed
            .wait_timeout_while(inner, FULL_DISK_PAUSE, |inner| inner.phase == Phase::Open)
            .unwrap_or_else(PoisonError::into_inner);
        inner.phase == Phase::Open
    }
}
