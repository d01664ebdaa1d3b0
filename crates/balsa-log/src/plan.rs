//! The check of a batch against the log, in memory, before anything is written. No home of the log sees gaps, or terms
//! that go back; what is refused here is a defect of the core, and poisons the store before it can do harm.

use crate::error::Error;
use crate::format::block::{self, BlockInfo, Depth};
use crate::format::operation::{Operation, Operations};
use crate::format::{GROUP, length};
use crate::log::{Log, TermRun};

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
    /// Entries that its truncations remove.
    pub(crate) truncated: u64,
    /// The commit index when all are done.
    pub(crate) commit: u64,
    /// Nothing changes but the end of the log and the commit index; the rows of the new blocks say both.
    pub(crate) only_appends: bool,
}

/// The log as it will be after the steps so far; the log itself is untouched, and not copied.
struct Ahead<'log> {
    /// As in the log: no step moves it yet.
    first: u64,
    /// Rises with each block, falls with each truncation. Invariant: `last` + 1 >= `first`.
    last: u64,
    /// Runs of the log that are still there: a front part of them.
    kept: &'log [TermRun],
    /// Runs that the batch adds behind them.
    added: Vec<TermRun>,
    /// Term, commit index and vote of the newest hard state.
    term: u64,
    commit: u64,
    voted_for: Option<&'log str>,
}

/// Checks the tickets of a batch. Contiguity: the first index of a block is the last index + 1 at that step.
pub(crate) fn plan<'a: 'log, 'log>(log: &'log Log, tickets: &'a [Vec<u8>]) -> Result<Plan<'a>, Error> {
    let mut ahead = Ahead {
        first: log.first,
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
    for ticket in tickets {
        bytes += length(ticket);
        for operation in Operations::new(ticket) {
            let step = match operation.map_err(|damage| Error::invalid(damage.detail))? {
                Operation::Append { block } => Step::Append { block, info: ahead.append(block)? },
                Operation::TruncateSuffix { from } => {
                    truncated += ahead.truncate_suffix(from)?;
                    Step::TruncateSuffix { from }
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
        && ahead.last > log.last
        && ahead.term == log.hard_state.term
        && ahead.voted_for == log.hard_state.voted_for.as_deref();
    Ok(Plan { steps, bytes, truncated, commit: ahead.commit, only_appends })
}

impl<'log> Ahead<'log> {
    /// The term of the last entry; 0 when the log is empty.
    fn last_term(&self) -> u64 {
        self.added.last().or(self.kept.last()).map_or(0, |run| run.term)
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
