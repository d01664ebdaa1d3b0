//! LMDB as the home of the log. Everything that knows LMDB, or heed through which it is called, is in this folder;
//! what stands above asks for what [`Home`] and [`Reader`] offer.
//!
//! | file | what it holds |
//! |---|---|
//! | `home` | what the writer asks: open, reserve room, apply a plan in one transaction, mark a boot and a close |
//! | `reader` | what reads ask, on any thread |
//! | `transaction` | the steps of a plan as one LMDB transaction |
//! | `repair` | a damaged block is replaced by blocks of the same entries |
//! | `sweep` | the removal of blocks that compactions have left behind |
//! | `load` | what an open reads, and how it is checked |
//! | `reservation` | room on the device, taken before a transaction |
//! | `audit` `pages` | whether the pages of the file fit together, before LMDB maps it |
//! | `survey` | everything that is damaged in the file, and what is lost by it |
//! | `tree` | the one tree of rows, and how single rows are read and checked |
//! | `rows` | the bytes of keys and rows |
//! | `environment` | LMDB's environment and errors; the only unsafe code |

mod audit;
mod environment;
mod home;
mod load;
#[cfg(test)]
mod misfits;
mod pages;
mod reader;
mod repair;
mod reservation;
mod rows;
mod survey;
mod sweep;
mod transaction;
mod tree;

pub(crate) use home::{Home, Stored};
pub(crate) use reader::Reader;
pub(crate) use survey::{Surveyed, survey};

use crate::directory::{Engine, Mark};
use crate::journal::SEGMENT_PREFIX;

/// The file of LMDB that holds the data.
pub(crate) const DATA_FILE: &str = "data.mdb";
/// LMDB's table of readers.
const READERS_FILE: &str = "lock.mdb";

/// A store whose only home is LMDB.
pub(crate) const ENGINE: Engine = Engine {
    name: "lmdb",
    version: rows::FORMAT_VERSION,
    files: &[DATA_FILE, READERS_FILE],
    prefix: None,
    // The magic number of LMDB's first meta page.
    mark: Mark { file: DATA_FILE, offset: 16, bytes: &0xBEEF_C0DE_u32.to_le_bytes() },
};

/// One with a journal in front of it.
pub(crate) const JOURNAL_ENGINE: Engine =
    Engine { name: "journal", version: 1, prefix: Some(SEGMENT_PREFIX), ..ENGINE };

/// Device flushes of one transaction: of the pages, then of the meta page.
pub(crate) const FLUSHES_PER_TRANSACTION: u64 = 2;

/// Bound of the data file. Address space, not disk; never resized while open.
#[cfg(target_pointer_width = "64")]
pub(crate) const MAP_BYTES: usize = 64 << 30;
#[cfg(not(target_pointer_width = "64"))]
pub(crate) const MAP_BYTES: usize = 1 << 30;
