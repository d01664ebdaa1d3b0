//! Damage to the pages of LMDB: an open refuses it with a typed error, or finds everything as it was. It never ends the
//! process, and never shows an older log.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use balsa_log::format::operation::Operation;
use balsa_log::{Options, State};
use common::{Entry, block_of, open, open_with};

const PAGE: usize = 4096;
/// What LMDB writes of a meta page.
const META: usize = 152;
/// On a meta page, the number of the root, then that of the last page.
const ROOT: usize = 128;
/// On a meta page, how many pages the values take that have pages of their own.
const OWN_PAGES: usize = 112;
/// On a meta page, the number of the transaction.
const TRANSACTION: usize = 144;

/// On another page, what it is; and a leaf.
const FLAGS: usize = 10;
const LEAF: usize = 2;

struct Damaged {
    _home: tempfile::TempDir,
    dir: PathBuf,
    intact: Vec<u8>,
    last: u64,
    expected: (Vec<Entry>, String),
}

/// A log of several terms, some of it replaced, in blocks on leaves and on pages of their own, with facts.
fn fill(dir: &Path) {
    let opened = open(dir);
    for first in 1..=40 {
        let payload = vec![first as u8; if first % 9 == 0 { 9000 } else { 150 }];
        let block = block_of(first, 1 + first / 15, &[&payload]);
        opened.put(&[Operation::Append { block: &block }]);
        let name = format!("fact/{first}");
        opened.put(&[Operation::Put { key: &name, value: &[first as u8; 80] }]);
    }
    opened.put(&[Operation::TruncateSuffix { from: 31 }]);
    for first in 31..=36 {
        let block = block_of(first, 7, &[&[first as u8; 600]]);
        opened.put(&[Operation::Append { block: &block }]);
    }
    opened.store.close();
}

fn facts_of(state: &State) -> String {
    format!("{:?} {:?} {:?} {:?}", state.first, state.last, state.terms, state.facts)
}

impl Damaged {
    fn store() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("store");
        fill(&dir);
        let intact = fs::read(dir.join("data.mdb")).unwrap();
        let opened = open(&dir);
        let last = opened.state.last;
        let expected = (opened.entries(1, last + 1, 1 << 20).unwrap(), facts_of(&opened.state));
        opened.store.close();
        Self { _home: home, dir, intact, last, expected }
    }

    /// Writes the file anew with some bytes changed, and opens it. False: it was refused.
    fn opens(&self, what: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut bytes = self.intact.clone();
        change(&mut bytes);
        fs::write(self.dir.join("data.mdb"), bytes).unwrap();
        let opened = match open_with(&self.dir, &Options::default()) {
            Ok(opened) => opened,
            Err(error) => {
                assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT", "{what}: {error}");
                return false;
            }
        };
        assert_eq!(facts_of(&opened.state), self.expected.1, "{what}");
        // A block that is damaged shows when it is read.
        match opened.entries(1, self.last + 1, 1 << 20) {
            Ok(entries) => assert_eq!(entries, self.expected.0, "{what}"),
            Err(error) => assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT", "{what}: {error}"),
        }
        opened.store.close();
        true
    }

    /// The one damage that cannot be told: the newest page says the number of two transactions before. So LMDB leaves it
    /// when its write has failed, and nothing of that transaction was acknowledged.
    fn takes_back(&self, page: usize, at: usize, bit: usize) -> bool {
        let number = |page: usize| common::u64_at(&self.intact, page * PAGE + TRANSACTION);
        number(page) > number(1 - page) && at == TRANSACTION && bit == 1 && number(page) & 2 != 0
    }

    fn u16_at(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.intact[at], self.intact[at + 1]]))
    }

    fn is_leaf_of_a_tree(&self, page: usize) -> bool {
        let start = page * PAGE;
        self.u16_at(start + FLAGS) == LEAF && !self.opens("zeroed", |bytes| bytes[start..start + PAGE].fill(0))
    }

    /// Where the rows of a leaf begin.
    fn rows(&self, page: usize) -> impl Iterator<Item = usize> {
        let start = page * PAGE;
        (start + 16..start + self.u16_at(start + 12)).step_by(2).map(move |at| start + self.u16_at(at))
    }

    fn pages(&self) -> usize {
        self.intact.chunks(PAGE).rposition(|page| page.iter().any(|byte| *byte != 0)).unwrap() + 1
    }
}

