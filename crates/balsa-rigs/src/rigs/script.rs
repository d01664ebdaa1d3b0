//! What a child does, by a seed, and what the store must hold after each ticket of it. The child, the judge and the rigs
//! make the same script from the same seed, so nothing but numbers has to travel between them.

use std::collections::BTreeMap;
use std::rc::Rc;

use balsa_log::format::block::{self, KIND_COMMAND, KIND_CONFIGURATION};
use balsa_log::format::operation::{Compact, Operation, encode};
use balsa_log::format::snapshot::Snapshot;
use balsa_log::{HardState, JournalSize, Mode, Options, TermRun};

/// Short segments: they are turned over, and written over, all the time.
const SEGMENT_BYTES: u32 = 16 << 10;
const JOURNAL_BYTES: u64 = 80 << 10;
/// Room for every script, and small enough for what depends on it.
const MAP_BYTES: usize = 64 << 20;

/// Nothing more is added to a ticket of so many bytes: with what is in it, it fits into the queue of such a journal.
const TICKET_BYTES: usize = 6 << 10;

/// In what way a directory is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Lmdb,
    Journal,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Lmdb, Self::Journal];

    pub fn name(self) -> &'static str {
        match self {
            Self::Lmdb => "lmdb",
            Self::Journal => "journal",
        }
    }

    pub fn named(name: &str) -> Self {
        if name == "journal" { Self::Journal } else { Self::Lmdb }
    }

    pub fn other(self) -> Self {
        if self == Self::Lmdb { Self::Journal } else { Self::Lmdb }
    }

    pub fn options(self) -> Options {
        let mut options = Options::default();
        options.map_bytes = MAP_BYTES;
        if self == Self::Journal {
            options.mode = Mode::Journal(JournalSize { segment_bytes: SEGMENT_BYTES, bytes_max: JOURNAL_BYTES });
        }
        options
    }
}

/// How long a script is, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A bit of everything.
    Short,
    /// More of the same.
    Long,
    /// Large appends only, far beyond what a journal holds.
    Heavy,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
            Self::Heavy => "heavy",
        }
    }

    pub fn named(name: &str) -> Self {
        match name {
            "long" => Self::Long,
            "heavy" => Self::Heavy,
            _ => Self::Short,
        }
    }

    fn steps(self) -> u64 {
        match self {
            Self::Short => 26,
            Self::Long => 90,
            Self::Heavy => 150,
        }
    }
}

/// Numbers by a seed (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// One step of a script.
pub enum Step {
    /// Submit this, the next ticket.
    Ticket(Vec<u8>),
    /// Wait until all is durable.
    Wait,
    /// That, and until LMDB has taken in everything.
    Idle,
    /// That, and read all entries.
    Read,
    /// Close, and open again.
    Reopen(Way),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    pub kind: u8,
    pub payload: Vec<u8>,
}

/// What a store holds: the plain list that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub first: u64,
    pub prev_term: u64,
    pub snapshot: Option<Snapshot<Vec<u8>>>,
    pub entries: Vec<Rc<Entry>>,
    pub hard_state: HardState,
    pub facts: BTreeMap<String, Vec<u8>>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            first: 1,
            prev_term: 0,
            snapshot: None,
            entries: Vec::new(),
            hard_state: HardState::default(),
            facts: BTreeMap::new(),
        }
    }
}

/// The steps of a seed.
pub struct Script {
    pub way: Way,
    pub steps: Vec<Step>,
    /// What the store holds after so many tickets; the first one is empty.
    pub images: Vec<Image>,
}

impl Script {
    pub fn new(seed: u64, way: Way, shape: Shape) -> Self {
        let mut random = Random::new(seed);
        let mut script = Self { way, steps: Vec::new(), images: vec![Image::default()] };
        let mut way = way;
        for _ in 0..shape.steps() {
            let step = match random.below(40) {
                0 | 1 if shape != Shape::Heavy => {
                    way = if random.once_in(3) { way.other() } else { way };
                    Step::Reopen(way)
                }
                2 if random.once_in(2) => Step::Idle,
                3 if shape != Shape::Heavy => Step::Read,
                4..=12 => Step::Wait,
                _ => {
                    let image = script.images.last().cloned().unwrap_or_default();
                    let (bytes, image) = ticket(&mut random, image, shape);
                    script.images.push(image);
                    Step::Ticket(bytes)
                }
            };
            script.steps.push(step);
        }
        script
    }

