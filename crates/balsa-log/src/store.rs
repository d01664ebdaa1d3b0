//! The store: open, submit, poll, read, close. It joins the parts, and decides in which order they are opened and
//! closed.
//!
//! What must hold: the lock of the directory is taken before anything in it is written, and released after the writer
//! has ended and the home is closed. Every method may be called from any thread at any time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::backlog::Backlog;
use crate::directory::{self, Contents, Engine, Engines, Seed};
use crate::error::Error;
use crate::fault::Faults;
use crate::filesystem::{self, Durability, Filesystem};
use crate::format::snapshot::Snapshot;
use crate::journal::{Journal, JournalSize, Segments};
use crate::journal_writer::JournalWriter;
use crate::lmdb::{self, Home, Reader, Stored};
use crate::lock::{DirectoryLock, LOCK_FILE};
use crate::log::{HardState, Log, TermRun};
use crate::opening::{self, Looked, Opened};
use crate::progress::{Progress, Stats, Wake};
use crate::queue::Queue;
use crate::read::{Filling, ReadOutcome};
use crate::repair::{Repaired, Repairs, Replacement};
use crate::room::Room;
use crate::shared::Shared;
use crate::watch::Watch;
use crate::writer::Writer;

/// What may be queued and not yet durable: some seconds of a fast network, and little memory.
pub const QUEUE_CAPACITY_BYTES: u64 = 64 << 20;
/// The part of it that is kept for tickets without entries, such as a vote, and for what surrounds the blocks: 64
/// batches of 64 KiB.
pub const CREDIT_RESERVE_BYTES: u64 = 4 << 20;
/// A read returns at most this, so that none holds a read transaction for long. One larger entry is still returned.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Settings of one store.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Bound of the queue. Invariant: above `credit_reserve_bytes`.
    pub queue_capacity_bytes: u64,
    /// See [`CREDIT_RESERVE_BYTES`].
    pub credit_reserve_bytes: u64,
    /// Bound of the data file: address space, not disk. A multiple of the size of a page. It may be another one at each
    /// open; a file that is larger counts as full.
    pub map_bytes: usize,
    /// Whether there is a journal in front of LMDB, and how large it is. A store of the other mode is converted.
    pub mode: Mode,
    /// Accept NFS, SMB, 9p and FUSE.
    pub allow_remote: bool,
    /// Of a store that is made in place of another one; one that is there already is then refused.
    pub seed: Option<Seed>,
    /// Makes the writer fail, in tests.
    pub faults: Faults,
}

/// What a group commit writes.
#[derive(Debug, Clone, Copy, Default)]
pub enum Mode {
    /// A transaction of LMDB: two flushes.
    #[default]
    Lmdb,
    /// A batch of a journal: one flush. LMDB follows.
    Journal(JournalSize),
}

impl Mode {
    /// What such a store opens.
    pub(crate) fn engines(self) -> Engines {
        match self {
            Self::Lmdb => &[&lmdb::ENGINE, &lmdb::JOURNAL_ENGINE],
            Self::Journal(_) => &[&lmdb::JOURNAL_ENGINE, &lmdb::ENGINE],
        }
    }

    /// What it is, or becomes.
    pub(crate) fn engine(self) -> &'static Engine {
        match self {
            Self::Lmdb => &lmdb::ENGINE,
            Self::Journal(_) => &lmdb::JOURNAL_ENGINE,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue_capacity_bytes: QUEUE_CAPACITY_BYTES,
            credit_reserve_bytes: CREDIT_RESERVE_BYTES,
            map_bytes: lmdb::MAP_BYTES,
            mode: Mode::default(),
            allow_remote: false,
            seed: None,
            faults: Faults::default(),
        }
    }
}

/// What the store held when it was opened. All of it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Index of the first entry kept; 1 for a new store.
    pub first: u64,
    /// The term of the entry before it; 0 where there is none.
    pub prev_term: u64,
    /// On what the log stands; `None` while it was never compacted.
    pub snapshot: Option<Snapshot<Vec<u8>>>,
    /// Index of the last entry; `first` - 1 when the log is empty.
    pub last: u64,
    /// Term, vote and a lower bound of the commit index.
    pub hard_state: HardState,
    /// Ascending; covers `first` to `last` exactly.
    pub terms: Vec<TermRun>,
    /// Index and payload of each configuration entry in the log, ascending.
    pub configurations: Vec<(u64, Vec<u8>)>,
    /// Small facts of the server, in the order of their names.
    pub facts: Vec<(String, Vec<u8>)>,
    /// Drawn at random when the store was created.
    pub incarnation: [u8; 16],
    /// Grows by one at each open.
    pub boot_counter: u64,
    /// Whether the last close was orderly. False for a new store.
    pub was_clean: bool,
    /// Whether a flush means anything where the directory lies.
    pub durability: Durability,
    /// What the operator should know about the filesystem.
    pub warning: Option<&'static str>,
    /// By what the filesystem tells the data file from a copy of it; `None` where it does not.
    pub fingerprint: Option<String>,
}

