//! Whether the pages of a data file fit together, looked at before LMDB maps it. LMDB believes its pages: one that is
//! damaged may send it beyond the map, which ends the process, or to pages of an older tree, which are all in order and
//! lack what came later. Here the file is read as any other, so a disk that fails is an error and not a signal.
//!
//! What is checked: the meta pages and what tells that each is of its own transaction; in both trees every branch and
//! leaf, that its rows lie side by side, the order of all keys, and the numbers that the meta page keeps of them; that no
//! page is used twice, or used and free. Not the contents of rows, which have checksums.
//!
//! An audit reads the branches and leaves, and of a block that has pages of its own what stands before it. It ends at the
//! first flaw. A survey (`survey.rs`) is the same walk with a witness, who is told of every flaw and shown every row that
//! can be reached.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::environment;
use super::pages::{HEADER_BYTES, Kind, META_BYTES, Meta, Node, Page, TreeFacts, count_of_own_pages};
use crate::error::Error;
use crate::format::{Damage, read_u64, read_u64_be};

/// LMDB itself goes no deeper.
const DEPTH_MAX: u16 = 32;
const META_PAGES: u64 = 2;

const TOO_SHORT: &str = "the file is shorter than its last page";
const NO_SUCH_PAGE: &str = "a tree names a page that there is not";
const EMPTY: &str = "a page of a tree is empty";
const WRONG_KEY: &str = "a key of the free list is not a number";
const WRONG_LIST: &str = "a list of free pages is longer than its row";
const WRONG_VALUE: &str = "a page that a value has for itself is another one, or says how many follow it wrongly";
const OTHER_COUNTS: &str = "a tree has other pages or rows than its meta page says: some are missing";
const OUT_OF_ORDER: &str = "the keys of a tree are out of order";

/// Why the file is not believed.
enum Flaw {
    Damage(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Flaw {
    fn from(cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::UnexpectedEof { Self::Damage(TOO_SHORT) } else { Self::Io(cause) }
    }
}

/// What cannot be reached by reason of a flaw.
#[derive(Clone, Copy)]
pub(super) enum Unreached<'a> {
    /// No row.
    Nothing,
    /// Some row, and nobody knows which.
    Unknown,
    /// Rows from this key on, and below the other one where there is one.
    Rows(&'a [u8], Option<&'a [u8]>),
}

const EVERY_ROW: Unreached<'_> = Unreached::Rows(&[], None);

/// Who is told what a walk meets. In the order of the keys, as far as they are in order.
pub(super) trait Witness {
    fn flaw(&mut self, detail: &'static str, unreached: Unreached<'_>);
    fn row(&mut self, key: &[u8], value: &[u8]);
}

/// Refuses a file whose pages do not fit together. Changes nothing.
pub(super) fn audit(path: &Path) -> Result<(), Error> {
    walk(path, None)
}

/// Goes on behind each flaw. An error is one of the system.
pub(super) fn survey(path: &Path, witness: &mut dyn Witness) -> Result<(), Error> {
    walk(path, Some(witness))
}

fn walk(path: &Path, witness: Option<&mut dyn Witness>) -> Result<(), Error> {
    match Audit::of(path, witness) {
        Ok(()) => Ok(()),
        Err(Flaw::Damage(detail)) => Err(environment::damaged(path, Damage::new(detail))),
        Err(Flaw::Io(cause)) => Err(Error::io(format!("reading {}", path.display()), cause)),
    }
}

struct Audit<'w> {
    /// Without one, the first flaw is the end.
    witness: Option<&'w mut dyn Witness>,
    file: File,
    page_bytes: usize,
    /// Whole pages of the file.
    file_pages: u64,
    /// The last one that the newest transaction knows.
    last_page: u64,
    /// One bit for each page that was met: in a tree, in the pages of a large value, or in the free list.
    met: Vec<u64>,
}

impl<'w> Audit<'w> {
    fn of(path: &Path, mut witness: Option<&'w mut dyn Witness>) -> Result<(), Flaw> {
        match Self::begin(path) {
            Ok((audit, metas)) => Audit { witness, ..audit }.trees(&metas),
            Err(flaw) => tolerate(&mut witness, Err(flaw), EVERY_ROW).map(|_| ()),
        }
    }

