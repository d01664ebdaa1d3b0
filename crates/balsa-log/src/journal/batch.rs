//! The bytes of a batch (docs/storage-format.md, journal): what one write puts on the device. Nothing outside this file
//! knows an offset in it.
//!
//! A batch names its place, so that one which a device puts elsewhere is no batch there; and its store, so that what an
//! earlier store left in a file is none here.

use crate::format::{read_size, read_u32, read_u64};

/// Batches begin at multiples of this and fill whole ones: what a device writes at once.
pub(super) const SECTOR_BYTES: usize = 4096;
/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 40;

const MAGIC: u32 = u32::from_le_bytes(*b"blsj");
/// The group commit goes on in the next batch: alone this one is nothing.
const GOES_ON: u32 = 1;
const CRC_AT: usize = 36;

/// What the header says besides lengths and checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Drawn when the journal was made.
    pub(super) salt: u64,
    /// One more than that of the batch before.
    pub(super) sequence: u64,
    /// The checksum of the batch before; 0 for the first.
    pub(super) previous: u32,
    /// Whether the group commit goes on in the next batch.
    pub(super) goes_on: bool,
}

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the segment.
    pub(super) segment: u32,
    /// Byte in it.
    pub(super) offset: u64,
}

/// A batch that was found intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) head: Head,
    pub(super) body: &'a [u8],
    /// Its own checksum, which the next one repeats.
    pub(super) crc: u32,
}

/// Length of the batch with this body, padding included.
pub(super) fn batch_bytes(body: usize) -> usize {
    (HEADER_BYTES + body).next_multiple_of(SECTOR_BYTES)
}

/// Seals the batch in `bytes`, whose body is there already, `body` bytes of it, and whose rest is zero; answers with its
/// checksum. `None`: the bytes are not as long as such a batch.
pub(super) fn seal(bytes: &mut [u8], body: usize, head: &Head, place: Place) -> Option<u32> {
    if bytes.len() != batch_bytes(body) {
        return None;
    }
    let mut header = [0; HEADER_BYTES];
    let fields = [
        (0, MAGIC),
        (4, u32::try_from(bytes.len()).ok()?),
        (24, if head.goes_on { GOES_ON } else { 0 }),
        (28, u32::try_from(body).ok()?),
        (32, head.previous),
    ];
    for (at, value) in fields {
        header.get_mut(at..at + 4)?.copy_from_slice(&value.to_le_bytes());
    }
    header.get_mut(8..16)?.copy_from_slice(&head.sequence.to_le_bytes());
    header.get_mut(16..24)?.copy_from_slice(&head.salt.to_le_bytes());
    let crc = crc(header.get(..CRC_AT)?, bytes.get(HEADER_BYTES..HEADER_BYTES + body)?, place);
    header.get_mut(CRC_AT..)?.copy_from_slice(&crc.to_le_bytes());
    bytes.get_mut(..HEADER_BYTES)?.copy_from_slice(&header);
    Some(crc)
}

/// The length that a batch of this store at the front of `bytes` claims; `None`: it does not look like one.
pub(super) fn claimed_bytes(bytes: &[u8], salt: u64) -> Option<usize> {
    if read_u32(bytes, 0)? != MAGIC || read_u64(bytes, 16)? != salt {
        return None;
    }
    let body = read_size(bytes, 28)?;
    let length = read_size(bytes, 4)?;
    (body <= length && length == batch_bytes(body)).then_some(length)
}

/// The intact batch at the front of `bytes`, which hold as much as it claims.
pub(super) fn find(bytes: &[u8], salt: u64, place: Place) -> Option<Found<'_>> {
    claimed_bytes(bytes, salt)?;
    let body = bytes.get(HEADER_BYTES..)?.get(..read_size(bytes, 28)?)?;
    let sealed = read_u32(bytes, CRC_AT)?;
    let flags = read_u32(bytes, 24)?;
    if flags & !GOES_ON != 0 || sealed != crc(bytes.get(..CRC_AT)?, body, place) {
        return None;
    }
    let head =
        Head { salt, sequence: read_u64(bytes, 8)?, previous: read_u32(bytes, 32)?, goes_on: flags & GOES_ON != 0 };
    Some(Found { head, body, crc: sealed })
}

fn crc(header: &[u8], body: &[u8], place: Place) -> u32 {
    let place_crc = crc32c::crc32c_append(crc32c::crc32c(&place.segment.to_le_bytes()), &place.offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place_crc, header), body)
}
