//! The bytes that the wire and every home of the log share (docs/storage-format.md): blocks, operations, and what a
//! snapshot covers. Nothing outside this module knows an offset in them.

pub mod block;
pub mod operation;
pub mod snapshot;

/// The only group there is; blocks, operations and keys carry it, so that more can come.
pub(crate) const GROUP: u64 = 0;

/// The largest index or term: JavaScript's largest safe integer.
pub const POSITION_MAX: u64 = (1 << 53) - 1;

/// Bytes that are not what their format demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The entry that is damaged, when it can be told.
    pub index: Option<u64>,
    /// The broken rule.
    pub detail: &'static str,
}

impl Damage {
    pub(crate) fn new(detail: &'static str) -> Self {
        Self { index: None, detail }
    }

    pub(crate) fn at(index: u64, detail: &'static str) -> Self {
        Self { index: Some(index), detail }
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    take(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    take(bytes, at).map(u64::from_le_bytes)
}

pub(crate) fn read_u64_be(bytes: &[u8], at: usize) -> Option<u64> {
    take(bytes, at).map(u64::from_be_bytes)
}

/// A u32 that is a length.
pub(crate) fn read_size(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(read_u32(bytes, at)?).ok()
}

/// How long `bytes` are, as the format counts.
pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn write_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    bytes.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&value.to_le_bytes());
    Some(())
}

/// The next multiple of 8.
fn padded(length: usize) -> Option<usize> {
    length.checked_next_multiple_of(8)
}