    /// Both meta pages, the newer one first.
    fn begin(path: &Path) -> Result<(Self, [Meta; 2]), Flaw> {
        let mut file = File::open(path)?;
        let first = read_meta(&mut file, 0)?;
        let second = read_meta(&mut file, first.page_bytes)?;
        check_metas(&first, &second)?;
        let [newest, other] = if second.transaction > first.transaction { [second, first] } else { [first, second] };
        let page_bytes = newest.page_bytes;
        let file_pages = file.metadata()?.len() / u64::try_from(page_bytes).unwrap_or(u64::MAX);
        // Before anything is made as large as it says.
        if newest.last_page >= file_pages {
            return Err(Flaw::Damage(TOO_SHORT));
        }
        let words = usize::try_from(newest.last_page / 64).map_err(|_| Flaw::Damage(NO_SUCH_PAGE))?;
        let (last_page, met) = (newest.last_page, vec![0; words + 1]);
        let audit = Self { witness: None, file, page_bytes, file_pages, last_page, met };
        Ok((audit, [newest, other]))
    }

    fn trees(&mut self, [newest, other]: &[Meta; 2]) -> Result<(), Flaw> {
        let rows = self.tree(&newest.rows, Values::Rows);
        self.tolerate(rows.map(|_| ()), EVERY_ROW)?;
        let free = self.free_pages(newest);
        self.tolerate(free, Unreached::Nothing)?;
        let other = self.check_other(other, newest.transaction);
        self.tolerate(other, Unreached::Nothing).map(|_| ())
    }

