//! The log as numbers: what the writer must know of it to judge the next ticket, without reading an entry.

/// What must survive a crash besides the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// A lower bound of the commit index.
    pub commit: u64,
    /// Whom this server voted for in `term`.
    pub voted_for: Option<String>,
}

/// A stretch of the log written in one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermRun {
    /// Its first index.
    pub first: u64,
    /// Its term.
    pub term: u64,
}

/// The log as the writer knows it, without its entries. Invariant: equals the rows of the last durable transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) hard_state: HardState,
    pub(crate) terms: Vec<TermRun>,
    pub(crate) configurations: Vec<(u64, Vec<u8>)>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { first: 1, last: 0, hard_state: HardState::default(), terms: Vec::new(), configurations: Vec::new() }
    }
}
