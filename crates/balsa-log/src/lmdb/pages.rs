//! The pages of LMDB 0.9.70, as far as an audit looks at them. Every number is read and checked as one from a stranger.

use crate::format::{read_size, read_u16, read_u32, read_u64};

/// Before what is on a page: its number, flags and bounds.
pub(super) const HEADER_BYTES: usize = 16;
/// Up to where a meta page says something.
pub(super) const META_BYTES: usize = 152;

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
const META: u16 = 8;
/// Of the list of free pages: its keys are numbers.
const INTEGER_KEYS: u16 = 8;
const PAGE_BYTES_MIN: usize = 256;
const PAGE_BYTES_MAX: usize = 65_536;
const NO_PAGE: u64 = u64::MAX;
/// Before the key of a node.
const NODE_BYTES: usize = 8;
const KEY_BYTES_MAX: usize = 511;
/// The value of a node stands on pages of its own.
const OWN_PAGES: u16 = 1;

/// In the place of a value that stands on pages of its own.
const PAGE_NUMBER_BYTES: usize = 8;

const BAD_META: &str = "a meta page is not one of LMDB, or of another version";
const BAD_TREE: &str = "a meta page describes a tree that cannot be";
const BAD_PAGE: &str = "a page of a tree is another one, or its bounds cannot be";
const BAD_NODE: &str = "a row of a tree lies beyond its page";
const BAD_PACKING: &str = "the rows of a page of a tree do not lie side by side: one tells another length";

/// What a meta page says of a tree.
#[derive(Default)]
pub(super) struct TreeFacts {
    pub(super) depth: u16,
    pub(super) branch_pages: u64,
    pub(super) leaf_pages: u64,
    pub(super) overflow_pages: u64,
    pub(super) entries: u64,
    /// `None` when the tree is empty.
    pub(super) root: Option<u64>,
}

impl TreeFacts {
    /// The tree described at `at`, whose flags must be these.
    fn of(bytes: &[u8], at: usize, flags: u16) -> Option<Self> {
        let depth = read_u16(bytes, at + 6)?;
        let root = read_u64(bytes, at + 40).map(|page| (page != NO_PAGE).then_some(page))?;
        if read_u16(bytes, at + 4)? != flags || root.is_some() != (depth > 0) {
            return None;
        }
        Some(Self {
            depth,
            branch_pages: read_u64(bytes, at + 8)?,
            leaf_pages: read_u64(bytes, at + 16)?,
            overflow_pages: read_u64(bytes, at + 24)?,
            entries: read_u64(bytes, at + 32)?,
            root,
        })
    }

    /// Whether this is what the meta page would say of a tree in which `found` was found.
    pub(super) fn counts(&self, found: &Self) -> bool {
        let of = |facts: &Self| [facts.branch_pages, facts.leaf_pages, facts.overflow_pages, facts.entries];
        of(self) == of(found)
    }
}

/// A meta page: where one transaction has left everything.
pub(super) struct Meta {
    pub(super) page_bytes: usize,
    /// The list of free pages.
    pub(super) free: TreeFacts,
    pub(super) rows: TreeFacts,
    pub(super) last_page: u64,
    pub(super) transaction: u64,
}

impl Meta {
    pub(super) fn of(bytes: &[u8; META_BYTES]) -> Result<Self, &'static str> {
        let is_meta = read_u16(bytes, 10) == Some(META) && read_u64(bytes, 24) == Some(0);
        if !is_meta || read_u32(bytes, 16) != Some(MAGIC) || read_u32(bytes, 20) != Some(VERSION) {
            return Err(BAD_META);
        }
        let page_bytes = read_size(bytes, 40).ok_or(BAD_META)?;
        if !page_bytes.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes) {
            return Err(BAD_META);
        }
        Ok(Self {
            page_bytes,
            free: TreeFacts::of(bytes, 40, INTEGER_KEYS).ok_or(BAD_TREE)?,
            rows: TreeFacts::of(bytes, 88, 0).ok_or(BAD_TREE)?,
            last_page: read_u64(bytes, 136).ok_or(BAD_META)?,
            transaction: read_u64(bytes, 144).ok_or(BAD_META)?,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
}

/// A branch or a leaf.
pub(super) struct Page<'bytes> {
    bytes: &'bytes [u8],
    kind: Kind,
    nodes: usize,
    /// Nodes begin here or behind.
    upper: usize,
}