    fn free_pages(&mut self, newest: &Meta) -> Result<(), Flaw> {
        // Every transaction but the first frees pages, and keeps them under its own number.
        match self.tree(&newest.free, Values::FreePages)? {
            Some(freed_last) if freed_last != newest.transaction && newest.transaction > 1 => {
                Err(Flaw::Damage("the newest meta page is not of the transaction that it names"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it was no flaw; one ends the walk where there is no witness.
    fn tolerate(&mut self, done: Result<(), Flaw>, unreached: Unreached<'_>) -> Result<bool, Flaw> {
        tolerate(&mut self.witness, done, unreached)
    }

    /// The trees of the transaction before are still whole, and so is what tells which one it was. Of a transaction
    /// whose meta page could not be written, LMDB leaves the trees under the number of the one before.
    fn check_other(&mut self, other: &Meta, newest: u64) -> Result<(), Flaw> {
        if other.transaction <= 1 {
            return Ok(());
        }
        let freed_last = self.last_key(&other.free)?;
        if freed_last == other.transaction || freed_last == newest + 1 {
            Ok(())
        } else {
            Err(Flaw::Damage("the older meta page is not of the transaction that it names"))
        }
    }

    /// The greatest key of a tree of numbers, by the way that leads there alone; 0 when it is empty.
    fn last_key(&mut self, tree: &TreeFacts) -> Result<u64, Flaw> {
        let Some(mut number) = tree.root else { return Ok(0) };
        for level in 1..=tree.depth {
            let bytes = self.read(number)?;
            let page = Page::of(&bytes, number, kind_at(level, tree.depth)).map_err(Flaw::Damage)?;
            let node = page.nodes().last().ok_or(Flaw::Damage(EMPTY))?.map_err(Flaw::Damage)?;
            if level == tree.depth {
                return read_u64(node.key, 0).ok_or(Flaw::Damage(WRONG_KEY));
            }
            number = node.child;
        }
        Err(Flaw::Damage(EMPTY))
    }

    /// Walks a tree, and compares it with what the meta page says of it. Answers with the greatest key of a tree of
    /// numbers; 0 when it is empty, or of rows. `None`: not all of it was reached.
    fn tree(&mut self, facts: &TreeFacts, values: Values) -> Result<Option<u64>, Flaw> {
        if facts.depth > DEPTH_MAX {
            return Err(Flaw::Damage("a tree is deeper than LMDB makes any"));
        }
        let found = TreeFacts::default();
        let mut walk = Walk { depth: facts.depth, values, found, is_whole: true, last: None, least: Vec::new() };
        if let Some(root) = facts.root {
            self.visit(&mut walk, root, 1, (&[], None))?;
        }
        if !walk.is_whole {
            return Ok(None);
        }
        if !facts.counts(&walk.found) {
            let unreached = match values {
                Values::Rows => Unreached::Unknown,
                Values::FreePages => Unreached::Nothing,
            };
            return self.tolerate(Err(Flaw::Damage(OTHER_COUNTS)), unreached).map(|_| None);
        }
        match (values, &walk.last) {
            (Values::FreePages, Some(key)) => read_u64_be(key, 0).ok_or(Flaw::Damage(WRONG_KEY)).map(Some),
            _ => Ok(Some(0)),
        }
    }

    /// A page, whose keys are from the first of `range` on, and below the other one.
    fn visit(&mut self, walk: &mut Walk, number: u64, level: u16, range: Range<'_>) -> Result<(), Flaw> {
        self.meet(number)?;
        let bytes = self.read(number)?;
        let kind = kind_at(level, walk.depth);
        let page = Page::of(&bytes, number, kind).map_err(Flaw::Damage)?;
        match kind {
            Kind::Leaf => walk.found.leaf_pages += 1,
            Kind::Branch => walk.found.branch_pages += 1,
        }
        let mut nodes = page.nodes().peekable();
        let mut low = range.0;
        let mut is_first = true;
        while let Some(node) = nodes.next() {
            let node = node.map_err(Flaw::Damage)?;
            let high = nodes.peek().and_then(|next| next.as_ref().ok()).map(|next| next.key).or(range.1);
            // What stands before the first child is not looked at by LMDB either.
            if !is_first || kind == Kind::Leaf {
                low = node.key;
            }
            let done = match kind {
                Kind::Leaf => self.visit_leaf(walk, &node),
                Kind::Branch => {
                    let placed = if is_first { Ok(()) } else { walk.separator(node.key) };
                    placed.and_then(|()| self.visit(walk, node.child, level + 1, (low, high)))
                }
            };
            let unreached = match walk.values {
                Values::Rows => Unreached::Rows(low, high),
                Values::FreePages => Unreached::Nothing,
            };
            walk.is_whole &= self.tolerate(done, unreached)?;
            is_first = false;
        }
        Ok(())
    }

    fn visit_leaf(&mut self, walk: &mut Walk, node: &Node<'_>) -> Result<(), Flaw> {
        walk.key(node.key)?;
        walk.found.entries += 1;
        if let Some(first) = node.own_pages {
            let count = self.own_pages(first, node.value_bytes)?;
            walk.found.overflow_pages = walk.found.overflow_pages.saturating_add(count);
            for page in first..first.saturating_add(count) {
                self.meet(page)?;
            }
        }
        if matches!(walk.values, Values::Rows) && self.witness.is_none() {
            return Ok(());
        }
        let read = node.own_pages.map(|first| self.read_value(first, node.value_bytes)).transpose()?;
        let value = read.as_deref().unwrap_or(node.value);
        match (walk.values, &mut self.witness) {
            (Values::FreePages, _) => return self.meet_free(value),
            (Values::Rows, Some(witness)) => witness.row(node.key, value),
            (Values::Rows, None) => {}
        }
        Ok(())
    }

    /// A list of free pages: how many, then their numbers.
    fn meet_free(&mut self, list: &[u8]) -> Result<(), Flaw> {
        let count = read_u64(list, 0).and_then(|count| usize::try_from(count).ok()).ok_or(Flaw::Damage(WRONG_LIST))?;
        for at in 1..=count {
            let number = at.checked_mul(8).and_then(|at| read_u64(list, at)).ok_or(Flaw::Damage(WRONG_LIST))?;
            self.meet(number)?;
        }
        Ok(())
    }

    /// Every page is met once at most.
    fn meet(&mut self, number: u64) -> Result<(), Flaw> {
        if number < META_PAGES || number > self.last_page {
            return Err(Flaw::Damage(NO_SUCH_PAGE));
        }
        let bit = 1 << (number % 64);
        let word = usize::try_from(number / 64).ok().and_then(|at| self.met.get_mut(at));
        let word = word.ok_or(Flaw::Damage(NO_SUCH_PAGE))?;
        if *word & bit != 0 {
            return Err(Flaw::Damage("a page is used twice, or used and free: a part of a tree is an older one"));
        }
        *word |= bit;
        Ok(())
    }

    /// How many pages a value of so many bytes has for itself, as the first of them says: so many LMDB frees with it. They
    /// may be more than it needs, where it was replaced by a shorter one in the transaction that made it.
    fn own_pages(&mut self, first: u64, bytes: usize) -> Result<u64, Flaw> {
        let least = u64::try_from(bytes.saturating_add(HEADER_BYTES).div_ceil(self.page_bytes)).unwrap_or(u64::MAX);
        let header = self.read_at(first, 0, HEADER_BYTES)?;
        let count = count_of_own_pages(&header, first).ok_or(Flaw::Damage(WRONG_VALUE))?;
        if count < least { Err(Flaw::Damage(WRONG_VALUE)) } else { Ok(count) }
    }

    fn read(&mut self, number: u64) -> Result<Vec<u8>, Flaw> {
        self.read_at(number, 0, self.page_bytes)
    }

    fn read_value(&mut self, first: u64, bytes: usize) -> Result<Vec<u8>, Flaw> {
        self.read_at(first, HEADER_BYTES, bytes)
    }

    fn read_at(&mut self, page: u64, offset: usize, bytes: usize) -> Result<Vec<u8>, Flaw> {
        if page >= self.file_pages {
            return Err(Flaw::Damage(NO_SUCH_PAGE));
        }
        let start = u64::try_from(self.page_bytes).ok().and_then(|size| size.checked_mul(page));
        let at = start.zip(u64::try_from(offset).ok()).and_then(|(start, offset)| start.checked_add(offset));
        let mut read = vec![0; bytes];
        self.file.seek(SeekFrom::Start(at.ok_or(Flaw::Damage(NO_SUCH_PAGE))?))?;
        self.file.read_exact(&mut read)?;
        Ok(read)
    }
}

/// Of keys: the least one, and one that is too large; none, where there is no such bound.
type Range<'a> = (&'a [u8], Option<&'a [u8]>);

fn tolerate(
    witness: &mut Option<&mut dyn Witness>,
    done: Result<(), Flaw>,
    unreached: Unreached<'_>,
) -> Result<bool, Flaw> {
    match (done, witness) {
        (Err(Flaw::Damage(detail)), Some(witness)) => {
            witness.flaw(detail, unreached);
            Ok(false)
        }
        (done, _) => done.map(|()| true),
    }
}

#[derive(Clone, Copy)]
enum Values {
    Rows,
    FreePages,
}

/// What was seen of a tree so far, from its least key on.
struct Walk {
    depth: u16,
    values: Values,
    found: TreeFacts,
    /// Whether everything was reached so far.
    is_whole: bool,
    /// The last key, in the order of bytes.
    last: Option<Vec<u8>>,
    /// What the next key may not lie below: the key that a branch gives it.
    least: Vec<u8>,
}

impl Walk {
    fn key(&mut self, key: &[u8]) -> Result<(), Flaw> {
        let key = self.in_order(key)?;
        if self.last.as_ref().is_some_and(|last| *last >= key) || key < self.least {
            return Err(Flaw::Damage(OUT_OF_ORDER));
        }
        self.last = Some(key);
        Ok(())
    }

    fn separator(&mut self, key: &[u8]) -> Result<(), Flaw> {
        let key = self.in_order(key)?;
        if self.last.as_ref().is_some_and(|last| *last >= key) || key < self.least {
            return Err(Flaw::Damage(OUT_OF_ORDER));
        }
        self.least = key;
        Ok(())
    }

    /// A key as bytes that are ordered as LMDB orders it.
    fn in_order(&self, key: &[u8]) -> Result<Vec<u8>, Flaw> {
        match self.values {
            Values::Rows => Ok(key.to_vec()),
            Values::FreePages => {
                let number = if key.len() == 8 { read_u64(key, 0) } else { None };
                Ok(number.ok_or(Flaw::Damage(WRONG_KEY))?.to_be_bytes().to_vec())
            }
        }
    }
}

fn kind_at(level: u16, depth: u16) -> Kind {
    if level < depth { Kind::Branch } else { Kind::Leaf }
}

fn read_meta(file: &mut File, at: usize) -> Result<Meta, Flaw> {
    let mut bytes = [0; META_BYTES];
    file.seek(SeekFrom::Start(u64::try_from(at).unwrap_or(u64::MAX)))?;
    file.read_exact(&mut bytes)?;
    Meta::of(&bytes).map_err(Flaw::Damage)
}

/// Transactions alternate between the two pages, and each is by one later than the other.
fn check_metas(first: &Meta, second: &Meta) -> Result<(), Flaw> {
    if first.page_bytes != second.page_bytes {
        return Err(Flaw::Damage("the meta pages differ in the size of a page"));
    }
    let in_turn = first.transaction.abs_diff(second.transaction) == 1;
    if in_turn && first.transaction.is_multiple_of(2) {
        Ok(())
    } else {
        Err(Flaw::Damage("the meta pages are not those of two transactions in a row"))
    }
}
