//! What a snapshot covers, as COMPACT and the row of the snapshot say it. The snapshot itself is no business of the
//! store: it only remembers on what the log stands.

use super::block::PAYLOAD_BYTES_MAX;
use super::{Damage, POSITION_MAX, read_u64};

/// Bytes before the payload of its configuration.
pub(crate) const SNAPSHOT_BYTES: usize = 48;

/// What a snapshot covers: every entry up to `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot<Payload> {
    /// The last entry that it covers; 1 or more.
    pub index: u64,
    /// The term of that entry; 1 or more.
    pub term: u64,
    /// The time of that entry, in milliseconds since 1970.
    pub time: u64,
    /// The entry from which the configuration in force at `index` came.
    pub configuration_index: u64,
    /// Drawn at random by whoever made it.
    pub id: [u8; 16],
    /// That configuration, as its entry carried it. Its bytes are read by others.
    pub configuration: Payload,
}

impl<'a> Snapshot<&'a [u8]> {
    /// Reads what stands in `bytes` at `at`, with the configuration that stands elsewhere.
    pub(crate) fn read(bytes: &[u8], at: usize, configuration: &'a [u8]) -> Result<Self, Damage> {
        let fields = bytes.get(at..).and_then(|bytes| Self::fields(bytes, configuration));
        let read = fields.ok_or_else(|| Damage::new("what a snapshot covers is cut short"))?;
        let numbers = [read.index, read.term, read.time, read.configuration_index];
        if read.index == 0 || read.term == 0 || numbers.iter().any(|number| *number > POSITION_MAX) {
            return Err(Damage::new("a number of a snapshot is not in 1 to 2^53 - 1"));
        }
        if configuration.is_empty() || configuration.len() > PAYLOAD_BYTES_MAX {
            return Err(Damage::new("the configuration of a snapshot is not 1 byte to 1 MiB"));
        }
        Ok(read)
    }

    fn fields(bytes: &[u8], configuration: &'a [u8]) -> Option<Self> {
        Some(Self {
            index: read_u64(bytes, 0)?,
            term: read_u64(bytes, 8)?,
            time: read_u64(bytes, 16)?,
            configuration_index: read_u64(bytes, 24)?,
            id: bytes.get(32..SNAPSHOT_BYTES)?.try_into().ok()?,
            configuration,
        })
    }

    /// The same, with a copy of the configuration.
    pub(crate) fn owned(&self) -> Snapshot<Vec<u8>> {
        let Self { index, term, time, configuration_index, id, configuration } = *self;
        Snapshot { index, term, time, configuration_index, id, configuration: configuration.to_vec() }
    }
}

impl<Payload> Snapshot<Payload> {
    /// Appends everything but the configuration.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        for number in [self.index, self.term, self.time, self.configuration_index] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.id);
    }
}
