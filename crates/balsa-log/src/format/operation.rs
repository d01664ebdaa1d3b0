//! Operations: the steps of a ticket.

use super::snapshot::{SNAPSHOT_BYTES, Snapshot};
use super::{Damage, GROUP, POSITION_MAX, padded, read_size, read_u32, read_u64};

/// Bytes of an operation before its body.
pub const OPERATION_HEADER_BYTES: usize = 16;
/// The longest key of a fact, and the longest id of a server.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest value of a fact.
pub const VALUE_BYTES_MAX: usize = 4096;

const APPEND: u32 = 1;
const TRUNC_SUFFIX: u32 = 2;
const COMPACT: u32 = 3;
const HARDSTATE: u32 = 4;
const KV_PUT: u32 = 5;
const KV_DEL: u32 = 6;

/// One step of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Adds a sealed block behind the last entry.
    Append {
        /// The sealed bytes; not checked yet.
        block: &'a [u8],
    },
    /// Deletes every entry with index >= from.
    TruncateSuffix {
        /// The first index that goes.
        from: u64,
    },
    /// Lets the log stand on a snapshot.
    Compact(Compact<'a>),
    /// Replaces the hard state.
    HardState {
        /// The current term.
        term: u64,
        /// A lower bound of the commit index.
        commit: u64,
        /// Whom this server voted for in that term.
        voted_for: Option<&'a str>,
    },
    /// Sets a fact.
    Put {
        /// Its name.
        key: &'a str,
        /// Its value.
        value: &'a [u8],
    },
    /// Removes a fact.
    Delete {
        /// Its name.
        key: &'a str,
    },
}

/// From now on the log stands on that snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compact<'a> {
    /// The first entry that is kept, or that will be appended next.
    pub first: u64,
    /// The term of the entry before it; 0 where there is none.
    pub prev_term: u64,
    /// It is whole and durable.
    pub snapshot: Snapshot<&'a [u8]>,
    /// Whether the entries from `first` on stay. If not, none stays.
    pub keep_suffix: bool,
}

/// The operations of a ticket, in order. Ends after the first damage.
#[derive(Debug, Clone)]
pub struct Operations<'a> {
    rest: &'a [u8],
}

impl<'a> Operations<'a> {
    /// Reads a packed ticket.
    pub fn new(ticket: &'a [u8]) -> Self {
        Self { rest: ticket }
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = split(self.rest)
            .ok_or_else(|| Damage::new("an operation does not fit into its ticket, or its padding is not zero"))
            .and_then(|(code, group, body, rest)| {
                self.rest = rest;
                if group == GROUP { decode(code, body) } else { Err(Damage::new("only group 0 exists")) }
            });
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

fn split(bytes: &[u8]) -> Option<(u32, u64, &[u8], &[u8])> {
    let length = read_size(bytes, 4)?;
    let end = OPERATION_HEADER_BYTES.checked_add(length)?;
    let body = bytes.get(OPERATION_HEADER_BYTES..end)?;
    let next = padded(end)?;
    if bytes.get(end..next)?.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some((read_u32(bytes, 0)?, read_u64(bytes, 8)?, body, bytes.get(next..)?))
}

fn decode(code: u32, body: &[u8]) -> Result<Operation<'_>, Damage> {
    match code {
        APPEND => Ok(Operation::Append { block: body }),
        TRUNC_SUFFIX if body.len() == 8 => {
            let from = read_u64(body, 0).filter(|from| (1..=POSITION_MAX).contains(from));
            let from = from.ok_or_else(|| Damage::new("the index of TRUNC_SUFFIX is not in 1 to 2^53 - 1"))?;
            Ok(Operation::TruncateSuffix { from })
        }
        TRUNC_SUFFIX => Err(Damage::new("the body of TRUNC_SUFFIX is not 8 bytes")),
        COMPACT => compact(body).map(Operation::Compact),
        HARDSTATE => hard_state(body),
        KV_PUT => put(body),
        KV_DEL => Ok(Operation::Delete { key: name(body).ok_or(BAD_KEY)? }),
        _ => Err(Damage::new("an operation has a code that this version does not know")),
    }
}

const BAD_KEY: Damage = Damage { index: None, detail: "the key of a fact is not 1 to 255 bytes of UTF-8" };

fn name(bytes: &[u8]) -> Option<&str> {
    if (1..=NAME_BYTES_MAX).contains(&bytes.len()) { std::str::from_utf8(bytes).ok() } else { None }
}

/// Where the snapshot stands in the body of COMPACT, then whether the suffix is kept, then the configuration.
const SNAPSHOT_AT: usize = 16;
const KEEP_SUFFIX_AT: usize = SNAPSHOT_AT + SNAPSHOT_BYTES;
const CONFIGURATION_AT: usize = KEEP_SUFFIX_AT + 8;

fn compact(body: &[u8]) -> Result<Compact<'_>, Damage> {
    let cut_short = || Damage::new("COMPACT is cut short");
    let configuration = body.get(CONFIGURATION_AT..).ok_or_else(cut_short)?;
    let (first, prev_term) = read_u64(body, 0).zip(read_u64(body, 8)).ok_or_else(cut_short)?;
    if !(1..=POSITION_MAX).contains(&first) || prev_term > POSITION_MAX {
        return Err(Damage::new("the first index of COMPACT is not in 1 to 2^53 - 1, or the term before it is beyond"));
    }
    let keep_suffix = match read_u64(body, KEEP_SUFFIX_AT) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Damage::new("COMPACT says neither 0 nor 1 of whether it keeps the suffix")),
    };
    Ok(Compact { first, prev_term, snapshot: Snapshot::read(body, SNAPSHOT_AT, configuration)?, keep_suffix })
}