#[test]
fn d4_damage_to_a_meta_page_is_refused_or_changes_nothing() {
    let store = Damaged::store();
    assert!(store.opens("intact", |_| {}));
    for page in 0..2 {
        for at in (16..META).filter(|at| !(32..40).contains(at)) {
            // Of what is only counted one bit is as good as another.
            let bits = if at < ROOT { at % 8..at % 8 + 1 } else { 0..8 };
            for bit in bits {
                let what = format!("bit {bit} of byte {at} of meta page {page}");
                if store.takes_back(page, at, bit) {
                    continue;
                }
                store.opens(&what, |bytes| bytes[page * PAGE + at] ^= 1 << bit);
            }
        }
    }
}

#[test]
fn d4_a_count_of_pages_beyond_those_that_there_are_is_refused() {
    let store = Damaged::store();
    let number = |page: usize| common::u64_at(&store.intact, page * PAGE + TRANSACTION);
    let newest = usize::from(number(1) > number(0));
    for at in OWN_PAGES + 1..OWN_PAGES + 8 {
        for bit in 0..8 {
            let what = format!("bit {bit} of byte {at} of the newest meta page");
            assert!(!store.opens(&what, |bytes| bytes[newest * PAGE + at] ^= 1 << bit), "{what}");
        }
    }
}

#[test]
fn d4_damage_to_any_page_of_a_tree_is_refused_or_changes_nothing() {
    let store = Damaged::store();
    for page in 2..store.pages() {
        let start = page * PAGE;
        let range = start..start + PAGE;
        store.opens(&format!("page {page} zeroed"), |bytes| bytes[range.clone()].fill(0));
        store.opens(&format!("page {page} filled"), |bytes| bytes[range].fill(0xff));
        // The number of the page, its flags and bounds, and where its rows begin; what lies at 8 is LMDB's own business.
        for at in (0..24).filter(|at| at % 3 == page % 3) {
            store.opens(&format!("byte {at} of page {page} inverted"), |bytes| bytes[start + at] ^= 0xff);
        }
        // The rows, which are at its end.
        for at in (page % 7..PAGE).step_by(401) {
            store.opens(&format!("byte {at} of page {page}"), |bytes| bytes[start + at] ^= 1 << (at % 8));
        }
        let what = format!("the page before in the place of page {page}");
        store.opens(&what, |bytes| bytes.copy_within(start - PAGE..start, start));
    }
}

#[test]
fn d4_another_length_of_a_row_or_of_its_key_is_refused() {
    let store = Damaged::store();
    let mut rows = 0;
    for page in (2..store.pages()).filter(|page| store.is_leaf_of_a_tree(*page)) {
        for row in store.rows(page) {
            let has_own_pages = store.u16_at(row + 4) != 0;
            // The lowest bit may be lost in what fills a row up to an even length.
            let lengths = [(row, 1..if has_own_pages { 0 } else { 16 }), (row + 6, 1..9)];
            for (length, bits) in lengths {
                for bit in bits {
                    let what = format!("bit {bit} of the length at {length}");
                    assert!(!store.opens(&what, |bytes| bytes[length + bit / 8] ^= 1 << (bit % 8)), "{what}");
                }
            }
            rows += 1;
        }
    }
    assert!(rows > 40, "{rows} rows");
}

#[test]
fn d4_what_stands_before_a_value_with_pages_of_its_own_is_refused_when_it_is_another() {
    let store = Damaged::store();
    let mut values = 0;
    for page in (2..store.pages()).filter(|page| store.is_leaf_of_a_tree(*page)) {
        for row in store.rows(page).filter(|row| store.u16_at(row + 4) != 0) {
            let first = common::u64_at(&store.intact, row + 8 + store.u16_at(row + 6));
            let start = usize::try_from(first).unwrap() * PAGE;
            // Its number, what it is, and how many pages there are; what lies at 8 is LMDB's own business.
            for at in (0..16).filter(|at| !(8..10).contains(at)) {
                for bit in 0..8 {
                    let what = format!("bit {bit} of byte {at} before a value");
                    assert!(!store.opens(&what, |bytes| bytes[start + at] ^= 1 << bit), "{what}");
                }
            }
            values += 1;
        }
    }
    assert!(values >= 2, "{values} values");
}

#[test]
fn d4_a_file_that_is_cut_anywhere_is_refused() {
    let store = Damaged::store();
    let used = store.pages() * PAGE;
    for length in (0..used).step_by(4093) {
        assert!(!store.opens(&format!("cut at {length}"), |bytes| bytes.truncate(length)), "cut at {length}");
    }
}
