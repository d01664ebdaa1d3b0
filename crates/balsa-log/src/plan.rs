//! The check of a batch against the log, in memory, before anything is written. No home of the log sees gaps, or terms
//! that go back; what is refused here is a defect of the core, and poisons the store before it can do harm.

use crate::error::Error;
use crate::format::block::{self, BlockInfo, Depth};
use crate::format::operation::{Compact, Operation, Operations};
use crate::format::{GROUP, length};
use crate::log::{Log, TermRun};
use crate::queue::Ticket;

/// One checked step. It may be applied to the log behind the steps before it, and to no other.
pub(crate) enum Step<'a> {
    /// An intact block that begins at the last index + 1.
    Append {
        block: &'a [u8],
        info: BlockInfo,
    },
    /// `from` is an index of the log.
    TruncateSuffix {
        from: u64,
    },
    /// Neither `first` nor the snapshot goes back, and both terms are those of the log where it has the entries.
    Compact(Compact<'a>),
    /// Neither the term nor a vote of the same term goes back.
    HardState {
        term: u64,
        commit: u64,
        voted_for: Option<&'a str>,
    },
    Put {
        key: &'a str,
        value: &'a [u8],
    },
    Delete {
        key: &'a str,
    },
}

/// The checked steps of a batch, and what a home wants to know before it begins with them.
pub(crate) struct Plan<'a> {
    /// In the order of the tickets.
    pub(crate) steps: Vec<Step<'a>>,
    /// Length of its tickets.
    pub(crate) bytes: u64,
    /// Entries that it removes in its own transaction.
    pub(crate) truncated: u64,
    /// Whether `first` may move, and leave blocks behind.
    pub(crate) compacts: bool,
    /// The commit index when all are done.
    pub(crate) commit: u64,
    /// Nothing changes but the end of the log and the commit index; the rows of the new blocks say both.
    pub(crate) only_appends: bool,
}

/// The log as it will be after the steps so far; the log itself is untouched, and not copied.
struct Ahead<'log> {
    /// Rises with each compaction, and the term before it with it.
    first: u64,
    prev_term: u64,
    /// The last entry that the snapshot covers; 0 while there is none.
    snapshot_index: u64,
    /// Rises with each block, falls with each truncation. Invariant: `last` + 1 >= `first`.
    last: u64,
    /// Runs of the log that are still there: a front part of them. Where `first` moved on, those before it are among
    /// them; what they say is still so.
    kept: &'log [TermRun],
    /// Runs that the batch adds behind them.
    added: Vec<TermRun>,
    /// Term, commit index and vote of the newest hard state.
    term: u64,
    commit: u64,
    voted_for: Option<&'log str>,
}

/// Checks the tickets of a batch. Contiguity: the first index of a block is the last index + 1 at that step.
pub(crate) fn plan<'a: 'log, 'log>(log: &'log Log, tickets: &'a [Ticket]) -> Result<Plan<'a>, Error> {
    let mut ahead = Ahead {
        first: log.first,
        prev_term: log.prev_term,
        snapshot_index: log.snapshot.as_ref().map_or(0, |snapshot| snapshot.index),
        last: log.last,
        kept: &log.terms,
        added: Vec::new(),
        term: log.hard_state.term,
        commit: log.hard_state.commit,
        voted_for: log.hard_state.voted_for.as_deref(),
    };
    let mut steps = Vec::new();
    let mut bytes = 0;
    let mut truncated = 0;
    let mut compacts = false;
    for ticket in tickets {
        bytes += length(ticket);
        for operation in Operations::new(ticket) {
            let step = match operation.map_err(|damage| Error::invalid(damage.detail))? {
                Operation::Append { block } => Step::Append { block, info: ahead.append(block)? },
                Operation::TruncateSuffix { from } => {
                    truncated += ahead.truncate_suffix(from)?;
                    Step::TruncateSuffix { from }
                }
                Operation::Compact(compact) => {
                    truncated += ahead.compact(&compact)?;
                    compacts = true;
                    Step::Compact(compact)
                }
                Operation::HardState { term, commit, voted_for } => {
                    ahead.set_hard_state(term, commit, voted_for)?;
                    Step::HardState { term, commit, voted_for }
                }
                Operation::Put { key, value } => Step::Put { key, value },
                Operation::Delete { key } => Step::Delete { key },
            };
            steps.push(step);
        }
    }
    let only_appends = truncated == 0
        && !compacts
        && ahead.last > log.last
        && ahead.term == log.hard_state.term
        && ahead.voted_for == log.hard_state.voted_for.as_deref();
    Ok(Plan { steps, bytes, truncated, compacts, commit: ahead.commit, only_appends })
}

