//! Errors about the world. Each names the thing, the bound or index, and the remedy; the addon adds nothing to them.

use std::io;
use std::path::PathBuf;

use crate::writer::is_full;

/// Why the store refused. `code` is what the JavaScript side maps to its `RaftError`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Another opener holds the directory.
    Locked {
        /// The store directory.
        dir: PathBuf,
        /// Pid, host and time of the holder as it wrote them.
        holder: String,
    },
    /// The directory cannot hold a store: foreign, unreachable, on an unfit filesystem, or not writable.
    DirUnusable {
        /// The store directory.
        dir: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
        /// What the operating system said.
        cause: Option<io::Error>,
    },
    /// The directory is a store, of a format or engine that this build does not write.
    Format {
        /// The store directory.
        dir: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Stored bytes are not what was written.
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// The entry that is damaged, when it can be told.
        index: Option<u64>,
        /// What was found.
        detail: String,
    },
    /// A block of the log is not what was written. What stands around it tells which entries it held, so that another
    /// server can be asked for them.
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// The first entry of the block that is still in the log.
        first: u64,
        /// Its last entry.
        last: u64,
        /// The entry that is damaged, when it can be told.
        index: Option<u64>,
        /// What was found.
        detail: String,
    },
    /// There is no room: the map of the store is full.
    Full {
        /// What is full, and the remedy.
        detail: String,
    },
    /// A file of the open store was deleted or replaced: what is written to it is lost.
    Gone {
        /// The store directory.
        dir: PathBuf,
        /// The file that is not what was opened.
        file: PathBuf,
    },
    /// A write, flush or invariant failed earlier; only close and reopen clears it.
    Poisoned {
        /// What failed first.
        detail: String,
    },
    /// The store is closed, or closing.
    Closed,
    /// The caller broke the contract. A defect in Balsa, not in the world.
    Invalid {
        /// The broken rule, with both numbers.
        detail: String,
    },
    /// The operating system failed during a read or an open.
    Io {
        /// What was attempted.
        context: String,
        /// What the operating system said.
        cause: io::Error,
    },
}

/// Where the data of a server is lost or in doubt, there is a way out that makes it worse.
pub(crate) const NEVER_EMPTY: &str = "Do not start this server in an empty directory, nor from a backup: it would have \
                                      forgotten what it acknowledged and whom it voted for, and writes that the cluster \
                                      confirmed could vanish (README, \"Copies of a folder\").";

impl Error {
    /// The code that JavaScript sees.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "ERR_RAFT_DIR_LOCKED",
            Self::DirUnusable { .. } | Self::Io { .. } => "ERR_RAFT_DIR_UNUSABLE",
            Self::Format { .. } => "ERR_RAFT_STORE_FORMAT",
            Self::Corrupt { .. } | Self::Damaged { .. } => "ERR_RAFT_STORE_CORRUPT",
            Self::Full { .. } => "ERR_RAFT_STORE_FULL",
            Self::Gone { .. } | Self::Poisoned { .. } => "ERR_RAFT_STORE_POISONED",
            Self::Closed => "ERR_RAFT_CLOSED",
            Self::Invalid { .. } => "INVALID",
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid { detail: detail.into() }
    }

    pub(crate) fn io(context: impl Into<String>, cause: io::Error) -> Self {
        Self::Io { context: context.into(), cause }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked { dir, holder } => write!(
                f,
                "The directory {} is in use by {holder}. One directory serves one open store: stop that process or \
                 choose another directory.",
                dir.display()
            ),
            Self::DirUnusable { dir, reason, cause: None } => write!(f, "The directory {}: {reason}", dir.display()),
            Self::DirUnusable { dir, reason, cause: Some(cause) } => {
                write!(f, "The directory {}: {reason} ({cause})", dir.display())
            }
            Self::Format { dir, reason } => write!(f, "The store in {}: {reason}", dir.display()),
            Self::Corrupt { file, index, detail } | Self::Damaged { file, index, detail, .. } => {
                write!(f, "{} is damaged", file.display())?;
                if let Some(index) = index {
                    write!(f, " at index {index}")?;
                }
                write!(
                    f,
                    ": {detail}. The file was left as it is. The others go on without this server while they are a \
                     majority. {NEVER_EMPTY}"
                )
            }
            Self::Full { detail } => f.write_str(detail),
            Self::Gone { dir, file } => write!(
                f,
                "The directory {} was deleted, moved or replaced while its store was open: {} is not the file that was \
                 opened. Nothing more is written; the outcome of what was not yet durable is unknown. Put the directory \
                 back and start again. {NEVER_EMPTY}",
                dir.display(),
                file.display()
            ),
            Self::Poisoned { detail } => write!(
                f,
                "The store refuses to go on: {detail}. The outcome of what was not yet durable is unknown. Check the \
                 disk, then close and open the store again."
            ),
            Self::Closed => f.write_str("The store is closed."),
            Self::Invalid { detail } => f.write_str(detail),
            Self::Io { context, cause } if is_full(cause) => {
                write!(f, "{context}: {cause}. Free space there, and start again")
            }
            Self::Io { context, cause } => write!(f, "{context}: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DirUnusable { cause: Some(cause), .. } | Self::Io { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
