//! Whether the files of an open store still stand under their names. A deleted or replaced file goes on taking writes,
//! flushes and all, and nobody would find them again; a deleted lock file keeps nobody out.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;

/// How long a loss may go unnoticed: rare enough not to matter, soon enough that little is acknowledged meanwhile.
pub(crate) const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The files as they were when the store was opened.
pub(crate) struct Watch {
    /// Absolute: a process may change its working directory.
    dir: PathBuf,
    files: Vec<(PathBuf, FileId)>,
    due: Instant,
}

impl Watch {
    /// Takes note of the files of these names, which are open and stay so: their inodes go to no other file.
    pub(crate) fn new(dir: &Path, names: &[&str]) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let files = names
            .iter()
            .map(|name| {
                let path = dir.join(name);
                let id = id_of(&std::fs::metadata(&path)?);
                Ok((path, id))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { dir, files, due: Instant::now() + WATCH_EVERY })
    }

    /// Looks, if it is time. Fails when a file is gone, or another one has its name.
    pub(crate) fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if now < self.due {
            return Ok(());
        }
        self.due = now + WATCH_EVERY;
        self.look_now()
    }

    /// Looks, whenever it did so last.
    pub(crate) fn look_now(&self) -> Result<(), Error> {
        match self.files.iter().find(|(path, id)| is_lost(path, *id)) {
            Some((file, _)) => Err(Error::Gone { dir: self.dir.clone(), file: file.clone() }),
            None => Ok(()),
        }
    }
}

/// A look that fails in another way, such as for want of rights, says nothing about the file.
fn is_lost(path: &Path, id: FileId) -> bool {
    match std::fs::metadata(path) {
        Ok(found) => id_of(&found) != id,
        Err(cause) => matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

/// Device and inode.
#[cfg(unix)]
type FileId = (u64, u64);
/// Where a file in use can be neither deleted nor replaced, it is enough that there is one.
#[cfg(not(unix))]
type FileId = ();

#[cfg(unix)]
fn id_of(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn id_of(_metadata: &Metadata) -> FileId {}
