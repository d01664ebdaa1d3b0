//! Rig: bytes of a stored directory are changed, zeroed, misplaced or cut off, in every structure of every file. The open
//! refuses and names the file, or finds everything; whatever it does, no signal ends it. A survey before that open lists
//! whatever it refuses, and changes nothing.

use std::ops::Range;
use std::path::Path;

use super::bench::{Bench, fresh, write_sparse};
use super::kill::note;
use super::process::{Blow, Start, Subject, Told, Verdict};
use super::script::{Random, Shape, Way};
use super::table::Expected;

const PAGE: usize = 4096;
/// What LMDB writes of a meta page, and where on it the number of the transaction is.
const META_BYTES: usize = 152;
const TRANSACTION: Range<usize> = 144..152;

/// A directory as a close or a kill has left it.
struct Source {
    subject: Subject,
    how: String,
    told: Told,
    files: Vec<(String, Vec<u8>)>,
    /// The last batch of the journal, where the store was not closed: file and bytes.
    last_batch: Option<(String, Range<usize>)>,
}

/// One change of one file.
struct Change {
    source: usize,
    file: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Flip {
        at: usize,
        bit: u8,
    },
    Zero {
        from: usize,
        bytes: usize,
    },
    /// What stands elsewhere in the same file.
    Copy {
        from: usize,
        to: usize,
    },
    Cut {
        to: usize,
    },
    Longer,
    Remove,
}

pub fn damage(bench: &Bench) {
    let place = bench.memory.dir.join("damage");
    std::fs::create_dir_all(&place).unwrap();
    let seeds = if bench.is_short { 1 } else { 2 };
    let sources: Vec<_> = Way::BOTH
        .into_iter()
        .flat_map(|way| (bench.seed..bench.seed + seeds).map(move |seed| (way, seed)))
        .flat_map(|(way, seed)| {
            sources_of(&Subject { dir: place.join("store"), seed, way, shape: Shape::Short, lag: 30_000 })
        })
        .collect();
    let mut changes: Vec<_> = (0..sources.len()).flat_map(|source| changes_of(source, &sources[source])).collect();
    if bench.is_short {
        let mut random = Random::new(bench.seed);
        changes.retain(|_| random.once_in(12));
    }
    bench.all(&place, &changes, |dir, change| try_change(bench, dir, change, &sources[change.source]));
}

/// Closed, and killed at some of its calls.
fn sources_of(subject: &Subject) -> Vec<Source> {
    fresh(&subject.dir);
    let (calls, told) = subject.trace(&Start::default());
    let mut sources = vec![Source::new(subject, "closed", told)];
    // Behind a write to the journal, when LMDB lacks much of it; or in the middle of a transaction of LMDB.
    let file = if subject.way == Way::Journal { "journal-" } else { "data.mdb" };
    let writes: Vec<_> = (1..).zip(&calls).filter(|(_, call)| call.contains("pwrite") && call.contains(file)).collect();
    let kills = if subject.way == Way::Journal { 5 } else { 2 };
    for part in 1..=kills {
        let Some((at, _)) = writes.get(writes.len() * part / (kills + 1)) else { continue };
        fresh(&subject.dir);
        let blow = Blow::new(*at, "kill-after");
        let told = subject.run(&Start { blow: Some(blow), ..Start::default() });
        sources.push(Source::new(subject, &format!("killed at call {at}"), told));
    }
    sources
}

impl Source {
    fn new(subject: &Subject, how: &str, told: Told) -> Self {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&subject.dir).unwrap() {
            let entry = entry.unwrap();
            files.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()));
        }
        files.sort();
        let last_batch = if told.ended { None } else { last_batch(&files) };
        Self { subject: subject.clone(), how: how.to_owned(), told, files, last_batch }
    }

    fn bytes(&self, file: &str) -> &[u8] {
        self.files.iter().find(|(name, _)| name == file).map_or(&[], |(_, bytes)| bytes)
    }
}

/// Every batch in a segment that is intact by the document.
struct Batch {
    /// Where it lies, without what fills it up.
    place: Range<usize>,
    sequence: u64,
    salt: u64,
}

fn batches(name: &str, bytes: &[u8]) -> Vec<Batch> {
    let number: u32 = name.trim_start_matches("journal-").parse().unwrap_or(0);
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut found = Vec::new();
    for at in (0..bytes.len()).step_by(PAGE) {
        let body = u32_at(at + 28) as usize;
        if bytes[at..at + 4] != *b"blsj" || at + 40 + body > bytes.len() {
            continue;
        }
        let place = [number.to_le_bytes().as_slice(), &(at as u64).to_le_bytes()].concat();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&place), &bytes[at..at + 36]);
        if crc32c::crc32c_append(crc, &bytes[at + 40..at + 40 + body]) == u32_at(at + 36) {
            found.push(Batch { place: at..at + 40 + body, sequence: u64_at(at + 8), salt: u64_at(at + 16) });
        }
    }
    found
}

