//! Blocks: sealing, checking and clipping. A block is sealed once by the leader; every server carries the same bytes,
//! and the store clips them only where a reader's range or a truncation cuts through.

use super::{Damage, POSITION_MAX, padded, read_size, read_u32, read_u64, write_u32};

/// Bytes of a block before its first record.
pub const BLOCK_HEADER_BYTES: usize = 24;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 32;
/// The largest payload of one entry.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The largest block: one entry with the largest payload.
pub const BLOCK_BYTES_MAX: usize = block_bytes(RECORD_HEADER_BYTES + PAYLOAD_BYTES_MAX, 1);

/// Kind of a command entry.
pub const KIND_COMMAND: u8 = 1;
/// Kind of a no-op entry.
pub const KIND_NOOP: u8 = 2;
/// Kind of a barrier entry.
pub const KIND_BARRIER: u8 = 3;
/// Kind of a configuration entry; it is alone in its block.
pub const KIND_CONFIGURATION: u8 = 4;

/// Flag of a command whose payload begins with a session header; the other flags have no meaning yet.
pub const FLAG_SESSION: u8 = 1;
/// Bytes of a session header.
pub const SESSION_HEADER_BYTES: usize = 24;

const COUNT_AT: usize = 16;
const BYTES_AT: usize = 20;
const RECORD_CRC_AT: usize = 4;
/// Where the part of a record begins that its CRC covers.
const RECORD_BODY_AT: usize = 8;

const fn block_bytes(records: usize, count: usize) -> usize {
    BLOCK_HEADER_BYTES + records + 4 * count + 4
}

/// What a checked block says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockInfo {
    /// The group whose log it belongs to.
    pub group: u64,
    /// Index of its first entry.
    pub first: u64,
    /// Index of its last entry.
    pub last: u64,
    /// The term of all its entries.
    pub term: u64,
    /// Whether it is one configuration entry.
    pub is_configuration: bool,
}

/// How much of a block is checked against a CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Structure and the CRC of the whole block.
    Block,
    /// That, and the CRC of every record.
    Records,
}

/// Where the parts of a block stand, by its header alone.
struct Layout {
    group: u64,
    /// Index of the first entry. Invariant: `first` >= 1, and the last index is at most `POSITION_MAX`.
    first: u64,
    /// Entries. Invariant: 1 or more.
    count: usize,
    /// Where the records end and the offset table begins.
    records_end: usize,
    /// Length of the whole block.
    total: usize,
}

fn layout(bytes: &[u8]) -> Result<Layout, Damage> {
    read_layout(bytes).ok_or_else(|| Damage::new("the block header does not fit its bytes"))
}

fn read_layout(bytes: &[u8]) -> Option<Layout> {
    let count = read_size(bytes, COUNT_AT)?;
    let records = read_size(bytes, BYTES_AT)?;
    let first = read_u64(bytes, 8)?;
    let last = first.checked_add(u64::try_from(count).ok()?.checked_sub(1)?)?;
    if first == 0 || last > POSITION_MAX || records % 8 != 0 {
        return None;
    }
    let records_end = BLOCK_HEADER_BYTES.checked_add(records)?;
    let total = records_end.checked_add(count.checked_mul(4)?)?.checked_add(4)?;
    Some(Layout { group: read_u64(bytes, 0)?, first, count, records_end, total })
}

/// The length of the block that begins at `at`, by its header alone.
pub(crate) fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(read_layout(bytes.get(at..)?)?.total)
}

/// The index of the last entry, by the header alone.
pub(crate) fn last_index(bytes: &[u8]) -> Option<u64> {
    let layout = read_layout(bytes)?;
    layout.first.checked_add(u64::try_from(layout.count).ok()?)?.checked_sub(1)
}

/// One record of a block whose layout is known.
struct Record {
    /// Where its payload ends and its padding begins.
    payload_end: usize,
    /// Where the next record begins. Invariant: `payload_end` <= `next` <= `records_end`.
    next: usize,
    index: u64,
    term: u64,
    kind: u8,
    flags: u8,
    milliseconds: u64,
}

fn record_at(bytes: &[u8], at: usize, records_end: usize) -> Option<Record> {
    let payload = read_size(bytes, at)?;
    if payload > PAYLOAD_BYTES_MAX {
        return None;
    }
    let payload_end = at.checked_add(RECORD_HEADER_BYTES)?.checked_add(payload)?;
    let next = at.checked_add(padded(RECORD_HEADER_BYTES.checked_add(payload)?)?)?;
    if next > records_end {
        return None;
    }
    Some(Record {
        payload_end,
        next,
        index: read_u64(bytes, at.checked_add(8)?)?,
        term: read_u64(bytes, at.checked_add(16)?)?,
        kind: *bytes.get(at.checked_add(24)?)?,
        flags: *bytes.get(at.checked_add(25)?)?,
        milliseconds: read_u64(bytes, at.checked_add(24)?)? >> 16,
    })
}

