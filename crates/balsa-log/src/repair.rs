//! The repair of a damaged block: blocks that another server has of the same entries, in the place of one that can no
//! longer be read. A thread of the caller asks, and the writer of the home answers between two batches.
//!
//! What must hold: nothing of the log changes but the bytes of the damaged block. By the log matching property (5.3) an
//! entry of the same index and term is the same entry, so the blocks must have the terms that the log has there, and
//! cover the block without a gap. Whatever became of the log meanwhile wins: then nothing is changed.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::error::Error;
use crate::format::GROUP;
use crate::format::block::{self, BlockInfo, Depth};
use crate::log::Log;

/// What may replace a block: a block is shorter, and so is one entry of the largest length.
pub const REPAIR_BYTES_MAX: usize = 4 << 20;

/// What came of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repaired {
    /// The blocks stand in the place of the damaged one, durably.
    Replaced,
    /// Nothing was changed: no damaged block covers these entries any more, or the log has others there by now.
    Unchanged,
}

/// Checked blocks that cover `first` to `last`, one behind the other.
pub(crate) struct Replacement {
    pub(crate) first: u64,
    pub(crate) last: u64,
    bytes: Vec<u8>,
    blocks: Vec<(Range<usize>, BlockInfo)>,
}

impl Replacement {
    /// `bytes` are sealed blocks, back to back. What does not cover `first` to `last` exactly, or is not intact, should
    /// have been refused before it came here.
    pub(crate) fn of(first: u64, last: u64, bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > REPAIR_BYTES_MAX {
            return Err(Error::invalid(format!("{} bytes are to replace one block", bytes.len())));
        }
        let (mut blocks, mut at, mut next) = (Vec::new(), 0, first);
        while at < bytes.len() {
            let length = block::length_at(bytes, at).ok_or_else(|| Error::invalid("a block is cut off"))?;
            let range = at..at.saturating_add(length);
            let info = bytes.get(range.clone()).map(|block| block::check(block, Depth::Records));
            let info = info.ok_or_else(|| Error::invalid("a block is cut off"))?;
            let info = info.map_err(|damage| Error::invalid(format!("a block is not intact: {}", damage.detail)))?;
            if info.first != next || info.group != GROUP {
                return Err(Error::invalid(format!("a block from {} is to stand at {next}", info.first)));
            }
            (at, next) = (range.end, info.last + 1);
            blocks.push((range, info));
        }
        if blocks.is_empty() || next.checked_sub(1) != Some(last) {
            return Err(Error::invalid(format!("blocks up to {next}, exclusively, are to replace {first} to {last}")));
        }
        Ok(Self { first, last, bytes: bytes.to_vec(), blocks })
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = (&[u8], &BlockInfo)> {
        self.blocks.iter().map(|(range, info)| (self.bytes.get(range.clone()).unwrap_or_default(), info))
    }

    pub(crate) fn bytes(&self) -> u64 {
        crate::format::length(&self.bytes)
    }

    pub(crate) fn count(&self) -> usize {
        self.blocks.len()
    }

    /// Whether all that is kept of these entries are those of the log, by their terms; and its configurations besides,
    /// which it has a copy of.
    pub(crate) fn is_of(&self, log: &Log) -> bool {
        let is_within = self.last >= log.first && self.last <= log.last;
        let terms = self
            .blocks()
            .all(|(_, info)| info.last < log.first || log.has_term(info.first.max(log.first), info.last, info.term));
        let theirs = self.blocks().filter(|(_, info)| info.is_configuration && info.first >= log.first);
        let theirs = theirs.map(|(bytes, info)| (info.first, block::only_payload(bytes)));
        let ours = log.configurations.iter().filter(|(index, _)| (self.first..=self.last).contains(index));
        is_within && terms && theirs.eq(ours.map(|(index, payload)| (*index, payload.as_slice())))
    }
}

/// A repair that is asked for, and whom its outcome is told.
pub(crate) struct Request {
    pub(crate) replacement: Replacement,
    answer: SyncSender<Result<Repaired, Error>>,
}

impl Request {
    pub(crate) fn answer(self, outcome: Result<Repaired, Error>) {
        // Whoever asked waits for it.
        let _waits = self.answer.send(outcome);
    }
}

/// The asking side. When the writer has ended, so have the requests that it had not answered.
pub(crate) struct Repairs(Sender<Request>);

impl Repairs {
    pub(crate) fn new() -> (Self, Receiver<Request>) {
        let (sender, requests) = channel();
        (Self(sender), requests)
    }

    /// Waits for the answer of the writer, which `nudge` sees to. `None`: it has ended.
    pub(crate) fn ask(&self, replacement: Replacement, nudge: impl FnOnce()) -> Option<Result<Repaired, Error>> {
        let (answer, outcome) = sync_channel(1);
        self.0.send(Request { replacement, answer }).ok()?;
        nudge();
        outcome.recv().ok()
    }
}
