//! The environment of LMDB: how it is opened, how much of its file is in use, and what its errors mean to the store.
//!
//! What must hold: it runs with the default sync, so a commit that has returned is on the device; it is opened only
//! under the lock of the directory. The only unsafe code of the crate is here.

use std::path::Path;

use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};

use super::{DATA_FILE, READERS_FILE, reservation};
use crate::error::Error;
use crate::format::Damage;

/// A read transaction belongs to whoever holds it, not to a thread: reads run on any thread of libuv's pool.
pub(super) type Environment = Env<WithoutTls>;

/// The largest pool of libuv threads: each reads at most once at a time.
const READERS_MAX: u32 = 1024;
/// The table of readers: a line of the cache for each, and a page for what else is in it.
const READERS_BYTES: u64 = 1024 * 64 + 4096;

/// How a larger map is had.
const MAP_REMEDY: &str =
    "The option mapBytes of nativeStore(), or the environment variable BALSA_MAP_BYTES, sets its size.";

/// Opens or creates the environment in `dir`.
#[allow(unsafe_code)]
pub(super) fn open(dir: &Path, map_bytes: usize) -> Result<Environment, Error> {
    reservation::back(&dir.join(READERS_FILE), READERS_BYTES).map_err(|cause| Error::DirUnusable {
        dir: dir.to_owned(),
        reason: format!("{READERS_FILE} cannot be made, or has no room. Check free space, its mode and the mount"),
        cause: Some(cause),
    })?;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes).max_readers(READERS_MAX);
    // SAFETY: NO_READ_AHEAD is a hint to the kernel; none of the flags that give up syncing or locking is set.
    // Opening maps the file, which is sound as long as nobody else writes or shrinks it: the directory lock, taken
    // before and released after the environment is closed, keeps every other opener of ours out (of this process too),
    // and only LMDB writes the pages. `Reservation` extends the file, and never shrinks it.
    let opened = unsafe { options.flags(EnvFlags::NO_READ_AHEAD).open(dir) };
    opened.map_err(|error| lmdb_error(&dir.join(DATA_FILE), error))
}

/// The two at the front of the file.
const META_PAGES: u64 = 2;

/// The part of the file that pages have reached: it never falls.
pub(super) fn reached_bytes(environment: &Environment) -> u64 {
    let pages = u64::try_from(environment.info().last_page_number).unwrap_or(u64::MAX).saturating_add(1);
    pages.saturating_mul(page_bytes(environment))
}

/// Bytes of pages that hold something. The others are free, or list the free ones.
pub(super) fn used_bytes(environment: &Environment) -> u64 {
    let tree = environment.unnamed_database_stat();
    let pages = [tree.branch_pages, tree.leaf_pages, tree.overflow_pages];
    let pages = pages.iter().fold(META_PAGES, |sum, pages| sum + u64::try_from(*pages).unwrap_or(u64::MAX));
    pages.saturating_mul(page_bytes(environment))
}

pub(super) fn page_bytes(environment: &Environment) -> u64 {
    u64::from(environment.unnamed_database_stat().page_size)
}

/// Bytes of the file that may hold pages.
pub(super) fn map_bytes(environment: &Environment) -> u64 {
    u64::try_from(environment.info().map_size).unwrap_or(u64::MAX)
}

/// Damage, with the file it was met in.
pub(super) fn damaged(file: &Path, damage: Damage) -> Error {
    Error::Corrupt { file: file.to_owned(), index: damage.index, detail: damage.detail.to_owned() }
}

/// An error of LMDB as one of the store.
pub(super) fn lmdb_error(file: &Path, error: heed::Error) -> Error {
    match error {
        heed::Error::Io(cause) => Error::io(format!("LMDB on {}", file.display()), cause),
        heed::Error::Mdb(MdbError::MapFull) => Error::Full {
            detail: format!(
                "{} has reached the size of its map. Open it with a larger one: the log in it is whole. {MAP_REMEDY}",
                file.display()
            ),
        },
        heed::Error::EnvAlreadyOpened => Error::Locked {
            dir: file.parent().unwrap_or(file).to_owned(),
            holder: format!("this process ({})", std::process::id()),
        },
        heed::Error::Mdb(
            kind @ (MdbError::PageNotFound
            | MdbError::Corrupted
            | MdbError::Invalid
            | MdbError::VersionMismatch
            | MdbError::Incompatible
            | MdbError::BadValSize),
        ) => Error::Corrupt { file: file.to_owned(), index: None, detail: kind.to_string() },
        other => Error::io(format!("LMDB on {}", file.display()), std::io::Error::other(other)),
    }
}