/// One open directory. Dropping it closes it.
pub struct Store {
    /// Held by the writer too.
    shared: Arc<Shared>,
    /// What the home does not hold yet; `None` without a journal.
    backlog: Option<Arc<Backlog>>,
    /// To the writer of the home.
    repairs: Repairs,
    /// `None` once closed: no read begins then.
    reader: RwLock<Option<Reader>>,
    /// `None` once closed. Held throughout a close.
    open: Mutex<Option<Open>>,
}

/// What close gives back, in this order.
struct Open {
    /// The first one ends when the queue does, and the next one then.
    threads: Vec<JoinHandle<()>>,
    lock: DirectoryLock,
}

impl Store {
    /// Opens or creates the store in `dir`. Ends with one durable transaction, boot counter + 1 and not clean; before
    /// it nothing is reported: state that a killed process left only in a cache must not be acted on.
    pub fn open(dir: &Path, options: &Options, wake: Wake) -> Result<(Self, State), Error> {
        if let Mode::Journal(size) = options.mode {
            size.check()?;
        }
        let filesystem = filesystem::inspect(dir, options.allow_remote)?;
        directory::make(dir)?;
        directory::inspect(dir, options.mode.engines())?;
        let lock = DirectoryLock::acquire(dir)?;
        let Opened { home, stored, journal } = opening::open(dir, options)?;
        let (log, state) = state_of(&home, stored, &filesystem);
        let stats = Stats { first: log.first, last: log.last, ..Stats::default() };
        let most = journal.as_ref().map_or(u64::MAX, Journal::commit_bytes_max);
        let queue = Queue::new(options.queue_capacity_bytes.min(most), options.credit_reserve_bytes.min(most / 2));
        let room = Room::new(home.capacity_bytes(), home.usage());
        let shared = Arc::new(Shared::new(queue, room, wake, stats));
        let reader = RwLock::new(Some(home.reader()));
        let watch = Watch::new(dir, &[LOCK_FILE, lmdb::DATA_FILE])
            .map_err(|cause| Error::io(format!("looking at the files in {}", dir.display()), cause))?;
        let (asked, repairs) = Repairs::new();
        let mut threads = Vec::new();
        let (backlog, spawned) = match journal {
            None => (None, Writer { feed: Arc::clone(&shared), home, watch, log, repairs }.spawn()),
            Some(journal) => {
                let (home_bytes, position, segments) = (home.capacity_bytes(), journal.position(), journal.count());
                let backlog = Arc::new(Backlog::new(Arc::clone(&shared), home_bytes, &log, position, segments));
                let writer = Writer { feed: Arc::clone(&backlog), home, watch, log: log.clone(), repairs };
                let journal_writer = JournalWriter::new(Arc::clone(&shared), Arc::clone(&backlog), journal, log)?;
                let spawned = journal_writer.spawn().and_then(|first| {
                    threads.push(first);
                    writer.spawn()
                });
                (Some(backlog), spawned)
            }
        };
        let refused = spawned.map(|last| threads.push(last)).err();
        let store = Self { shared, backlog, repairs: asked, reader, open: Mutex::new(Some(Open { threads, lock })) };
        // Dropped, it closes: the first writer ends before the lock is released, though there is no second one.
        refused.map_or(Ok((store, state)), |cause| Err(Error::io("starting a writer thread", cause)))
    }

