//! The log as numbers: what the writer must know of it to judge the next ticket, without reading an entry.
//!
//! The fields move only by the methods here, which are told what was checked before (`plan.rs`). Whoever keeps rows of
//! the log writes them from what stands here afterwards.

use crate::format::Damage;
use crate::format::block::{self, BlockInfo};
use crate::format::operation::Compact;
use crate::format::snapshot::Snapshot;
use crate::plan::Step;

/// What must survive a crash besides the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HardState {
    /// The current term. It never goes back.
    pub term: u64,
    /// A lower bound of the commit index.
    pub commit: u64,
    /// Whom this server voted for in `term`; once set, it changes only with the term.
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

/// The log as the writer knows it, without its entries. Invariant: between two transactions it equals the rows of the
/// last one. While a transaction is put together it runs ahead; if that fails, the writer ends, and nobody looks at it
/// again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// Index of the first entry kept; moves with each compaction, and never back. Invariant: 1 <= `first` <= `last` + 1.
    pub(crate) first: u64,
    /// The term of the entry before it. Invariant: 0 exactly where `first` is 1.
    pub(crate) prev_term: u64,
    /// On what the log stands; its index never falls. Invariants: there is one where `first` is above 1; its index is
    /// at least `first` - 1.
    pub(crate) snapshot: Option<Snapshot<Vec<u8>>>,
    /// Index of the last entry; `first` - 1 when the log is empty. Moves with each block and each truncation.
    pub(crate) last: u64,
    /// Term, vote and commit index, as the newest HARDSTATE has them.
    pub(crate) hard_state: HardState,
    /// Invariant: ascending, the first at `first`; together they cover `first` to `last` exactly. Their terms rise, from
    /// `prev_term` at least.
    pub(crate) terms: Vec<TermRun>,
    /// Index and payload of each configuration entry. Invariant: ascending, each index within `first` to `last`.
    pub(crate) configurations: Vec<(u64, Vec<u8>)>,
}

impl Log {
    /// The log of a new store.
    pub(crate) fn new() -> Self {
        Self {
            first: 1,
            prev_term: 0,
            snapshot: None,
            last: 0,
            hard_state: HardState::default(),
            terms: Vec::new(),
            configurations: Vec::new(),
        }
    }

    /// Whether a block of this term, behind the last entry, begins a run.
    pub(crate) fn begins_run(&self, term: u64) -> bool {
        self.terms.last().is_none_or(|run| run.term != term)
    }

    /// Whether all entries from `first` to `last` are of this term.
    pub(crate) fn has_term(&self, first: u64, last: u64, term: u64) -> bool {
        let begun = self.terms.partition_point(|run| run.first <= first);
        let run = begun.checked_sub(1).and_then(|at| self.terms.get(at));
        let next = self.terms.get(begun);
        run.is_some_and(|run| run.term == term) && next.is_none_or(|next| next.first > last)
    }

    /// Adds a checked block, which begins at `last` + 1.
    pub(crate) fn append(&mut self, bytes: &[u8], info: &BlockInfo) {
        if self.begins_run(info.term) {
            self.terms.push(TermRun { first: info.first, term: info.term });
        }
        if info.is_configuration {
            self.configurations.push((info.first, block::only_payload(bytes).to_vec()));
        }
        self.last = info.last;
    }

    /// Drops every entry from `from` on, which is within `first` to `last`.
    pub(crate) fn truncate_suffix(&mut self, from: u64) {
        self.terms.retain(|run| run.first < from);
        self.configurations.retain(|(index, _)| *index < from);
        self.last = from - 1;
    }

    /// Drops every entry below `first`, which is at most `last` + 1, or lies behind a log whose every entry goes.
    pub(crate) fn truncate_prefix(&mut self, first: u64, prev_term: u64, snapshot: Snapshot<Vec<u8>>) {
        let begun = self.terms.partition_point(|run| run.first <= first);
        let gone = if first > self.last { self.terms.len() } else { begun.saturating_sub(1) };
        self.terms.drain(..gone);
        if let Some(run) = self.terms.first_mut() {
            run.first = first;
        }
        self.configurations.retain(|(index, _)| *index >= first);
        self.first = first;
        self.prev_term = prev_term;
        self.last = self.last.max(first - 1);
        self.snapshot = Some(snapshot);
    }

    /// Takes a step of a plan that was made for this log.
    pub(crate) fn follow(&mut self, step: &Step<'_>) {
        match step {
            Step::Append { block, info } => self.append(block, info),
            Step::TruncateSuffix { from } => self.truncate_suffix(*from),
            Step::Compact(Compact { first, prev_term, snapshot, keep_suffix }) => {
                if !keep_suffix && *first <= self.last {
                    self.truncate_suffix(*first);
                }
                self.truncate_prefix(*first, *prev_term, snapshot.owned());
            }
            Step::HardState { term, commit, voted_for } => {
                let voted_for = voted_for.map(ToOwned::to_owned);
                self.hard_state = HardState { term: *term, commit: *commit, voted_for };
            }
            Step::Put { .. } | Step::Delete { .. } => {}
        }
    }

    /// Checks the invariants of a log that was read.
    pub(crate) fn check(&self) -> Result<(), Damage> {
        if self.first == 0 || self.last.checked_add(1).is_none_or(|end| end < self.first) {
            return Err(Damage::new("the bounds of the log are not in order"));
        }
        match &self.snapshot {
            None if self.first > 1 => return Err(Damage::new("the row of the snapshot is missing")),
            Some(snapshot) if snapshot.index < self.first - 1 => {
                return Err(Damage::new("there are entries missing between the snapshot and the log"));
            }
            _ => {}
        }
        if (self.first == 1) != (self.prev_term == 0) {
            return Err(Damage::new("the term before the log does not fit its first index"));
        }
        let empty = self.last + 1 == self.first;
        let covers = match (self.terms.first(), self.terms.last()) {
            (Some(first), Some(last)) => !empty && first.first == self.first && last.first <= self.last,
            _ => empty,
        };
        let rise = self.terms.is_sorted_by(|a, b| a.first < b.first && a.term < b.term);
        if !covers || !rise || self.terms.first().is_some_and(|run| run.term < self.prev_term) {
            return Err(Damage::new("the term runs do not cover the log"));
        }
        let within = self.configurations.iter().all(|(index, _)| (self.first..=self.last).contains(index));
        if !within || !self.configurations.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Damage::new("the list of configuration entries does not fit the log"));
        }
        Ok(())
    }
}
