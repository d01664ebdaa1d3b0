//! The store against a plain list: random tickets, reads of random ranges, compactions, and reopenings.
//! A failure prints the seed; proptest replays it from the file it names.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use balsa_log::format::block::{KIND_COMMAND, KIND_CONFIGURATION};
use balsa_log::format::operation::{Compact, Operation};
use balsa_log::format::snapshot::Snapshot;
use balsa_log::{HardState, JournalSize, Mode, Options, TermRun};
use common::{Entry, Gate, Opened, crashed, open, open_with, sealed, snapshot, ticket, without_reservations};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Action {
    /// Entries of these lengths, in a term this much above the last one.
    Append {
        lengths: Vec<usize>,
        term_step: u64,
    },
    /// One configuration entry.
    Configure {
        length: usize,
    },
    /// Removes this share of the log.
    Truncate {
        from: prop::sample::Index,
    },
    /// Keeps from a share of the log on, behind a snapshot of a share of what is kept.
    Compact {
        first: prop::sample::Index,
        index: prop::sample::Index,
    },
    /// Keeps nothing: the snapshot covers this many entries more than there are, or lies within the log; its term is
    /// this much above the last one.
    Replace {
        back: prop::sample::Index,
        beyond: u64,
        term_step: u64,
    },
    /// In a term this much above the current one.
    Vote {
        term_step: u64,
        id: Option<u8>,
    },
    Put {
        key: u8,
        length: usize,
    },
    Delete {
        key: u8,
    },
}

#[derive(Debug, Clone)]
enum Step {
    Ticket(Vec<Action>),
    Read {
        lo: prop::sample::Index,
        hi: prop::sample::Index,
        bytes_max: usize,
    },
    /// In another way, perhaps: what was written in one must be read in the other.
    Reopen(Way),
    Crash(Way),
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Lmdb,
    /// On a filesystem that does not reserve room.
    LmdbUnreserved,
    /// With a journal.
    Journal,
    /// LMDB takes in nothing until the store closes: everything is read from memory, and recovered from the journal.
    JournalAlone,
}

impl Way {
    fn options(self, gate: &Gate) -> Options {
        let mut options = if self == Self::LmdbUnreserved { without_reservations() } else { Options::default() };
        let size = JournalSize { segment_bytes: 1 << 20, bytes_max: 8 << 20 };
        match self {
            Self::Lmdb | Self::LmdbUnreserved => {}
            Self::Journal => options.mode = Mode::Journal(size),
            Self::JournalAlone => {
                options.mode = Mode::Journal(size);
                options.faults = gate.faults();
            }
        }
        options
    }
}

/// A store, opened in a way.
struct Run {
    opened: Opened,
    way: Way,
    gate: Gate,
}

impl Run {
    fn open(dir: &Path, way: Way) -> Self {
        let gate = Gate::default();
        let opened = open_with(dir, &way.options(&gate)).unwrap();
        gate.set(way == Way::JournalAlone);
        Self { opened, way, gate }
    }

    /// What a crash right now would leave.
    fn crashed(&self, dir: &Path) -> tempfile::TempDir {
        if self.way == Way::Journal {
            // A file cannot be copied while it is written.
            while self.opened.store.stats().behind_bytes > 0 {
                std::thread::yield_now();
            }
        }
        crashed(dir)
    }

    /// The journal alone has not room for everything.
    fn make_room(&self) {
        if self.way == Way::JournalAlone && self.opened.store.stats().behind_bytes > 256 << 10 {
            self.gate.set(false);
            while self.opened.store.stats().behind_bytes > 0 {
                std::thread::yield_now();
            }
            self.gate.set(true);
        }
    }

    fn close(&self) {
        self.gate.set(false);
        self.opened.store.close();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.close();
    }
}