impl<'log> Ahead<'log> {
    /// The term of the last entry; where the log is empty, of the one before it.
    fn last_term(&self) -> u64 {
        self.added.last().or(self.kept.last()).map_or(self.prev_term, |run| run.term)
    }

    /// The term of an entry from `first` - 1 to `last`.
    fn term_at(&self, index: u64) -> u64 {
        if index < self.first {
            return self.prev_term;
        }
        let of = |runs: &[TermRun]| runs.iter().rev().find(|run| run.first <= index).map(|run| run.term);
        of(&self.added).or_else(|| of(self.kept)).unwrap_or(self.prev_term)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<BlockInfo, Error> {
        let info = block::check(bytes, Depth::Block)
            .map_err(|damage| Error::invalid(format!("a block that is not intact was submitted: {}", damage.detail)))?;
        if info.first != self.last + 1 || info.group != GROUP {
            return Err(Error::invalid(format!(
                "a block from {} was submitted to a log that ends at {}: the next index is {}",
                info.first,
                self.last,
                self.last + 1
            )));
        }
        let last_term = self.last_term();
        if info.term < last_term {
            return Err(Error::invalid(format!(
                "a block of term {} was submitted behind an entry of term {last_term}",
                info.term
            )));
        }
        if info.term > last_term {
            self.added.push(TermRun { first: info.first, term: info.term });
        }
        self.last = info.last;
        Ok(info)
    }

    fn truncate_suffix(&mut self, from: u64) -> Result<u64, Error> {
        if from < self.first || from > self.last {
            return Err(Error::invalid(format!(
                "a truncation from {from} was submitted to a log of {} to {}",
                self.first, self.last
            )));
        }
        let truncated = self.last - from + 1;
        self.added.retain(|run| run.first < from);
        self.kept = self.kept.get(..self.kept.partition_point(|run| run.first < from)).unwrap_or_default();
        self.last = from - 1;
        Ok(truncated)
    }

    /// Gives the number of entries behind the snapshot that go with the rest.
    fn compact(&mut self, compact: &Compact<'_>) -> Result<u64, Error> {
        let Compact { first, prev_term, snapshot, keep_suffix } = compact;
        let refuse = |why: String| {
            let log = format!("a log of {} to {}, behind a snapshot of {}", self.first, self.last, self.snapshot_index);
            Err(Error::invalid(format!(
                "a compaction to {first} behind a snapshot of {} was submitted to {log}: {why}",
                snapshot.index
            )))
        };
        let end = snapshot.index + 1;
        if *first < self.first || *first > end || snapshot.index < self.snapshot_index {
            return refuse(format!("it goes back, or leaves out entries before {first}"));
        }
        if *keep_suffix && snapshot.index > self.last {
            return refuse("there is no suffix to keep".to_owned());
        }
        if !keep_suffix && *first != end {
            return refuse(format!("nothing is kept, so the next entry is {end}"));
        }
        let (before, covered) = match keep_suffix {
            true => (self.term_at(first - 1), self.term_at(snapshot.index)),
            false => (snapshot.term, snapshot.term),
        };
        if (*prev_term, snapshot.term) != (before, covered) {
            return refuse(format!(
                "it has {prev_term} and {} for the terms of {} and {}, which are {before} and {covered}",
                snapshot.term,
                first - 1,
                snapshot.index
            ));
        }
        let truncated = if *keep_suffix || *first > self.last { 0 } else { self.truncate_suffix(*first)? };
        if *first > self.last {
            (self.kept, self.last) = (&[], first - 1);
            self.added.clear();
        }
        (self.first, self.prev_term, self.snapshot_index) = (*first, *prev_term, snapshot.index);
        Ok(truncated)
    }

    /// The term never goes back, and a vote is cast once in a term (figure 2).
    fn set_hard_state(&mut self, term: u64, commit: u64, voted_for: Option<&'log str>) -> Result<(), Error> {
        if term < self.term {
            return Err(Error::invalid(format!("a hard state of term {term} was submitted behind term {}", self.term)));
        }
        if term == self.term && self.voted_for.is_some() && voted_for != self.voted_for {
            return Err(Error::invalid(format!("a second vote in term {term} was submitted")));
        }
        self.term = term;
        self.commit = commit;
        self.voted_for = voted_for;
        Ok(())
    }
}