/// Of the open that was cut off: each draws a salt, and begins with the first segment.
fn last_batch(files: &[(String, Vec<u8>)]) -> Option<(String, Range<usize>)> {
    let segments = files.iter().filter(|(name, _)| name.starts_with("journal-"));
    let all: Vec<_> =
        segments.flat_map(|(name, bytes)| batches(name, bytes).into_iter().map(move |batch| (name, batch))).collect();
    let salt = all.iter().find(|(name, batch)| *name == "journal-0001" && batch.place.start == 0)?.1.salt;
    let own = all.into_iter().filter(|(_, batch)| batch.salt == salt);
    own.max_by_key(|(_, batch)| batch.sequence).map(|(name, batch)| (name.clone(), batch.place))
}

fn changes_of(source: usize, from: &Source) -> Vec<Change> {
    let mut random = Random::new(from.subject.seed);
    let mut changes = Vec::new();
    for (name, bytes) in &from.files {
        let kinds = match name.as_str() {
            "data.mdb" => pages_changed(bytes, &mut random),
            name if name.starts_with("journal-") => segment_changed(name, bytes, &mut random),
            _ => small_changed(bytes, &mut random),
        };
        let whole = [Kind::Cut { to: 0 }, Kind::Cut { to: bytes.len() / 2 }, Kind::Longer, Kind::Remove];
        let kinds = kinds.into_iter().chain(whole);
        changes.extend(kinds.map(|kind| Change { source, file: name.clone(), kind }));
    }
    changes
}

fn flip(at: usize, random: &mut Random) -> Kind {
    Kind::Flip { at, bit: random.below(8) as u8 }
}

/// `FORMAT`, `LOCK`, the readers of LMDB: each of the first bytes, and some of the others.
fn small_changed(bytes: &[u8], random: &mut Random) -> Vec<Kind> {
    let mut kinds: Vec<_> = (0..bytes.len().min(160)).map(|at| flip(at, random)).collect();
    if bytes.len() > 160 {
        kinds.extend((0..40).map(|_| flip(random.below(bytes.len() as u64) as usize, random)));
    }
    kinds.push(Kind::Zero { from: 0, bytes: bytes.len().min(PAGE) });
    kinds.push(Kind::Cut { to: bytes.len().saturating_sub(1) });
    kinds
}

fn pages_changed(bytes: &[u8], random: &mut Random) -> Vec<Kind> {
    let pages = bytes.chunks(PAGE).rposition(|page| page.iter().any(|byte| *byte != 0)).map_or(0, |last| last + 1);
    let mut kinds = Vec::new();
    for page in 0..pages {
        let start = page * PAGE;
        let fields = if page < 2 { META_BYTES } else { 24 };
        kinds.extend((0..fields).map(|at| flip(start + at, random)));
        kinds.extend((0..6).map(|_| flip(start + random.below(PAGE as u64) as usize, random)));
        // The rows lie at the end of a page.
        kinds.extend((0..6).map(|_| flip(start + PAGE - 1 - random.below(900) as usize, random)));
        kinds.push(Kind::Zero { from: start, bytes: PAGE });
        kinds.push(Kind::Zero { from: start + 512, bytes: 512 });
        kinds.push(Kind::Copy { from: random.below(pages as u64) as usize * PAGE, to: start });
        kinds.push(Kind::Cut { to: start });
        kinds.push(Kind::Cut { to: start + 1000 });
    }
    kinds
}

fn segment_changed(name: &str, bytes: &[u8], random: &mut Random) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for Batch { place: range, .. } in batches(name, bytes) {
        let start = range.start;
        kinds.extend((0..40).map(|at| flip(start + at, random)));
        kinds
            .extend((0..8).map(|_| flip(start + 40 + random.below((range.len() - 40).max(1) as u64) as usize, random)));
        // Padding: nobody may care.
        let end = range.end.next_multiple_of(PAGE);
        kinds.extend(
            (range.end < end).then(|| flip(range.end + random.below((end - range.end) as u64) as usize, random)),
        );
        kinds.push(Kind::Zero { from: start, bytes: PAGE });
        kinds.push(Kind::Zero { from: start, bytes: 512 });
        let other = random.below((bytes.len() / PAGE) as u64) as usize * PAGE;
        kinds.push(Kind::Copy { from: other, to: start });
        kinds.push(Kind::Copy { from: start, to: other });
        kinds.push(Kind::Cut { to: start });
        kinds.push(Kind::Cut { to: start + 1000 });
    }
    kinds
}

