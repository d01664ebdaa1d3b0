//! The place where rigs work: a directory of their own, in memory where that can be, and several hands.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::table::Table;

/// What all rigs share.
pub struct Bench {
    pub base: PathBuf,
    /// On a filesystem in memory; `base` where that cannot be mounted.
    pub memory: Mounted,
    pub table: Table,
    pub is_short: bool,
    pub seed: u64,
    /// Cases that run beside each other.
    pub hands: usize,
}

/// A directory that may be a mount: unmounted, and its device detached, when this is dropped.
pub struct Mounted {
    pub dir: PathBuf,
    is_mount: bool,
    device: Option<String>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mount && run("umount", &[text(&self.dir)]).is_err() {
            let _left = run("umount", &["-l", text(&self.dir)]);
        }
        if let Some(device) = &self.device {
            let _left = run("losetup", &["-d", device]);
        }
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Runs a program of the system; answers with what it printed, or with what it complained of.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|cause| format!("{program} cannot be run: {cause}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()).replace('\n', " "))
}

impl Mounted {
    fn plain(dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir, is_mount: false, device: None }
    }

    /// A filesystem in memory of so many mebibytes.
    pub fn memory(dir: PathBuf, mebibytes: u64) -> Result<Self, String> {
        let mut mounted = Self::plain(dir);
        let size = format!("size={mebibytes}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "balsa-rigs", text(&mounted.dir)])?;
        mounted.is_mount = true;
        Ok(mounted)
    }

    /// A filesystem of this kind in a file of so many mebibytes.
    pub fn image(dir: PathBuf, kind: &str, mebibytes: u64) -> Result<Self, String> {
        let mut mounted = Self::plain(dir);
        let file = mounted.dir.with_extension("image");
        std::fs::File::create(&file)
            .and_then(|file| file.set_len(mebibytes << 20))
            .map_err(|cause| cause.to_string())?;
        let quiet = if kind == "xfs" { "-f" } else { "-F" };
        run(&format!("mkfs.{kind}"), &["-q", quiet, text(&file)])?;
        mounted.device = Some(run("losetup", &["-f", "--show", text(&file)])?);
        mounted.mount()?;
        Ok(mounted)
    }

    pub fn mount(&mut self) -> Result<(), String> {
        run("mount", &[self.device.as_deref().unwrap_or_default(), text(&self.dir)])?;
        self.is_mount = true;
        Ok(())
    }

    pub fn unmount(&mut self) -> Result<(), String> {
        let mut tried = run("umount", &[text(&self.dir)]);
        // A process that was killed a moment ago may not be gone yet.
        for _ in 0..200 {
            if tried.is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            tried = run("umount", &[text(&self.dir)]);
        }
        self.is_mount = tried.is_err();
        tried.map(|_nothing| ())
    }
}

impl Bench {
    pub fn new(base: &Path, is_short: bool, seed: u64, hands: usize) -> Self {
        let memory = base.join("memory");
        let memory = Mounted::memory(memory.clone(), 512).unwrap_or_else(|why| {
            println!("what is killed lies in {}, and not in memory: {why}", base.display());
            Mounted::plain(memory)
        });
        Self { base: base.to_owned(), memory, table: Table::new(), is_short, seed, hands }
    }

    /// Does every piece of work, several at a time; each hand has a directory of its own below `place`.
    pub fn all<T: Sync>(&self, place: &Path, pieces: &[T], work: impl Fn(&Path, &T) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for hand in 0..self.hands {
                let (next, work) = (&next, &work);
                scope.spawn(move || {
                    let dir = place.join(format!("hand-{hand}"));
                    std::fs::create_dir_all(&dir).unwrap();
                    while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::SeqCst)) {
                        work(&dir, piece);
                    }
                });
            }
        });
    }
}

/// Makes a directory anew.
pub fn fresh(dir: &Path) {
    let _none = std::fs::remove_dir_all(dir);
}

/// Copies a directory of plain files; zeros take no room.
pub fn copy(from: &Path, to: &Path) {
    fresh(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        write_sparse(&to.join(entry.file_name()), &std::fs::read(entry.path()).unwrap());
    }
}

/// Writes a file; pages of zeros take no room.
pub fn write_sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (page, part) in bytes.chunks(4096).enumerate() {
        if *part != [0; 4096][..part.len()] {
            file.write_all_at(part, page as u64 * 4096).unwrap();
        }
    }
}