/// Whether the flags have a meaning on a record of that kind and length, which begins at `at`.
fn flags_known(at: usize, record: &Record) -> bool {
    let payload = record.payload_end.saturating_sub(at).saturating_sub(RECORD_HEADER_BYTES);
    match record.flags {
        0 => true,
        FLAG_SESSION => record.kind == KIND_COMMAND && payload >= SESSION_HEADER_BYTES,
        _ => false,
    }
}

fn record_crc(bytes: &[u8], at: usize, record: &Record) -> Option<u32> {
    Some(crc32c::crc32c(bytes.get(at.checked_add(RECORD_BODY_AT)?..record.payload_end)?))
}

/// Walks the records of a block, checks each one's header, and hands it to `visit`.
fn walk(
    bytes: &[u8],
    layout: &Layout,
    mut visit: impl FnMut(usize, u64, &Record) -> Result<(), Damage>,
) -> Result<BlockInfo, Damage> {
    let mut at = BLOCK_HEADER_BYTES;
    let mut index = layout.first;
    let mut term = 0;
    let mut milliseconds = 0;
    let mut is_configuration = false;
    for position in 0..layout.count {
        let record = record_at(bytes, at, layout.records_end)
            .ok_or_else(|| Damage::at(index, "a record does not fit into its block"))?;
        if record.index != index {
            return Err(Damage::at(index, "indexes inside a block do not rise by one"));
        }
        if position == 0 {
            term = record.term;
        }
        if record.term != term || term == 0 || term > POSITION_MAX {
            return Err(Damage::at(index, "a block does not have one valid term"));
        }
        if !(KIND_COMMAND..=KIND_CONFIGURATION).contains(&record.kind) || !flags_known(at, &record) {
            return Err(Damage::at(index, "a record has an unknown kind or flag"));
        }
        if record.milliseconds < milliseconds {
            return Err(Damage::at(index, "entry times inside a block go back"));
        }
        milliseconds = record.milliseconds;
        if record.kind == KIND_CONFIGURATION {
            if layout.count != 1 {
                return Err(Damage::at(index, "a configuration entry is not alone in its block"));
            }
            is_configuration = true;
        }
        if bytes.get(record.payload_end..record.next).is_none_or(|padding| padding.iter().any(|byte| *byte != 0)) {
            return Err(Damage::at(index, "the padding of a record is not zero"));
        }
        visit(at, index, &record)?;
        at = record.next;
        index += 1;
    }
    if at != layout.records_end {
        return Err(Damage::new("the records of a block do not fill it"));
    }
    Ok(BlockInfo { group: layout.group, first: layout.first, last: index - 1, term, is_configuration })
}

/// Checks a sealed block that fills `bytes` exactly. The damage names the first entry that is bad, when that can be
/// told.
pub fn check(bytes: &[u8], depth: Depth) -> Result<BlockInfo, Damage> {
    let layout = layout(bytes)?;
    if layout.total != bytes.len() {
        return Err(Damage::new("the length of a block is not what its header says"));
    }
    let sealed = bytes.len().checked_sub(4).and_then(|end| Some((bytes.get(..end)?, read_u32(bytes, end)?)));
    let intact = sealed.is_some_and(|(body, crc)| crc32c::crc32c(body) == crc);
    // A block that fails as a whole is walked record by record, only to name the entry.
    let every_record = depth == Depth::Records || !intact;
    let mut table = layout.records_end;
    let info = walk(bytes, &layout, |at, index, record| {
        if every_record && record_crc(bytes, at, record) != read_u32(bytes, at + RECORD_CRC_AT) {
            return Err(Damage::at(index, "the checksum of a record is wrong"));
        }
        if read_size(bytes, table) != Some(at) {
            return Err(Damage::at(index, "the offset table of a block is wrong"));
        }
        table += 4;
        Ok(())
    })?;
    if intact { Ok(info) } else { Err(Damage::at(info.first, "the checksum of a block is wrong")) }
}

/// Completes the block whose header and records stand in `arena` at `offset`: record CRCs, offset table, block CRC.
/// Returns the length of the sealed block.
pub fn seal(arena: &mut [u8], offset: usize) -> Result<usize, Damage> {
    let bytes = arena.get_mut(offset..).ok_or_else(|| Damage::new("the offset is beyond the arena"))?;
    let layout = layout(bytes)?;
    let bytes =
        bytes.get_mut(..layout.total).ok_or_else(|| Damage::new("the arena has no room for the sealed block"))?;
    let mut at = BLOCK_HEADER_BYTES;
    let mut table = layout.records_end;
    walk(bytes, &layout, |_, _, _| Ok(()))?;
    for _ in 0..layout.count {
        at = seal_record(bytes, at, table, layout.records_end)
            .ok_or_else(|| Damage::new("a record does not fit into its block"))?;
        table += 4;
    }
    seal_block(bytes, table).ok_or_else(|| Damage::new("the arena has no room for the sealed block"))?;
    Ok(layout.total)
}