fn hard_state(body: &[u8]) -> Result<Operation<'_>, Damage> {
    let (Some(term), Some(commit), Some(id)) = (read_u64(body, 0), read_u64(body, 8), body.get(16..)) else {
        return Err(Damage::new("HARDSTATE is cut short"));
    };
    if term > POSITION_MAX || commit > POSITION_MAX {
        return Err(Damage::new("a term or index of HARDSTATE is beyond 2^53 - 1"));
    }
    let voted_for = if id.is_empty() {
        None
    } else {
        Some(name(id).ok_or_else(|| Damage::new("votedFor is not at most 255 bytes of UTF-8"))?)
    };
    Ok(Operation::HardState { term, commit, voted_for })
}

fn put(body: &[u8]) -> Result<Operation<'_>, Damage> {
    let key =
        read_size(body, 0).and_then(|length| body.get(4..length.checked_add(4)?)).and_then(name).ok_or(BAD_KEY)?;
    let value = body.get(4 + key.len()..).unwrap_or_default();
    if value.len() > VALUE_BYTES_MAX {
        return Err(Damage::new("the value of a fact is longer than 4096 bytes"));
    }
    Ok(Operation::Put { key, value })
}

/// Appends one packed operation to `ticket`. For tests and tools; the hot path packs tickets in JavaScript.
pub fn encode(ticket: &mut Vec<u8>, operation: &Operation<'_>) {
    let (code, body) = match operation {
        Operation::Append { block } => (APPEND, block.to_vec()),
        Operation::TruncateSuffix { from } => (TRUNC_SUFFIX, from.to_le_bytes().to_vec()),
        Operation::Compact(Compact { first, prev_term, snapshot, keep_suffix }) => {
            let mut body = first.to_le_bytes().to_vec();
            body.extend_from_slice(&prev_term.to_le_bytes());
            snapshot.write(&mut body);
            body.extend_from_slice(&u64::from(*keep_suffix).to_le_bytes());
            body.extend_from_slice(snapshot.configuration);
            (COMPACT, body)
        }
        Operation::HardState { term, commit, voted_for } => {
            let mut body = term.to_le_bytes().to_vec();
            body.extend_from_slice(&commit.to_le_bytes());
            body.extend_from_slice(voted_for.unwrap_or_default().as_bytes());
            (HARDSTATE, body)
        }
        Operation::Put { key, value } => {
            let mut body = u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
            body.extend_from_slice(key.as_bytes());
            body.extend_from_slice(value);
            (KV_PUT, body)
        }
        Operation::Delete { key } => (KV_DEL, key.as_bytes().to_vec()),
    };
    ticket.extend_from_slice(&code.to_le_bytes());
    ticket.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    ticket.extend_from_slice(&[0; 8]);
    ticket.extend_from_slice(&body);
    ticket.resize(ticket.len().next_multiple_of(8), 0);
}