fn action() -> impl Strategy<Value = Action> {
    let index = any::<prop::sample::Index>;
    let length = prop_oneof![8 => 0_usize..64, 3 => 1000_usize..6000, 1 => 20_000_usize..70_000];
    prop_oneof![
        6 => (prop::collection::vec(length, 1..8), prop_oneof![3 => Just(0), 1 => 1_u64..4])
            .prop_map(|(lengths, term_step)| Action::Append { lengths, term_step }),
        1 => (1_usize..300).prop_map(|length| Action::Configure { length }),
        2 => index().prop_map(|from| Action::Truncate { from }),
        2 => (index(), index()).prop_map(|(first, index)| Action::Compact { first, index }),
        1 => (index(), prop_oneof![Just(0), 1_u64..30], 0_u64..3)
            .prop_map(|(back, beyond, term_step)| Action::Replace { back, beyond, term_step }),
        2 => (0_u64..3, prop::option::of(0_u8..3)).prop_map(|(term_step, id)| Action::Vote { term_step, id }),
        1 => (0_u8..5, 0_usize..4096).prop_map(|(key, length)| Action::Put { key, length }),
        1 => (0_u8..5).prop_map(|key| Action::Delete { key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => prop::collection::vec(action(), 1..5).prop_map(Step::Ticket),
        2 => (index(), index(), prop_oneof![1_usize..400, 400_usize..100_000, Just(1 << 20)])
            .prop_map(|(lo, hi, bytes_max)| Step::Read { lo, hi, bytes_max }),
        1 => way().prop_map(Step::Reopen),
        1 => way().prop_map(Step::Crash),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Lmdb), Just(Way::LmdbUnreserved), Just(Way::Journal), Just(Way::JournalAlone)]
}

#[derive(Default)]
struct Model {
    /// The entries before those that are kept.
    compacted: u64,
    /// The term of the last of them.
    prev_term: u64,
    snapshot: Option<Snapshot<Vec<u8>>>,
    entries: Vec<Entry>,
    hard_state: HardState,
    facts: BTreeMap<String, Vec<u8>>,
}

impl Model {
    fn last(&self) -> u64 {
        self.compacted + self.entries.len() as u64
    }

    fn last_term(&self) -> u64 {
        self.entries.last().map_or(self.prev_term.max(1), |entry| entry.term)
    }

    /// The term of an entry that is kept, or of the one before.
    fn term_at(&self, index: u64) -> u64 {
        index.checked_sub(self.compacted + 1).map_or(self.prev_term, |at| self.entries[at as usize].term)
    }

    fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    /// Takes note of a checked compaction, and gives its bytes.
    fn compact(&mut self, first: u64, index: u64, term: u64, keep_suffix: bool) -> Vec<u8> {
        let prev_term = if keep_suffix { self.term_at(first - 1) } else { term };
        let snapshot = snapshot(index, term);
        let bytes = ticket(&[Operation::Compact(Compact { first, prev_term, snapshot, keep_suffix })]);
        let Snapshot { index, term, time, configuration_index, id, configuration } = snapshot;
        let configuration = configuration.to_vec();
        self.snapshot = Some(Snapshot { index, term, time, configuration_index, id, configuration });
        self.entries.retain(|entry| keep_suffix && entry.index >= first);
        (self.compacted, self.prev_term) = (first - 1, prev_term);
        bytes
    }

    fn add(&mut self, kind: u8, term: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
        let first = self.last() + 1;
        let entries: Vec<_> = payloads.iter().map(|payload| (kind, 7, payload.as_slice())).collect();
        let block = sealed(first, term, &entries);
        self.entries.extend((first..).zip(payloads).map(|(index, payload)| Entry {
            index,
            term,
            kind,
            payload: payload.clone(),
        }));
        block
    }

    /// The packed bytes of one action, which the model takes at the same time; none if it is not possible now.
    fn take(&mut self, action: &Action) -> Vec<u8> {
        match action {
            Action::Append { lengths, term_step } => {
                let term = self.last_term() + term_step;
                let salt = self.last() as u8;
                let payloads: Vec<_> = lengths.iter().map(|length| vec![(*length as u8) ^ salt; *length]).collect();
                ticket(&[Operation::Append { block: &self.add(KIND_COMMAND, term, &payloads) }])
            }
            Action::Configure { length } => {
                let block = self.add(KIND_CONFIGURATION, self.last_term(), &[vec![0x5c; *length]]);
                ticket(&[Operation::Append { block: &block }])
            }
            Action::Truncate { .. } if self.entries.is_empty() => Vec::new(),
            Action::Truncate { from } => {
                let keep = from.index(self.entries.len());
                self.entries.truncate(keep);
                ticket(&[Operation::TruncateSuffix { from: self.last() + 1 }])
            }
            // What is truncated behind a snapshot leaves nothing to keep.
            Action::Compact { .. } if self.last() == 0 || self.snapshot_index() > self.last() => Vec::new(),
            Action::Compact { first, index } => {
                let first = self.compacted + 1 + first.index(self.entries.len() + 1) as u64;
                let least = self.snapshot_index().max(first - 1).max(1);
                let index = least + index.index((self.last() - least + 1) as usize) as u64;
                self.compact(first, index, self.term_at(index), true)
            }
            Action::Replace { back, beyond, term_step } => {
                let least = self.snapshot_index().max(self.compacted).max(1);
                let within = self.last().saturating_sub(back.index(self.entries.len() + 1) as u64);
                let index = least.max(if *beyond > 0 { self.last() + beyond } else { within });
                self.compact(index + 1, index, self.last_term() + term_step, false)
            }
            Action::Vote { term_step, id } => {
                let term = self.hard_state.term + term_step;
                let kept = if *term_step == 0 { self.hard_state.voted_for.clone() } else { None };
                let voted_for = kept.or_else(|| id.map(|id| format!("server-{id}")));
                let commit = self.last() / 2;
                self.hard_state = HardState { term, commit, voted_for: voted_for.clone() };
                ticket(&[Operation::HardState { term, commit, voted_for: voted_for.as_deref() }])
            }
            Action::Put { key, length } => {
                let (key, value) = (format!("peer/{key}"), vec![*length as u8; *length]);
                let bytes = ticket(&[Operation::Put { key: &key, value: &value }]);
                self.facts.insert(key, value);
                bytes
            }
            Action::Delete { key } => {
                let key = format!("peer/{key}");
                self.facts.remove(&key);
                ticket(&[Operation::Delete { key: &key }])
            }
        }
    }

    fn term_runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|run| run.term != entry.term) {
                runs.push(TermRun { first: entry.index, term: entry.term });
            }
        }
        runs
    }

    fn check(&self, opened: &Opened) {
        let state = &opened.state;
        let first = self.compacted + 1;
        assert_eq!((state.first, state.prev_term, state.last), (first, self.prev_term, self.last()));
        assert_eq!(state.snapshot, self.snapshot);
        assert_eq!(state.hard_state, self.hard_state);
        assert_eq!(state.terms, self.term_runs());
        let configurations: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.kind == KIND_CONFIGURATION)
            .map(|entry| (entry.index, entry.payload.clone()))
            .collect();
        assert_eq!(state.configurations, configurations);
        let facts: Vec<_> = self.facts.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(state.facts, facts);
        assert_eq!(opened.entries(first, self.last() + 1, 1 << 20).unwrap(), self.entries);
        for below in [1, self.compacted].into_iter().filter(|below| (1..first).contains(below)) {
            assert!(opened.read(below, self.last() + 1, 1 << 20).unwrap().is_empty(), "{below} is not kept");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_a_list_holds(steps in prop::collection::vec(step(), 1..40), way in way()) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::open(dir.path(), way);
        let mut model = Model::default();
        let mut submitted = 0;
        for step in steps {
            match step {
                Step::Ticket(actions) => {
                    let bytes: Vec<u8> = actions.iter().flat_map(|action| model.take(action)).collect();
                    if !bytes.is_empty() {
                        run.make_room();
                        submitted = run.opened.store.submit(&bytes).unwrap();
                    }
                }
                Step::Read { lo, hi, bytes_max } => {
                    run.opened.until("everything is durable", |progress| progress.durable >= submitted);
                    let end = model.entries.len();
                    let (a, b) = (lo.index(end + 1), hi.index(end + 1));
                    let (lo, hi) = (a.min(b), a.max(b));
                    let first = model.compacted + 1;
                    let read = run.opened.entries(first + lo as u64, first + hi as u64, bytes_max).unwrap();
                    prop_assert_eq!(&read, &model.entries[lo..hi]);
                }
                Step::Crash(way) => {
                    run.opened.until("everything is durable", |progress| progress.durable >= submitted);
                    let copy = run.crashed(dir.path());
                    let reopened = Run::open(copy.path(), way);
                    prop_assert!(!reopened.opened.state.was_clean);
                    model.check(&reopened.opened);
                }
                Step::Reopen(way) => {
                    run.close();
                    prop_assert!(run.opened.store.fault().is_none(), "{:?}", run.opened.store.fault());
                    run = Run::open(dir.path(), way);
                    submitted = 0;
                    prop_assert!(run.opened.state.was_clean);
                    model.check(&run.opened);
                }
            }
        }
        run.close();
        model.check(&open(dir.path()));
    }
}

#[test]
fn one_group_commit_takes_many_tickets_and_counts_two_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let mut model = Model::default();
    let mut last = 0;
    for _ in 0..500 {
        let action = Action::Append { lengths: vec![100], term_step: 0 };
        last = opened.store.submit(&model.take(&action)).unwrap();
    }
    opened.until("everything is durable", |progress| progress.durable >= last);
    let stats = opened.store.stats();
    assert!(stats.group_commits >= 1 && stats.group_commits < last, "{stats:?}");
    assert_eq!(stats.flushes, 2 * stats.group_commits);
    assert!(stats.wakes <= stats.group_commits, "{stats:?}");
    assert_eq!((stats.first, stats.last), (1, 500));
}
