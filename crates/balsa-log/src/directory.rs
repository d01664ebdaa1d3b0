//! Whose directory it is. A small text file, `FORMAT`, says that a store was created here completely; it appears, by a
//! rename, only after the first transaction is durable. What is not ours is never touched.

use std::fmt::Display;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, NEVER_EMPTY};
use crate::filesystem::sync_directory;
use crate::lock::LOCK_FILE;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_FILE_NEW: &str = "FORMAT.new";
/// A mount point of its own holds this on ext4.
const LOST_AND_FOUND: &str = "lost+found";
/// Where the TypeScript side keeps snapshots.
const SNAPSHOTS_DIR: &str = "snapshots";
/// The first word of `FORMAT`; the version and the name of the engine follow.
const MAGIC: &str = "balsa-store";

/// What writes a store, as its directory shows it.
pub(crate) struct Engine {
    /// Its name in `FORMAT`.
    pub(crate) name: &'static str,
    /// The version of its format that this build writes, and the only one that it reads. Each engine counts its own.
    pub(crate) version: u32,
    /// The files that it makes there.
    pub(crate) files: &'static [&'static str],
    /// What the names of others begin with, of which it makes as many as it needs.
    pub(crate) prefix: Option<&'static str>,
    /// By what its data is known when `FORMAT` is lost.
    pub(crate) mark: Mark,
}

/// Bytes at a fixed place of a file.
pub(crate) struct Mark {
    pub(crate) file: &'static str,
    pub(crate) offset: u64,
    pub(crate) bytes: &'static [u8],
}

/// The store of the TypeScript side: nothing of it is read here but its mark.
const FILE_ENGINE: Engine = Engine {
    name: "file",
    version: 2,
    files: &["log", "segment-00000001"],
    prefix: None,
    mark: Mark { file: "log", offset: 0, bytes: b"balsalog" },
};

/// Engines that open what each other wrote; the first one is asked for.
pub(crate) type Engines = &'static [&'static Engine];

impl Engine {
    /// Whether a file of this name is one that it makes.
    fn makes(&self, name: &str) -> bool {
        self.files.contains(&name) || self.prefix.is_some_and(|prefix| name.starts_with(prefix))
    }

    /// Why a store of the version `found` is not opened.
    pub(crate) fn wrong_version(&self, dir: &Path, found: impl Display) -> Error {
        Error::Format {
            dir: dir.to_owned(),
            reason: format!(
                "has format version {found}, and this Balsa reads version {} only. Run the Balsa that wrote it",
                self.version
            ),
        }
    }
}

/// What a store takes over from the one in whose place it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// By what peers know it.
    pub incarnation: [u8; 16],
    /// That of the last boot: the open that makes the store counts one more.
    pub boot_counter: u64,
    /// Stands behind the engine in `FORMAT`, without white space: with it every open refuses the store, until whoever makes
    /// it has written another `FORMAT`.
    pub mark: String,
}

/// What stands in a directory.
#[derive(Clone, Copy)]
pub(crate) enum Contents {
    /// Nothing, or the rest of a creation that was cut off before anything was reported.
    Nothing,
    /// A complete store of this engine.
    Store(&'static Engine),
}

/// Makes the directory and its missing parents, and flushes each directory that got a new entry.
pub(crate) fn make(dir: &Path) -> Result<(), Error> {
    let made: Vec<PathBuf> = dir.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    let make_all = || {
        fs::create_dir_all(dir)?;
        for path in &made {
            sync_directory(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        }
        Ok(())
    };
    make_all()
        .map_err(|cause| unusable(dir, "cannot be created. Check its path and the rights of its parent", Some(cause)))
}

/// Tells what is there, without touching it: the engine asked for, which is the first, or another one that it opens.
pub(crate) fn inspect(dir: &Path, engines: Engines) -> Result<Contents, Error> {
    match fs::read_to_string(dir.join(FORMAT_FILE)) {
        Ok(text) => check_format(dir, engines, &text).map(Contents::Store),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => check_empty(dir, engines).map(|()| Contents::Nothing),
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => Err(strange_format(dir, engines)),
        Err(cause) => Err(unusable(dir, "cannot be read. Check its owner, its mode and the mount", Some(cause))),
    }
}

fn check_format(dir: &Path, engines: Engines, text: &str) -> Result<&'static Engine, Error> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [MAGIC, version, writer] = words.as_slice() else {
        return Err(if words.is_empty() {
            lost_format(dir, engines, "is empty")
        } else {
            strange_format(dir, engines)
        });
    };
    let Some(engine) = engines.iter().find(|engine| engine.name == *writer) else {
        return Err(Error::Format {
            dir: dir.to_owned(),
            reason: format!(
                "was written by the engine {writer}, and this is {}. Open it with the store that wrote it \
                 (file: fileStore())",
                engines.iter().map(|engine| engine.name).collect::<Vec<_>>().join(" and ")
            ),
        });
    };
    if *version != engine.version.to_string() {
        return Err(engine.wrong_version(dir, version));
    }
    Ok(engine)
}

fn check_empty(dir: &Path, engines: Engines) -> Result<(), Error> {
    let interrupted = dir.join(FORMAT_FILE_NEW).exists();
    let ours = |name: &str| match name {
        LOCK_FILE | LOST_AND_FOUND | FORMAT_FILE_NEW => true,
        name => interrupted && engines.iter().any(|engine| engine.makes(name)),
    };
    let unreadable = |cause| unusable(dir, "cannot be read. Check its owner, its mode and the mount", Some(cause));
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        if !ours(&name) {
            return Err(match remains(dir, engines) {
                Some(_) => lost_format(dir, engines, "is missing"),
                None if name == SNAPSHOTS_DIR => lost_log(dir),
                None => foreign(dir, &format!("is not empty and not a store of Balsa (it holds {name})")),
            });
        }
    }
    Ok(())
}

