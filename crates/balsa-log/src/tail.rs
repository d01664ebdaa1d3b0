//! The end of the log that the home does not hold yet, as reads see it: which entries the home has, and the blocks behind
//! them.
//!
//! What must hold: entries of two states of the log never stand beside each other. The home may move on while it is
//! read; what stands here behind the entries that it had goes with them only if nothing was truncated meanwhile.

use std::collections::VecDeque;
use std::ops::Range;

use crate::error::Error;
use crate::format::block::{self, BlockInfo, Depth};
use crate::log::Log;
use crate::plan::{Plan, Step};
use crate::queue::Ticket;
use crate::read::{Filling, ReadOutcome};

/// A block, and the batch that brought it.
#[derive(Clone)]
struct TailBlock {
    /// Its entries that are of the log: a truncation leaves the bytes as they are.
    first: u64,
    last: u64,
    /// Of the batch.
    sequence: u64,
    /// Where its bytes are.
    ticket: Ticket,
    range: Range<usize>,
}

impl TailBlock {
    fn bytes(&self) -> &[u8] {
        self.ticket.get(self.range.clone()).unwrap_or_default()
    }
}

/// Invariant: the blocks touch each other, the first one begins at `home_end`, and the last one ends the log.
pub(crate) struct Tail {
    /// The first entry of the log.
    first: u64,
    /// Entries from here on are not in the home, or not as they are now.
    home_end: u64,
    blocks: VecDeque<TailBlock>,
    /// Counts what removes entries from the end.
    cuts: u64,
}

/// Where the entries of a read are.
pub(crate) enum Found {
    /// There are none.
    Nothing,
    /// In the home, and no further than `end`; behind them those that are here.
    Home { end: u64, then: TailRead, cuts: u64 },
    /// Here.
    Tail(TailRead),
}

/// Blocks that a read wants.
pub(crate) struct TailRead(Vec<TailBlock>);

impl Tail {
    /// Of a log that is all in the home.
    pub(crate) fn new(log: &Log) -> Self {
        Self { first: log.first, home_end: log.last + 1, blocks: VecDeque::new(), cuts: 0 }
    }

    /// Takes the plan of a batch that consists of these tickets.
    pub(crate) fn follow(&mut self, plan: &Plan<'_>, tickets: &[Ticket], sequence: u64) {
        // Steps stand in the order of their tickets: those before the last block are not looked at again.
        let mut left = tickets.iter().peekable();
        for step in &plan.steps {
            match step {
                Step::Append { block, info } => {
                    while let Some(ticket) = left.peek() {
                        let Some(range) = range_in(ticket, block) else {
                            left.next();
                            continue;
                        };
                        let (ticket, BlockInfo { first, last, .. }) = (Ticket::clone(ticket), *info);
                        self.blocks.push_back(TailBlock { first, last, sequence, ticket, range });
                        break;
                    }
                }
                step => self.remove(step),
            }
        }
    }

    fn remove(&mut self, step: &Step<'_>) {
        match step {
            Step::TruncateSuffix { from } => self.truncate_suffix(*from),
            Step::Compact(compact) => {
                if !compact.keep_suffix {
                    self.truncate_suffix(compact.first);
                    // The log may end before it.
                    self.home_end = compact.first;
                }
                self.first = compact.first;
            }
            Step::Append { .. } | Step::HardState { .. } | Step::Put { .. } | Step::Delete { .. } => {}
        }
    }

    /// How often entries were removed from the end so far.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts
    }

    fn truncate_suffix(&mut self, from: u64) {
        self.cuts += 1;
        while self.blocks.back().is_some_and(|block| block.first >= from) {
            self.blocks.pop_back();
        }
        if let Some(block) = self.blocks.back_mut() {
            block.last = block.last.min(from - 1);
        }
        self.home_end = self.home_end.min(from);
    }

    /// The home holds everything up to this batch.
    pub(crate) fn held(&mut self, sequence: u64) {
        while let Some(block) = self.blocks.front()
            && block.sequence <= sequence
        {
            self.home_end = block.last + 1;
            self.blocks.pop_front();
        }
    }

    /// Where the entries `lo .. hi` are, or the first of them: in blocks of so many bytes at least, if there are so many.
    pub(crate) fn find(&self, lo: u64, hi: u64, bytes_max: usize) -> Found {
        if lo < self.first || lo >= hi {
            return Found::Nothing;
        }
        if lo < self.home_end {
            let (end, then) = (hi.min(self.home_end), self.blocks_of(self.home_end, hi, bytes_max));
            return Found::Home { end, then, cuts: self.cuts };
        }
        let wanted = self.blocks_of(lo, hi, bytes_max);
        if wanted.0.is_empty() { Found::Nothing } else { Found::Tail(wanted) }
    }

    fn blocks_of(&self, lo: u64, hi: u64, bytes_max: usize) -> TailRead {
        let begin = self.blocks.partition_point(|block| block.last < lo);
        let mut bytes = 0;
        let wanted = self.blocks.range(begin..).take_while(|block| {
            let more = block.first < hi && bytes <= bytes_max;
            bytes += block.range.len();
            more
        });
        TailRead(wanted.cloned().collect())
    }
}

impl TailRead {
    /// Fills in entries up to `hi`, as a read of the home does: every record is checked before it is given out.
    pub(crate) fn read_into(&self, filling: &mut Filling<'_>, hi: u64) -> Result<ReadOutcome, Error> {
        filling.until(hi);
        for block in &self.0 {
            let info = block::check(block.bytes(), Depth::Records)
                .map_err(|damage| Error::invalid(format!("a block in memory is damaged: {}", damage.detail)))?;
            let info = BlockInfo { last: block.last, ..info };
            let outcome = filling.take(block.bytes(), &info).map_err(|damage| Error::invalid(damage.detail))?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
        Ok(filling.so_far())
    }
}

/// Where `part` lies within `whole`; `None` when it is no part of it.
fn range_in(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let begin = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = begin.checked_add(part.len())?;
    (end <= whole.len()).then_some(begin..end)
}