    /// The steps behind so many tickets, and in what way the store is open there.
    pub fn behind(&self, tickets: u64) -> (Way, &[Step]) {
        let (mut way, mut left) = (self.way, tickets);
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                _ if left == 0 => return (way, &self.steps[at..]),
                Step::Ticket(_) => left -= 1,
                Step::Reopen(other) => way = *other,
                Step::Wait | Step::Idle | Step::Read => {}
            }
        }
        (way, &[])
    }

    pub fn tickets(&self) -> u64 {
        self.images.len() as u64 - 1
    }

    /// After how many tickets a store holds just this: the fewest of `from ..= to`.
    pub fn find(&self, held: &Image, from: u64, to: u64) -> Option<u64> {
        (from..=to.min(self.tickets())).find(|tickets| self.images[*tickets as usize] == *held)
    }
}

/// A ticket of one to three operations, and what the store holds after it.
fn ticket(random: &mut Random, image: Image, shape: Shape) -> (Vec<u8>, Image) {
    let mut image = image;
    let mut bytes = Vec::new();
    let operations = if shape == Shape::Heavy { 1 } else { 1 + random.below(3) };
    for _ in 0..operations {
        if bytes.len() > TICKET_BYTES {
            break;
        }
        match random.below(20) {
            _ if shape == Shape::Heavy => image.append(random, &mut bytes, shape),
            0..=10 => image.append(random, &mut bytes, shape),
            11 => image.configure(random, &mut bytes),
            12 | 13 => image.truncate(random, &mut bytes),
            14 => image.compact(random, &mut bytes),
            15 => image.replace(random, &mut bytes),
            16 | 17 => image.vote(random, &mut bytes),
            18 => image.put(random, &mut bytes),
            _ => image.delete(random, &mut bytes),
        }
    }
    if bytes.is_empty() {
        image.put(random, &mut bytes);
    }
    (bytes, image)
}

impl Image {
    pub fn last(&self) -> u64 {
        self.first - 1 + self.entries.len() as u64
    }

    fn last_term(&self) -> u64 {
        self.entries.last().map_or(self.prev_term.max(1), |entry| entry.term)
    }

    /// The term of an entry that is kept, or of the one before.
    fn term_at(&self, index: u64) -> u64 {
        index.checked_sub(self.first).map_or(self.prev_term, |at| self.entries[at as usize].term)
    }

    fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    pub fn term_runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|run| run.term != entry.term) {
                runs.push(TermRun { first: entry.index, term: entry.term });
            }
        }
        runs
    }

    pub fn configurations(&self) -> Vec<(u64, Vec<u8>)> {
        let found = self.entries.iter().filter(|entry| entry.kind == KIND_CONFIGURATION);
        found.map(|entry| (entry.index, entry.payload.clone())).collect()
    }

    /// One entry more, which no script has; behind a judgement.
    pub fn append_one(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.add(KIND_COMMAND, self.last_term() + 1, vec![b"behind the judgement".to_vec()], &mut bytes);
        bytes
    }

    fn add(&mut self, kind: u8, term: u64, payloads: Vec<Vec<u8>>, bytes: &mut Vec<u8>) {
        let first = self.last() + 1;
        let entries: Vec<_> = payloads.iter().map(|payload| (kind, 7, payload.as_slice())).collect();
        let mut block = block::lay_out(first, term, &entries);
        block::seal(&mut block, 0).unwrap();
        encode(bytes, &Operation::Append { block: &block });
        let added = (first..).zip(payloads).map(|(index, payload)| Rc::new(Entry { index, term, kind, payload }));
        self.entries.extend(added);
    }

    fn append(&mut self, random: &mut Random, bytes: &mut Vec<u8>, shape: Shape) {
        let term = self.last_term() + if random.once_in(4) { 1 + random.below(3) } else { 0 };
        let count = if shape == Shape::Heavy { 1 } else { 1 + random.below(4) };
        // Longer than a segment, or nearly so: the group commit goes on in the next one.
        let is_huge = shape == Shape::Heavy || random.once_in(12);
        let payloads = (0..if is_huge { 1 } else { count }).map(|_| {
            let length = match random.below(12) {
                _ if is_huge => 12_000 + random.below(9000),
                0 => 1000 + random.below(3000),
                _ => random.below(64),
            };
            let byte = random.next() as u8;
            (0..length).map(|at| byte.wrapping_add(at as u8)).collect()
        });
        let payloads = payloads.collect();
        self.add(KIND_COMMAND, term, payloads, bytes);
    }

    fn configure(&mut self, random: &mut Random, bytes: &mut Vec<u8>) {
        let payload = vec![random.next() as u8; 1 + random.below(300) as usize];
        self.add(KIND_CONFIGURATION, self.last_term(), vec![payload], bytes);
    }

    fn truncate(&mut self, random: &mut Random, bytes: &mut Vec<u8>) {
        if !self.entries.is_empty() {
            let cut = 1 + random.below(self.entries.len() as u64);
            self.entries.truncate(self.entries.len() - cut.min(6) as usize);
            encode(bytes, &Operation::TruncateSuffix { from: self.last() + 1 });
        }
    }

    fn compact(&mut self, random: &mut Random, bytes: &mut Vec<u8>) {
        // What is truncated behind a snapshot leaves nothing to keep.
        if self.last() == 0 || self.snapshot_index() > self.last() {
            return;
        }
        let first = self.first + random.below(self.entries.len() as u64 + 1);
        let least = self.snapshot_index().max(first - 1).max(1);
        let index = least + random.below(self.last() - least + 1);
        self.stand_on(first, index, self.term_at(index), true, bytes);
    }

    fn replace(&mut self, random: &mut Random, bytes: &mut Vec<u8>) {
        let least = self.snapshot_index().max(self.first - 1).max(1);
        let index = least.max(self.last() + random.below(3));
        self.stand_on(index + 1, index, self.last_term() + random.below(2), false, bytes);
    }

    fn stand_on(&mut self, first: u64, index: u64, term: u64, keep_suffix: bool, bytes: &mut Vec<u8>) {
        let prev_term = if keep_suffix { self.term_at(first - 1) } else { term };
        let configuration = vec![index as u8; 20];
        let (time, configuration_index, id) = (1_760_000_000_000, 1, [index as u8; 16]);
        let snapshot = Snapshot { index, term, time, configuration_index, id, configuration: configuration.as_slice() };
        encode(bytes, &Operation::Compact(Compact { first, prev_term, snapshot, keep_suffix }));
        self.snapshot = Some(Snapshot { index, term, time, configuration_index, id, configuration });
        self.entries.retain(|entry| keep_suffix && entry.index >= first);
        (self.first, self.prev_term) = (first, prev_term);
    }

    fn vote(&mut self, random: &mut Random, bytes: &mut Vec<u8>) {
        let step = random.below(3);
        let kept = if step == 0 { self.hard_state.voted_for.clone() } else { None };
        let voted_for = kept.or_else(|| (!random.once_in(4)).then(|| format!("server-{}", random.below(3))));
        let (term, commit) = (self.hard_state.term + step, self.last() / 2);
        encode(bytes, &Operation::HardState { term, commit, voted_for: voted_for.as_deref() });
        self.hard_state = HardState { term, commit, voted_for };
    }

    fn put(&mut self, random: &mut Random, bytes: &mut Vec<u8>) {
        let (key, value) = (format!("peer/{}", random.below(5)), vec![random.next() as u8; random.below(900) as usize]);
        encode(bytes, &Operation::Put { key: &key, value: &value });
        self.facts.insert(key, value);
    }

    fn delete(&mut self, random: &mut Random, bytes: &mut Vec<u8>) {
        let key = format!("peer/{}", random.below(5));
        encode(bytes, &Operation::Delete { key: &key });
        self.facts.remove(&key);
    }
}
