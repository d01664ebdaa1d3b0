//! One opener per directory. The lock is the kernel's (it goes with the process); the text in the file names the
//! holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;

/// Name of the lock file. It is never deleted: a second opener could hold the deleted one.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// More than this is not ours.
const HOLDER_BYTES_MAX: u64 = 512;

/// Held as long as the store is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// The open file carries the lock; closing it gives the lock back.
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock, or names its holder. Does not wait.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, Error> {
        let unusable = |reason: &str, cause| Error::DirUnusable {
            dir: dir.to_owned(),
            reason: reason.to_owned(),
            cause: Some(cause),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK_FILE))
            .map_err(|cause| unusable("cannot be written. Check its owner, its mode and the mount", cause))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { dir: dir.to_owned(), holder: read_holder(&mut file) });
            }
            Err(TryLockError::Error(cause)) => return Err(unusable("cannot be locked", cause)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(holder_text().as_bytes())
        };
        write(&mut file).map_err(|cause| unusable("cannot be written. Check free space and the mount", cause))?;
        Ok(Self { _file: file })
    }
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text);
    let text = text.trim();
    if read.is_ok() && !text.is_empty() {
        text.to_owned()
    } else {
        "a process that has not named itself yet".to_owned()
    }
}

fn holder_text() -> String {
    format!("process {} on {} since {}\n", std::process::id(), host_name(), utc_text(SystemTime::now()))
}

#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "an unnamed host".to_owned())
}

/// `2026-01-31T23:59:59Z`, by the civil calendar (era of 400 years, year begins in March).
fn utc_text(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_moment_reads_as_the_civil_calendar_has_it() {
        assert_eq!(utc_text(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(utc_text(UNIX_EPOCH + Duration::from_secs(951_782_399)), "2000-02-28T23:59:59Z");
        assert_eq!(utc_text(UNIX_EPOCH + Duration::from_secs(951_782_400)), "2000-02-29T00:00:00Z");
        assert_eq!(utc_text(UNIX_EPOCH + Duration::from_secs(1_767_225_599)), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn a_second_lock_names_the_holder_and_a_released_one_can_be_taken() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirectoryLock::acquire(dir.path()).unwrap();
        let error = DirectoryLock::acquire(dir.path()).unwrap_err();
        assert_eq!(error.code(), "ERR_RAFT_DIR_LOCKED");
        assert!(error.to_string().contains(&format!("process {} on ", std::process::id())), "{error}");
        drop(held);
        DirectoryLock::acquire(dir.path()).unwrap();
    }
}
