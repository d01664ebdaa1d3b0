//! Helpers of the integration tests: blocks, tickets, and a store whose wakes can be waited for.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use balsa_log::format::block::{self, KIND_COMMAND};
use balsa_log::format::operation::{Compact, Operation, encode};
use balsa_log::format::snapshot::Snapshot;
use balsa_log::{Error, FaultPoint, Faults, Options, ReadOutcome, State, Store};

/// A wait this long has failed: a store that works needs milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

pub struct Opened {
    pub store: Store,
    pub state: State,
    wakes: Receiver<()>,
}

pub fn open_with(dir: &Path, options: &Options) -> Result<Opened, Error> {
    let (sender, wakes) = channel();
    let wake = Box::new(move || {
        let _gone = sender.send(());
    });
    let (store, state) = Store::open(dir, options, wake)?;
    Ok(Opened { store, state, wakes })
}

/// Options for a store on a filesystem that does not offer `fallocate`.
pub fn without_reservations() -> Options {
    let mut options = Options::default();
    options.faults = Faults::injected(|point| (point == FaultPoint::Reserve).then(|| ErrorKind::Unsupported.into()));
    options
}

pub fn open(dir: &Path) -> Opened {
    open_with(dir, &Options::default()).unwrap()
}

pub fn open_error(dir: &Path) -> Error {
    match open_with(dir, &Options::default()) {
        Ok(_) => panic!("the directory was opened"),
        Err(error) => error,
    }
}

/// What a crash right now would leave of the store in `dir`, which may be open.
pub fn crashed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name();
        if !["LOCK", "lock.mdb"].contains(&name.to_str().unwrap()) {
            std::fs::copy(dir.join(&name), copy.path().join(&name)).unwrap();
        }
    }
    copy
}

/// Holds the home of a store with a journal back: everything stays in the journal.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Of stores that this gate holds back while it is shut. It must be open while one opens or closes.
    pub fn faults(&self) -> Faults {
        let gate = self.clone();
        Faults::injected(move |point| {
            let (shut, changed) = &*gate.0;
            if point == FaultPoint::Reserve {
                drop(changed.wait_while(shut.lock().unwrap(), |shut| *shut).unwrap());
            }
            None
        })
    }

    pub fn set(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }
}

impl Opened {
    /// Waits until `reached` holds for what `poll` reports.
    pub fn until(&self, what: &str, mut reached: impl FnMut(balsa_log::Progress) -> bool) {
        while !reached(self.store.poll()) {
            assert!(self.wakes.recv_timeout(DEADLINE).is_ok(), "no wake within {DEADLINE:?}: {what}");
        }
    }

    pub fn submit(&self, operations: &[Operation<'_>]) -> u64 {
        self.store.submit(&ticket(operations)).unwrap()
    }

    pub fn put(&self, operations: &[Operation<'_>]) {
        let number = self.submit(operations);
        self.until("a ticket is durable", |progress| {
            assert!(!progress.poisoned, "{:?} {:?}", self.store.stats(), self.store.fault());
            progress.durable >= number
        });
    }

    /// Everything in `lo .. hi`, entry by entry, read in as many slices as it takes.
    pub fn entries(&self, lo: u64, hi: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        while lo + (entries.len() as u64) < hi {
            let blocks = self.read(lo + entries.len() as u64, hi, bytes_max)?;
            assert!(!blocks.is_empty(), "nothing was read at {}", lo + entries.len() as u64);
            entries.extend(blocks.iter().flat_map(|block| entries_of(block)));
        }
        Ok(entries)
    }

    pub fn read(&self, lo: u64, hi: u64, bytes_max: usize) -> Result<Vec<Vec<u8>>, Error> {
        // More room than may be used: the bound is `bytes_max`, not the buffer.
        let mut out = vec![0; bytes_max + 5000];
        let mut outcome = self.store.read_into(lo, hi, bytes_max, &mut out)?;
        if let ReadOutcome::TooSmall(bytes) = outcome {
            out.resize(bytes, 0);
            outcome = self.store.read_into(lo, hi, bytes_max, &mut out)?;
        }
        let ReadOutcome::Filled(filled) = outcome else { panic!("{outcome:?}") };
        let blocks = split_blocks(&out[..filled]);
        let one_entry = blocks.len() == 1 && u32_at(&blocks[0], 16) == 1;
        assert!(filled <= bytes_max || one_entry, "{filled} bytes were read, at most {bytes_max} were asked for");
        Ok(blocks)
    }
}

/// What a snapshot of `index` says of itself; where nothing else matters.
pub fn snapshot(index: u64, term: u64) -> Snapshot<&'static [u8]> {
    Snapshot {
        index,
        term,
        time: 1_760_000_000_000,
        configuration_index: 1,
        id: [index as u8; 16],
        configuration: b"c",
    }
}

/// A compaction behind a snapshot of `index` that keeps the entries from `first` on; each entry has this term.
pub fn keep(first: u64, index: u64, term: u64) -> Operation<'static> {
    let prev_term = if first == 1 { 0 } else { term };
    Operation::Compact(Compact { first, prev_term, snapshot: snapshot(index, term), keep_suffix: true })
}

/// A compaction that puts a snapshot in place of the log.
pub fn replace(index: u64, term: u64) -> Operation<'static> {
    let snapshot = snapshot(index, term);
    Operation::Compact(Compact { first: index + 1, prev_term: term, snapshot, keep_suffix: false })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    pub kind: u8,
    pub payload: Vec<u8>,
}

pub fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub fn split_blocks(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let length = 24 + u32_at(bytes, 20) + 4 * u32_at(bytes, 16) + 4;
        blocks.push(bytes[..length].to_vec());
        bytes = &bytes[length..];
    }
    blocks
}

/// Reads a block by the document, not by the crate's own code; checks that it is intact.
pub fn entries_of(block: &[u8]) -> Vec<Entry> {
    block::check(block, block::Depth::Records).unwrap();
    let table = 24 + u32_at(block, 20);
    (0..u32_at(block, 16))
        .map(|position| {
            let at = u32_at(block, table + 4 * position);
            Entry {
                index: u64_at(block, at + 8),
                term: u64_at(block, at + 16),
                kind: block[at + 24],
                payload: block[at + 32..at + 32 + u32_at(block, at)].to_vec(),
            }
        })
        .collect()
}

/// A sealed block of commands.
pub fn block_of(first: u64, term: u64, payloads: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<_> = payloads.iter().map(|payload| (KIND_COMMAND, 1_760_000_000_000, *payload)).collect();
    sealed(first, term, &entries)
}

pub fn sealed(first: u64, term: u64, entries: &[(u8, u64, &[u8])]) -> Vec<u8> {
    let mut block = block::lay_out(first, term, entries);
    let length = block::seal(&mut block, 0).unwrap();
    assert_eq!(length, block.len());
    block
}

pub fn ticket(operations: &[Operation<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for operation in operations {
        encode(&mut bytes, operation);
    }
    bytes
}
