//! Where a directory lies decides whether a flush means anything (`statfs`, not whether some open flag works).

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::Error;

/// Whether what was flushed survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A flush reaches a device.
    Device,
    /// The directory lies in memory.
    None,
}

/// What the filesystem of a directory means for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filesystem {
    pub(crate) durability: Durability,
    /// What the operator should know.
    pub(crate) warning: Option<&'static str>,
    /// Whether a file keeps its inode, whatever is mounted again.
    keeps_inodes: bool,
}

impl Filesystem {
    /// What tells a file from a copy of it: `inode/birth`, the birth in nanoseconds since 1970, `-` where none is kept.
    /// Not the device, whose number changes when the machine starts.
    pub(crate) fn fingerprint(&self, file: &Path) -> Option<String> {
        let metadata = std::fs::metadata(file).ok().filter(|_| self.keeps_inodes)?;
        let birth = metadata.created().ok().and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
        let birth = birth.filter(|birth| !birth.is_zero()).map(|birth| birth.as_nanos().to_string());
        Some(format!("{}/{}", inode_of(&metadata)?, birth.as_deref().unwrap_or("-")))
    }
}

#[cfg(unix)]
fn inode_of(metadata: &Metadata) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(metadata.ino())
}

#[cfg(not(unix))]
fn inode_of(_metadata: &Metadata) -> Option<u64> {
    None
}

/// Looks at the filesystem of `dir`, or of its nearest ancestor that exists.
pub(crate) fn inspect(dir: &Path, allow_remote: bool) -> Result<Filesystem, Error> {
    let existing = dir.ancestors().find(|path| path.exists()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    match kind(&existing).map_err(|cause| Error::io(format!("statfs of {}", existing.display()), cause))? {
        Kind::Device => Ok(Filesystem { durability: Durability::Device, warning: None, keeps_inodes: true }),
        Kind::Memory => Ok(Filesystem {
            durability: Durability::None,
            warning: Some("the directory lies in memory: nothing survives a restart of the machine"),
            keeps_inodes: true,
        }),
        Kind::Overlay => Ok(Filesystem {
            durability: Durability::Device,
            warning: Some("the directory lies on overlayfs: use a volume; a volatile mount does not flush at all"),
            keeps_inodes: true,
        }),
        Kind::Remote(_) if allow_remote => Ok(Filesystem {
            durability: Durability::Device,
            warning: Some(
                "the directory lies on a remote or user-space filesystem: flushes and locks may mean nothing, and a copy \
                 of the directory is not noticed",
            ),
            keeps_inodes: false,
        }),
        Kind::Remote(name) => Err(Error::DirUnusable {
            dir: dir.to_owned(),
            reason: format!(
                "lies on {name}, where locks, maps and flushes cannot be relied on. Use a local disk, or set \
                 BALSA_ALLOW_REMOTE_FS=1 to take the risk"
            ),
            cause: None,
        }),
    }
}

/// Only Linux tells; elsewhere every filesystem counts as a device.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells"))]
enum Kind {
    Device,
    Memory,
    Overlay,
    /// Remote or in user space, with its name.
    Remote(&'static str),
}

#[cfg(target_os = "linux")]
fn kind(path: &Path) -> io::Result<Kind> {
    let magic = rustix::fs::statfs(path)?.f_type;
    // The field is signed or unsigned by platform; the numbers of linux/magic.h have 32 bits.
    let magic = u32::try_from(i128::from(magic) & 0xffff_ffff).unwrap_or_default();
    Ok(match magic {
        0x0102_1994 | 0x8584_58f6 => Kind::Memory,
        0x794c_7630 => Kind::Overlay,
        0x6969 => Kind::Remote("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Kind::Remote("SMB"),
        0x0102_1997 => Kind::Remote("9p"),
        0x6573_5546 => Kind::Remote("FUSE"),
        _ => Kind::Device,
    })
}

#[cfg(not(target_os = "linux"))]
fn kind(_path: &Path) -> io::Result<Kind> {
    Ok(Kind::Device)
}

/// Flushes the entries of a directory, as no write or rename of a file in it does.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { std::fs::File::open(dir)?.sync_all() } else { Ok(()) }
}