fn seal_record(bytes: &mut [u8], at: usize, table: usize, records_end: usize) -> Option<usize> {
    let record = record_at(bytes, at, records_end)?;
    let crc = record_crc(bytes, at, &record)?;
    write_u32(bytes, at + RECORD_CRC_AT, crc)?;
    write_u32(bytes, table, u32::try_from(at).ok()?)?;
    Some(record.next)
}

fn seal_block(bytes: &mut [u8], crc_at: usize) -> Option<()> {
    let crc = crc32c::crc32c(bytes.get(..crc_at)?);
    write_u32(bytes, crc_at, crc)
}

/// The payload of the only entry of a checked block; empty if the block is not one.
pub fn only_payload(bytes: &[u8]) -> &[u8] {
    read_layout(bytes)
        .and_then(|layout| record_at(bytes, BLOCK_HEADER_BYTES, layout.records_end))
        .and_then(|record| bytes.get(BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES..record.payload_end))
        .unwrap_or_default()
}

/// Where the entries `lo .. hi` of a checked block stand: (start, end) of their records.
fn span(bytes: &[u8], layout: &Layout, lo: u64, hi: u64) -> Option<(usize, usize)> {
    let start = usize::try_from(lo.checked_sub(layout.first)?).ok()?;
    let end = usize::try_from(hi.checked_sub(layout.first)?).ok()?;
    if start >= end || end > layout.count {
        return None;
    }
    let offset = |position: usize| read_size(bytes, layout.records_end.checked_add(position.checked_mul(4)?)?);
    Some((offset(start)?, if end == layout.count { layout.records_end } else { offset(end)? }))
}

/// Length of the sealed block that `clip` makes of the entries `lo .. hi` of a checked block.
pub fn clipped_bytes(bytes: &[u8], lo: u64, hi: u64) -> Option<usize> {
    let layout = read_layout(bytes)?;
    let (start, end) = span(bytes, &layout, lo, hi)?;
    Some(block_bytes(end.checked_sub(start)?, usize::try_from(hi - lo).ok()?))
}

/// Writes the entries `lo .. hi` of a checked block into the front of `out` as a sealed block of their own. The
/// records, with their CRCs, are carried unchanged. `None` when the range is not inside the block or `out` is too
/// small.
pub fn clip(bytes: &[u8], lo: u64, hi: u64, out: &mut [u8]) -> Option<usize> {
    let layout = read_layout(bytes)?;
    let (start, end) = span(bytes, &layout, lo, hi)?;
    let count = usize::try_from(hi - lo).ok()?;
    let records = end.checked_sub(start)?;
    let total = block_bytes(records, count);
    let out = out.get_mut(..total)?;
    out.get_mut(..8)?.copy_from_slice(&layout.group.to_le_bytes());
    out.get_mut(8..16)?.copy_from_slice(&lo.to_le_bytes());
    write_u32(out, COUNT_AT, u32::try_from(count).ok()?)?;
    write_u32(out, BYTES_AT, u32::try_from(records).ok()?)?;
    let records_end = BLOCK_HEADER_BYTES + records;
    out.get_mut(BLOCK_HEADER_BYTES..records_end)?.copy_from_slice(bytes.get(start..end)?);
    let moved = start.checked_sub(BLOCK_HEADER_BYTES)?;
    let table = layout.records_end + 4 * usize::try_from(lo - layout.first).ok()?;
    for position in 0..count {
        let from = read_size(bytes, table + 4 * position)?;
        write_u32(out, records_end + 4 * position, u32::try_from(from.checked_sub(moved)?).ok()?)?;
    }
    seal_block(out, total - 4)?;
    Some(total)
}

/// Lays out an unsealed block: header and records with zero CRCs, and room for the table. For tests and tools; the hot
/// path lays blocks out in JavaScript and calls [`seal`].
pub fn lay_out(first: u64, term: u64, entries: &[(u8, u64, &[u8])]) -> Vec<u8> {
    let mut records = Vec::new();
    for (index, (kind, milliseconds, payload)) in (first..).zip(entries) {
        records.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        records.extend_from_slice(&[0; 4]);
        records.extend_from_slice(&index.to_le_bytes());
        records.extend_from_slice(&term.to_le_bytes());
        records.extend_from_slice(&[*kind, 0]);
        records.extend(milliseconds.to_le_bytes().into_iter().take(6));
        records.extend_from_slice(payload);
        records.resize(records.len().next_multiple_of(8), 0);
    }
    let mut block = Vec::with_capacity(block_bytes(records.len(), entries.len()));
    block.extend_from_slice(&[0; 8]);
    block.extend_from_slice(&first.to_le_bytes());
    block.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    block.extend_from_slice(&u32::try_from(records.len()).unwrap_or(u32::MAX).to_le_bytes());
    block.extend_from_slice(&records);
    block.resize(block_bytes(records.len(), entries.len()), 0);
    block
}
