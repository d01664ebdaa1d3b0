//! Rig: the power fails. A filesystem on a device of its own is shut down in the middle of a run: what was not flushed is
//! gone, whatever the cache of the system held. Mounted again, it must hold all that was acknowledged.

use std::os::fd::AsRawFd;
use std::path::Path;

use super::bench::{Bench, Mounted, fresh};
use super::kill::{self, lag};
use super::process::{Blow, Start, Subject, Told};
use super::script::{Random, Shape, Way};
use super::table::Expected;

const CUTS: [&str; 3] = ["cut-before", "cut-after", "cut-torn"];
/// Room for a store and for what it reserves; the least that xfs takes is 300.
const MEBIBYTES: [(&str, u64); 2] = [("ext4", 64), ("xfs", 320)];

/// What befalls a store on such a filesystem.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The power fails.
    Cut,
    /// The process is killed and opened again; then the power fails. What the open reported must be there.
    KillThenCut,
    /// The power fails, and no flush was one.
    Control,
}

pub fn power(bench: &Bench) {
    for (kind, mebibytes) in MEBIBYTES {
        let cuts = match (kind, bench.is_short) {
            ("xfs", true) => 6,
            ("xfs", false) => 40,
            (_, true) => 18,
            (_, false) => 120,
        };
        rig(bench, (kind, mebibytes), &[(Fate::Cut, cuts), (Fate::KillThenCut, cuts / 2)]);
    }
}

/// Without flushes something must be lost: otherwise the rig shows nothing.
pub fn control(bench: &Bench) {
    rig(bench, MEBIBYTES[0], &[(Fate::Control, if bench.is_short { 6 } else { 40 })]);
}

fn name(fate: Fate, kind: &str, way: Way) -> String {
    let what = match fate {
        Fate::Cut => "power cut",
        Fate::KillThenCut => "kill, power cut",
        Fate::Control => "power cut, no flushes",
    };
    format!("{what}, {kind}, {}", way.name())
}

fn rig(bench: &Bench, (kind, mebibytes): (&str, u64), fates: &[(Fate, u64)]) {
    let mut disk = match Mounted::image(bench.base.join(kind), kind, mebibytes) {
        Ok(disk) => disk,
        Err(why) => {
            for (fate, cuts) in fates {
                Way::BOTH.iter().for_each(|way| bench.table.skip(&name(*fate, kind, *way), *cuts, &why));
            }
            return;
        }
    };
    for (fate, cuts) in fates {
        for way in Way::BOTH {
            let mut left = *cuts;
            let mut seed = bench.seed;
            while left > 0 {
                let subject = Subject { dir: disk.dir.join("store"), seed, way, shape: Shape::Short, lag: lag(seed) };
                let some = left.min(if bench.is_short { 6 } else { 20 });
                if let Err(why) = cut_some(bench, &mut disk, &subject, *fate, some) {
                    bench.table.skip(&name(*fate, kind, way), left, &why);
                    return;
                }
                left -= some;
                seed += 1;
            }
        }
    }
}

/// So many cuts of one script, spread over its calls.
fn cut_some(bench: &Bench, disk: &mut Mounted, subject: &Subject, fate: Fate, cuts: u64) -> Result<(), String> {
    let mut random = Random::new(subject.seed);
    fresh(&subject.dir);
    let (calls, told) = subject.trace(&Start::default());
    let name = name(fate, disk.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default(), subject.way);
    if !told.ended {
        return Err(format!("the script does not come to its end: {told:?}"));
    }
    let calls = calls.len() as u64;
    for cut in 0..cuts {
        fresh(&subject.dir);
        std::fs::File::open(&disk.dir).and_then(|dir| dir.sync_all()).map_err(|cause| cause.to_string())?;
        let at = 1 + (cut * calls + random.below(calls)) / cuts;
        let what = CUTS[random.below(3) as usize];
        let (told, case) = match fate {
            Fate::KillThenCut => kill_then_cut(subject, disk, at, &mut random),
            Fate::Cut | Fate::Control => {
                let blow = Blow::new(at, what);
                let without_sync = fate == Fate::Control;
                (subject.run(&Start { blow: Some(blow), without_sync, ..Start::default() }), format!("{blow:?}"))
            }
        };
        if told.ended {
            // The run had fewer calls than the one that was counted.
            shut_down(&disk.dir)?;
        }
        disk.unmount()?;
        disk.mount()?;
        let expected = if fate == Fate::Control { Expected::Loss } else { Expected::Right };
        let verdict = subject.verdict(&told, subject.way);
        kill::note(bench, &name, expected, subject, &told, &case, (verdict, subject.way));
    }
    Ok(())
}

fn kill_then_cut(subject: &Subject, disk: &Mounted, at: u64, random: &mut Random) -> (Told, String) {
    let kill = Blow::new(at, "kill-after");
    let told = subject.run(&Start { blow: Some(kill), ..Start::default() });
    // In the middle of the open, or as soon as it has reported.
    if random.once_in(2) {
        let cut = Blow::new(1 + random.below(40), CUTS[random.below(2) as usize]);
        let again = subject.run(&Start { blow: Some(cut), extra: Some("holds"), ..told.start() });
        if again.signal.is_none() {
            let _shown = shut_down(&disk.dir);
        }
        return (told.then(Told { ended: false, ..again }), format!("{kill:?}, then {cut:?}"));
    }
    let mut running = subject.begin(&Start { extra: Some("gated"), ..told.start() });
    running.until("o ");
    let _shown = shut_down(&disk.dir);
    let _gone = running.process.kill();
    (told.then(Told { ended: false, ..running.end() }), format!("{kill:?}, then a cut behind the open"))
}

/// Stops the filesystem at once; its log stays as it is on the device.
fn shut_down(dir: &Path) -> Result<(), String> {
    const SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let no_log_flush: u32 = 2;
    let file = std::fs::File::open(dir).map_err(|cause| cause.to_string())?;
    // SAFETY: the descriptor is open, and the call reads one number, which lives as long as it takes.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), SHUTDOWN as _, &raw const no_log_flush) };
    if done == 0 {
        Ok(())
    } else {
        Err(format!("the filesystem cannot be shut down: {}", std::io::Error::last_os_error()))
    }
}