/// The engine whose data stands there, as far as its mark tells. Of two with the same mark, the one whose other files are
/// there as well: what they hold is in no other file.
fn remains(dir: &Path, engines: Engines) -> Option<&'static Engine> {
    let found = |known: &Engine| {
        let Mark { file, offset, bytes } = known.mark;
        let mut read = vec![0; bytes.len()];
        let mut open = fs::File::open(dir.join(file))?;
        open.seek(SeekFrom::Start(offset))?;
        open.read_exact(&mut read).map(|()| read == bytes)
    };
    let has_others = |prefix: &str| {
        let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
    };
    let (with_others, alone): (Vec<&Engine>, Vec<&Engine>) = engines.iter().partition(|engine| engine.prefix.is_some());
    let known = with_others.into_iter().filter(|engine| engine.prefix.is_some_and(has_others)).chain(alone);
    known.chain([&FILE_ENGINE]).find(|known| found(known).unwrap_or(false))
}

/// `FORMAT` says nothing. What it stood for may all be there: nobody may be sent to begin anew.
fn lost_format(dir: &Path, engines: Engines, how: &str) -> Error {
    let Some(Engine { name, version, mark, .. }) = remains(dir, engines) else {
        return foreign(dir, &format!("holds a file FORMAT that {how}, and no data of Balsa"));
    };
    let reason = format!(
        "holds {} but its file FORMAT {how}. If a server of Balsa ran here, its data is still there: write FORMAT again, \
         the one line \"{MAGIC} {version} {name}\", and start again. {NEVER_EMPTY} If none did, the directory belongs to \
         something else",
        mark.file
    );
    unusable(dir, &reason, None)
}

/// Snapshots are made only beside a log.
fn lost_log(dir: &Path) -> Error {
    let reason = format!(
        "holds the directory {SNAPSHOTS_DIR} of a server, and no log: its log is lost, or lies elsewhere. Put its other \
         files back, as they were when it last ran. {NEVER_EMPTY} Only if no server of Balsa ran here, or it was removed \
         from its cluster, move {SNAPSHOTS_DIR} away and start again"
    );
    unusable(dir, &reason, None)
}

fn strange_format(dir: &Path, engines: Engines) -> Error {
    match remains(dir, engines) {
        Some(_) => lost_format(dir, engines, "is not of Balsa"),
        None => foreign(dir, "holds a file FORMAT that is not of Balsa"),
    }
}

fn foreign(dir: &Path, reason: &str) -> Error {
    unusable(dir, &format!("{reason}. Choose an empty directory"), None)
}

/// Creates a store with `make`, which leaves its files durable, under a mark that tells a creation cut off from a
/// foreign directory. The rest of one that was cut off is removed first. `mark` stands behind the name of the engine.
pub(crate) fn create_store<T>(
    dir: &Path,
    engine: &Engine,
    mark: &str,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let unwritable = |cause| unusable(dir, "cannot be written. Check free space and the mount", Some(cause));
    begin_creation(dir, engine, mark).map_err(unwritable)?;
    let made = make()?;
    finish_creation(dir).map_err(unwritable)?;
    Ok(made)
}

/// From now on a store is of this engine, durably: what its files say is what that engine expects.
pub(crate) fn convert(dir: &Path, engine: &Engine) -> Result<(), Error> {
    let rename = || {
        write_format(dir, engine, "")?;
        finish_creation(dir)
    };
    rename().map_err(|cause| unusable(dir, "cannot be written. Check free space and the mount", Some(cause)))
}

/// Where there is a store: the entries of the directory become durable, which a process that was killed may have left in
/// the cache, `FORMAT` among them. What is left of a conversion that was cut off is removed: without `FORMAT`, should that
/// be lost one day, it would pass for a creation that was cut off, and that is done again from the start.
pub(crate) fn settle(dir: &Path) -> Result<(), Error> {
    let settled = match fs::remove_file(dir.join(FORMAT_FILE_NEW)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => sync_directory(dir),
    };
    settled.map_err(|cause| unusable(dir, "cannot be written. Check its owner, its mode and the mount", Some(cause)))
}

fn begin_creation(dir: &Path, engine: &Engine, mark: &str) -> io::Result<()> {
    for name in engine.files {
        match fs::remove_file(dir.join(name)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
    }
    write_format(dir, engine, mark)?;
    sync_directory(dir)
}

fn write_format(dir: &Path, engine: &Engine, mark: &str) -> io::Result<()> {
    let mut file = fs::File::create(dir.join(FORMAT_FILE_NEW))?;
    writeln!(file, "{MAGIC} {} {}{mark}", engine.version, engine.name)?;
    file.sync_all()
}

/// The entries of the engine's files become durable before the mark does.
fn finish_creation(dir: &Path) -> io::Result<()> {
    sync_directory(dir)?;
    fs::rename(dir.join(FORMAT_FILE_NEW), dir.join(FORMAT_FILE))?;
    sync_directory(dir)
}

/// A store cannot be made here in place of another one.
pub(crate) fn is_taken(dir: &Path) -> Error {
    foreign(dir, "holds a store already")
}

fn unusable(dir: &Path, reason: &str, cause: Option<io::Error>) -> Error {
    Error::DirUnusable { dir: dir.to_owned(), reason: reason.to_owned(), cause }
}