impl Kind {
    /// The bytes that are not what they were, at most.
    fn touches(&self, length: usize) -> Range<usize> {
        match *self {
            Self::Flip { at, .. } => at..at + 1,
            Self::Zero { from, bytes } => from..from + bytes,
            Self::Copy { to, .. } => to..to + PAGE,
            Self::Cut { to } => to..length,
            Self::Longer => length..length + PAGE,
            Self::Remove => 0..length,
        }
    }

    fn change(&self, bytes: &mut Vec<u8>) {
        match *self {
            Self::Flip { at, bit } => bytes[at] ^= 1 << bit,
            Self::Zero { from, bytes: count } => bytes[from..from + count].fill(0),
            Self::Copy { from, to } => bytes.copy_within(from..from + PAGE, to),
            Self::Cut { to } => bytes.truncate(to),
            Self::Longer => bytes.resize(bytes.len() + PAGE, 0),
            Self::Remove => {}
        }
    }
}

/// What may come of a change, by the document.
fn expected(change: &Change, source: &Source) -> Expected {
    let touched = change.kind.touches(source.bytes(&change.file).len());
    let meets = |range: &Range<usize>| touched.start < range.end && range.start < touched.end;
    let is_last = source.last_batch.as_ref().is_some_and(|(file, range)| *file == change.file && meets(range));
    // The newest meta page with the number of two transactions before.
    let is_newest = change.file == "data.mdb"
        && matches!(change.kind, Kind::Flip { at, .. } if at < 2 * PAGE && TRANSACTION.contains(&(at % PAGE)));
    if is_last || is_newest { Expected::RightOrRefusedOrLast } else { Expected::RightOrRefused }
}

fn try_change(bench: &Bench, dir: &Path, change: &Change, source: &Source) {
    let subject = Subject { dir: dir.join("store"), ..source.subject.clone() };
    fresh(&subject.dir);
    std::fs::create_dir_all(&subject.dir).unwrap();
    for (name, bytes) in &source.files {
        let path = subject.dir.join(name);
        if *name != change.file {
            write_sparse(&path, bytes);
        } else if !matches!(change.kind, Kind::Remove) {
            let mut changed = bytes.clone();
            change.kind.change(&mut changed);
            write_sparse(&path, &changed);
        }
    }
    let before = kept(&subject.dir);
    let survey = subject.survey();
    let is_as_it_was = kept(&subject.dir) == before;
    let judged = match subject.judge(&source.told, subject.way) {
        Verdict::Refused(said) => named(&said, file_named(&change.file)),
        verdict => verdict,
    };
    let verdict = match survey.held_against(judged) {
        Verdict::Right(_) | Verdict::Refused(_) | Verdict::Lost(_) if !is_as_it_was => {
            Verdict::Wrong("the survey changed the directory".to_owned())
        }
        verdict => verdict,
    };
    let name = format!("damage, {}, {}", subject.way.name(), file_named(&change.file));
    let case = format!("{}, {}: {:?}", source.how, change.file, change.kind);
    note(bench, &name, expected(change, source), &subject, &source.told, &case, (verdict, subject.way));
}

/// What a survey leaves as it is: all but who holds the directory, and the readers of LMDB.
fn kept(dir: &Path) -> Vec<(String, u32)> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut files: Vec<_> = names
        .filter(|name| name != "LOCK" && name != "lock.mdb")
        .map(|name| {
            let crc = crc32c::crc32c(&std::fs::read(dir.join(&name)).unwrap());
            (name, crc)
        })
        .collect();
    files.sort();
    files
}

/// A batch that is missing may have been in one segment or in the next: the refusal names the one behind it.
fn file_named(file: &str) -> &str {
    if file.starts_with("journal-") { "journal" } else { file }
}

/// A refusal that names the file, with the code of damage.
fn named(said: &str, file: &str) -> Verdict {
    let is_known = ["ERR_RAFT_STORE_CORRUPT", "ERR_RAFT_DIR_UNUSABLE", "ERR_RAFT_STORE_FORMAT"];
    let is_typed = is_known.iter().any(|code| said.starts_with(code));
    if is_typed && (said.contains(file) || file == "FORMAT") {
        return Verdict::Refused(said.to_owned());
    }
    Verdict::Wrong(format!("the refusal does not name {file}: {said}"))
}
