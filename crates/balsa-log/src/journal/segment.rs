//! A segment: one file of the journal, written with zeros once and over and over again after that, so that a write
//! changes nothing but its bytes: neither the length of the file nor where it lies on the device.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::batch::SECTOR_BYTES;
use crate::filesystem::sync_directory;

/// What the names of all segments begin with; the number follows.
pub(crate) const SEGMENT_PREFIX: &str = "journal-";
/// Behind the name of one that is not whole yet.
const UNFINISHED: &str = ".new";
/// Zeros are written, and segments read, so much at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// The name of the file of a segment. They are numbered from 1.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{SEGMENT_PREFIX}{number:04}")
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    file: File,
    /// Whether a write is on the device when it returns; if not, it is flushed.
    writes_through: bool,
}

impl Segment {
    /// Makes a segment of zeros; it appears, whole and durable, or not at all. On a full disk what there is of it must not
    /// keep from the home the little room that is left.
    pub(super) fn create(dir: &Path, number: u32, bytes: u64) -> io::Result<Self> {
        let unfinished = dir.join(format!("{}{UNFINISHED}", segment_name(number)));
        let made =
            Self::fill(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, dir.join(segment_name(number))));
        if made.is_err() {
            // The failure before it is what is told.
            let _left = fs::remove_file(&unfinished);
        }
        made?;
        sync_directory(dir)?;
        Self::open(dir, number)
    }

    fn fill(path: &Path, bytes: u64) -> io::Result<()> {
        let mut file = File::create(path)?;
        let zeros = vec![0; CHUNK_BYTES];
        let mut left = usize::try_from(bytes).map_err(io::Error::other)?;
        while left > 0 {
            let chunk = zeros.get(..left.min(CHUNK_BYTES)).unwrap_or_default();
            file.write_all(chunk)?;
            left -= chunk.len();
        }
        file.sync_all()
    }

    pub(super) fn open(dir: &Path, number: u32) -> io::Result<Self> {
        let path = dir.join(segment_name(number));
        let (file, writes_through) = open_through(&path)?;
        Ok(Self { number, path, file, writes_through })
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes whole sectors at a multiple of them; durable when it returns. One write: a short one has failed.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = loop {
            match write_at(&self.file, bytes, offset) {
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        if written != bytes.len() {
            return Err(io::Error::new(
                ErrorKind::WriteZero,
                format!("{written} of {} bytes were written", bytes.len()),
            ));
        }
        if self.writes_through { Ok(()) } else { self.file.sync_data() }
    }

    /// Fills `out`, whole sectors, from a multiple of them on.
    pub(super) fn read(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let mut at = 0;
        while at < out.len() {
            let begin = offset + u64::try_from(at).map_err(io::Error::other)?;
            match read_at(&self.file, out.get_mut(at..).unwrap_or_default(), begin) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => at += read,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}

/// The numbers of the segments in a directory, ascending.
pub(super) fn segments_in(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u32> =
            name.to_str().and_then(|name| name.strip_prefix(SEGMENT_PREFIX)).and_then(|n| n.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes every segment, and what is left of making one; durable when it returns.
pub(crate) fn remove_segments(dir: &Path) -> io::Result<()> {
    let mut any = false;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SEGMENT_PREFIX) {
            fs::remove_file(entry.path())?;
            any = true;
        }
    }
    if any { sync_directory(dir) } else { Ok(()) }
}

/// Opens a file so that each write is on the device when it returns, past the cache of the system where that can be.
#[cfg(target_os = "linux")]
fn open_through(path: &Path) -> io::Result<(File, bool)> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let open = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
    };
    match open(OFlags::DIRECT | OFlags::DSYNC) {
        // What keeps no files on a device of its own, such as memory, may not know of it.
        Err(cause) if cause.kind() == ErrorKind::InvalidInput => Ok((open(OFlags::empty())?, false)),
        file => Ok((file?, true)),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_through(path: &Path) -> io::Result<(File, bool)> {
    Ok((OpenOptions::new().read(true).write(true).open(path)?, false))
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}

/// Memory whose bytes begin at a multiple of a sector, as a device wants them. It grows, and is kept.
#[derive(Default)]
pub(super) struct Sectors {
    memory: Vec<u8>,
}

impl Sectors {
    /// So many bytes, whatever they hold.
    pub(super) fn of(&mut self, length: usize) -> &mut [u8] {
        if self.memory.len() < length + SECTOR_BYTES {
            self.memory = vec![0; length + SECTOR_BYTES];
        }
        let begin = self.memory.as_ptr().align_offset(SECTOR_BYTES);
        self.memory.get_mut(begin..).and_then(|memory| memory.get_mut(..length)).unwrap_or_default()
    }
}
