//! Whose directory it is. A small text file, `FORMAT`, says that a store was created here completely; it appears, by a
//! rename, only after the first transaction is durable. What is not ours is never touched.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::filesystem::sync_directory;
use crate::format::rows::FORMAT_VERSION;
use crate::lock::LOCK_FILE;

/// The file of LMDB that holds the data.
pub(crate) const DATA_FILE: &str = "data.mdb";
const LMDB_LOCK_FILE: &str = "lock.mdb";
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_FILE_NEW: &str = "FORMAT.new";
/// A mount point of its own holds this on ext4.
const LOST_AND_FOUND: &str = "lost+found";
const MAGIC: &str = "balsa-store";
const ENGINE: &str = "lmdb";

/// What stands in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Nothing, or the rest of a creation that was cut off before anything was reported.
    Nothing,
    /// A complete store of this engine and version.
    Store,
}

/// Makes the directory and its missing parents, and flushes each directory that got a new entry.
pub(crate) fn create(dir: &Path) -> Result<(), Error> {
    let made: Vec<PathBuf> = dir.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    let make = || {
        fs::create_dir_all(dir)?;
        for path in &made {
            sync_directory(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        }
        Ok(())
    };
    make().map_err(|cause| unusable(dir, "cannot be created. Check its path and the rights of its parent", Some(cause)))
}

/// Tells what is there, without touching it.
pub(crate) fn inspect(dir: &Path) -> Result<Contents, Error> {
    match fs::read_to_string(dir.join(FORMAT_FILE)) {
        Ok(text) => check_format(dir, &text).map(|()| Contents::Store),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => check_empty(dir).map(|()| Contents::Nothing),
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => {
            Err(unusable(dir, "holds a file FORMAT that is not of Balsa. Choose an empty directory", None))
        }
        Err(cause) => Err(unusable(dir, "cannot be read. Check its owner, its mode and the mount", Some(cause))),
    }
}

fn check_format(dir: &Path, text: &str) -> Result<(), Error> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [MAGIC, version, engine] = words.as_slice() else {
        return Err(unusable(dir, "holds a file FORMAT that is not of Balsa. Choose an empty directory", None));
    };
    // Each engine counts its versions by itself.
    if *engine != ENGINE {
        return Err(Error::Format {
            dir: dir.to_owned(),
            reason: format!(
                "was written by the engine {engine}, and this is {ENGINE}. Open it with the store that wrote it \
                 (file: fileStore()), or choose an empty directory"
            ),
        });
    }
    if *version != FORMAT_VERSION.to_string() {
        return Err(Error::Format {
            dir: dir.to_owned(),
            reason: format!(
                "has format version {version}, and this Balsa reads version {FORMAT_VERSION} only. Run the Balsa that \
                 wrote it"
            ),
        });
    }
    Ok(())
}

fn check_empty(dir: &Path) -> Result<(), Error> {
    let interrupted = dir.join(FORMAT_FILE_NEW).exists();
    let ours = |name: &str| match name {
        LOCK_FILE | LOST_AND_FOUND | FORMAT_FILE_NEW => true,
        DATA_FILE | LMDB_LOCK_FILE => interrupted,
        _ => false,
    };
    let unreadable = |cause| unusable(dir, "cannot be read. Check its owner, its mode and the mount", Some(cause));
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        if !ours(&name) {
            return Err(unusable(
                dir,
                &format!("is not empty and not a store of Balsa (it holds {name}). Choose an empty directory"),
                None,
            ));
        }
    }
    Ok(())
}

/// Removes the rest of a creation that was cut off, and marks that one begins.
pub(crate) fn begin_creation(dir: &Path) -> Result<(), Error> {
    let begin = || {
        for name in [DATA_FILE, LMDB_LOCK_FILE] {
            match fs::remove_file(dir.join(name)) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        let mut file = fs::File::create(dir.join(FORMAT_FILE_NEW))?;
        writeln!(file, "{MAGIC} {FORMAT_VERSION} {ENGINE}")?;
        file.sync_all()?;
        sync_directory(dir)
    };
    begin().map_err(|cause| unusable(dir, "cannot be written. Check free space and the mount", Some(cause)))
}

/// Marks that the store is complete. The entry of data.mdb becomes durable before the mark does.
pub(crate) fn finish_creation(dir: &Path) -> Result<(), Error> {
    let finish = || {
        sync_directory(dir)?;
        fs::rename(dir.join(FORMAT_FILE_NEW), dir.join(FORMAT_FILE))?;
        sync_directory(dir)
    };
    finish().map_err(|cause| unusable(dir, "cannot be written. Check free space and the mount", Some(cause)))
}

fn unusable(dir: &Path, reason: &str, cause: Option<io::Error>) -> Error {
    Error::DirUnusable { dir: dir.to_owned(), reason: reason.to_owned(), cause }
}