    /// Opens what is there to be read, with the checks of an open: no boot is counted, and no ticket is taken. The lock is
    /// held until the close; nothing is written but the name of the holder in it. `None` where there is no store, or the
    /// rest of a creation.
    pub fn look(dir: &Path, options: &Options) -> Result<Option<(Self, State)>, Error> {
        if !dir.exists() {
            return Ok(None);
        }
        let filesystem = filesystem::inspect(dir, options.allow_remote)?;
        if let Contents::Nothing = directory::inspect(dir, options.mode.engines())? {
            return Ok(None);
        }
        let lock = DirectoryLock::acquire(dir)?;
        let Looked { home, mut stored, journal } = opening::look(dir, options)?;
        let stats = Stats { first: stored.log.first, last: stored.log.last, ..Stats::default() };
        let queue = Queue::new(options.queue_capacity_bytes, options.credit_reserve_bytes);
        let room = Room::new(home.capacity_bytes(), home.usage());
        let shared = Arc::new(Shared::new(queue, room, Box::new(|| {}), stats));
        shared.begin_close();
        let backlog = match journal {
            None => None,
            Some((position, segments, tickets)) => {
                let plan = opening::planned(&home, &stored.log, &tickets)?;
                let (arc, bytes) = (Arc::clone(&shared), home.capacity_bytes());
                let backlog = Backlog::new(arc, bytes, &stored.log, position, segments);
                backlog.push(&tickets, &plan, position);
                shared.coming(plan.bytes);
                opening::follow(&mut stored, &plan);
                Some(Arc::new(backlog))
            }
        };
        let (_, state) = state_of(&home, stored, &filesystem);
        let reader = RwLock::new(Some(home.reader()));
        let open = Mutex::new(Some(Open { threads: Vec::new(), lock }));
        // No writer takes them.
        let (repairs, _) = Repairs::new();
        Ok(Some((Self { shared, backlog, repairs, reader, open }, state)))
    }

    /// What the directory holds, as `look` has it; the directory is free again when this returns.
    pub fn inspect(dir: &Path, options: &Options) -> Result<Option<State>, Error> {
        Ok(Self::look(dir, options)?.map(|(_, state)| state))
    }

    /// Queues one packed ticket, copied before this returns, and gives its number. Never blocks on the disk.
    pub fn submit(&self, ticket: &[u8]) -> Result<u64, Error> {
        self.shared.submit(ticket)
    }

    /// What is new. Cheap: it takes no lock.
    pub fn poll(&self) -> Progress {
        self.shared.poll()
    }

    /// Code and message of what poisoned the store; `None` while it is sound.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        self.shared.fault()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Reads durable entries `lo .. hi` into `out` as sealed blocks, at most `bytes_max` but at least one entry. Blocks
    /// on page faults: not for an event loop.
    pub fn read_into(&self, lo: u64, hi: u64, bytes_max: usize, out: &mut [u8]) -> Result<ReadOutcome, Error> {
        let reader = self.reader.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)?;
        let bytes_max = bytes_max.min(READ_BYTES_MAX);
        let mut filling = Filling::new(lo, hi, bytes_max, out);
        match &self.backlog {
            Some(backlog) => {
                backlog.read_into(&mut filling, hi, bytes_max, |filling, end| reader.read_into(filling, end))
            }
            None => reader.read_into(&mut filling, hi),
        }
    }

    /// Puts sealed blocks, back to back, in the place of the damaged block of the entries `first` to `last`, as a read has
    /// told them, and waits until that is durable. Nothing else of the log changes. The blocks must be intact, cover these
    /// entries exactly, and be those of the log by their terms.
    pub fn repair(&self, first: u64, last: u64, blocks: &[u8]) -> Result<Repaired, Error> {
        let replacement = Replacement::of(first, last, blocks)?;
        let answer = self.repairs.ask(replacement, || match &self.backlog {
            Some(backlog) => backlog.nudge(),
            None => self.shared.nudge(),
        });
        answer.unwrap_or_else(|| {
            Err(match self.shared.fault() {
                Some((_, message)) => Error::Poisoned { detail: message },
                None => Error::Closed,
            })
        })
    }

    /// Waits until everything submitted is durable or the store is poisoned, then releases the directory. Idempotent.
    pub fn close(&self) {
        // Held to the end: a second closer returns only when the directory is free.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Open { threads, lock }) = open.take() else { return };
        self.shared.begin_close();
        for thread in threads {
            // A panic of the thread was caught in it, and has poisoned the store.
            let _caught = thread.join();
        }
        let reader = self.reader.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.close();
        }
        drop(lock);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// The log as the writer goes on with it, and what is told of it.
fn state_of(home: &Home, stored: Stored, filesystem: &Filesystem) -> (Log, State) {
    let Stored { log, facts, was_clean } = stored;
    let state = State {
        first: log.first,
        prev_term: log.prev_term,
        snapshot: log.snapshot.clone(),
        last: log.last,
        hard_state: log.hard_state.clone(),
        terms: log.terms.clone(),
        configurations: log.configurations.clone(),
        facts,
        incarnation: home.incarnation(),
        boot_counter: home.boot_counter(),
        was_clean,
        durability: filesystem.durability,
        warning: filesystem.warning,
        fingerprint: filesystem.fingerprint(home.file()),
    };
    (log, state)
}