impl<'bytes> Page<'bytes> {
    pub(super) fn of(bytes: &'bytes [u8], number: u64, kind: Kind) -> Result<Self, &'static str> {
        let flags = match kind {
            Kind::Branch => BRANCH,
            Kind::Leaf => LEAF,
        };
        let (lower, upper) = read_u16(bytes, 12).zip(read_u16(bytes, 14)).ok_or(BAD_PAGE)?;
        let (lower, upper) = (usize::from(lower), usize::from(upper));
        let is_itself = read_u64(bytes, 0) == Some(number) && read_u16(bytes, 10) == Some(flags);
        let is_bounded = lower > HEADER_BYTES && lower <= upper && upper <= bytes.len() && lower.is_multiple_of(2);
        if !is_itself || !is_bounded {
            return Err(BAD_PAGE);
        }
        let page = Self { bytes, kind, nodes: (lower - HEADER_BYTES) / 2, upper };
        page.check_packed()?;
        Ok(page)
    }

    /// The nodes lie side by side, in whatever order, from the upper bound to the end of the page. LMDB moves them by the
    /// lengths that they tell: with a wrong one it would write beyond the page.
    fn check_packed(&self) -> Result<(), &'static str> {
        let places = (0..self.nodes).map(|at| self.place(at)).collect::<Option<Vec<_>>>();
        let mut places = places.ok_or(BAD_NODE)?;
        places.sort_unstable();
        let end = places.iter().try_fold(self.upper, |end, (start, bytes)| (*start == end).then_some(end + bytes));
        if end == Some(self.bytes.len()) { Ok(()) } else { Err(BAD_PACKING) }
    }

    /// Where a node begins, and how much of the page it takes.
    fn place(&self, at: usize) -> Option<(usize, usize)> {
        let start = usize::from(read_u16(self.bytes, HEADER_BYTES + at * 2)?);
        let node = self.node(at)?;
        let value_bytes = match (self.kind, node.own_pages) {
            (Kind::Branch, _) => 0,
            (Kind::Leaf, Some(_)) => PAGE_NUMBER_BYTES,
            (Kind::Leaf, None) => node.value.len(),
        };
        Some((start, (NODE_BYTES + node.key.len() + value_bytes).next_multiple_of(2)))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Result<Node<'bytes>, &'static str>> {
        (0..self.nodes).map(|at| self.node(at).ok_or(BAD_NODE))
    }

    fn node(&self, at: usize) -> Option<Node<'bytes>> {
        let start = usize::from(read_u16(self.bytes, HEADER_BYTES + at * 2)?);
        if start < self.upper || !start.is_multiple_of(2) {
            return None;
        }
        let low = read_u32(self.bytes, start)?;
        let flags = read_u16(self.bytes, start + 4)?;
        let key_start = start + NODE_BYTES;
        let key_bytes = usize::from(read_u16(self.bytes, start + 6)?);
        let key = self.bytes.get(key_start..key_start + key_bytes)?;
        if key_bytes > KEY_BYTES_MAX {
            return None;
        }
        let value_start = key_start + key_bytes;
        match (self.kind, flags) {
            (Kind::Branch, _) => {
                let child = u64::from(low) | u64::from(flags) << 32;
                Some(Node { key, child, value: &[], value_bytes: 0, own_pages: None })
            }
            (Kind::Leaf, 0) => {
                let value_bytes = usize::try_from(low).ok()?;
                let value = self.bytes.get(value_start..value_start.checked_add(value_bytes)?)?;
                Some(Node { key, child: NO_PAGE, value, value_bytes, own_pages: None })
            }
            (Kind::Leaf, OWN_PAGES) => {
                let value_bytes = usize::try_from(low).ok()?;
                let own_pages = Some(read_u64(self.bytes, value_start)?);
                Some(Node { key, child: NO_PAGE, value: &[], value_bytes, own_pages })
            }
            (Kind::Leaf, _) => None,
        }
    }
}

/// How many pages the value has that begins on this one; `None`: it is no such page.
pub(super) fn count_of_own_pages(header: &[u8], number: u64) -> Option<u64> {
    let is_itself = read_u64(header, 0) == Some(number) && read_u16(header, 10) == Some(OVERFLOW);
    if is_itself { read_u32(header, 12).map(u64::from) } else { None }
}

/// A key, with the page below it or with its value.
pub(super) struct Node<'bytes> {
    pub(super) key: &'bytes [u8],
    /// On a branch.
    pub(super) child: u64,
    /// On a leaf, when it stands there.
    pub(super) value: &'bytes [u8],
    pub(super) value_bytes: usize,
    /// The first of the pages on which the value stands otherwise.
    pub(super) own_pages: Option<u64>,
}
