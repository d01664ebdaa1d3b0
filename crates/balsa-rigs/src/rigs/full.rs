//! Rig: the disk is full. The store waits, says so, and goes on when there is room; whoever closes or kills it meanwhile
//! loses nothing that was acknowledged. Nor does an open on a full disk.

use std::fs::{File, remove_file};
use std::io::Write;

use std::time::Duration;

use super::bench::{Bench, Mounted, fresh};
use super::kill::note;
use super::process::{Start, Subject, Told, Verdict};
use super::script::{Shape, Way};
use super::table::Expected;

/// Where the disk is, and how it is called.
const DISKS: [&str; 2] = ["tmpfs", "ext4"];
const MEBIBYTES: u64 = 40;

pub fn full(bench: &Bench) {
    let rounds = if bench.is_short { 1 } else { 3 };
    for kind in DISKS {
        let dir = bench.base.join(format!("full-{kind}"));
        let disk = if kind == "tmpfs" { Mounted::memory(dir, MEBIBYTES) } else { Mounted::image(dir, kind, MEBIBYTES) };
        for way in Way::BOTH {
            let name = format!("full disk, {kind}, {}", way.name());
            let disk = match &disk {
                Ok(disk) => disk,
                Err(why) => {
                    bench.table.skip(&name, rounds * CASES.len() as u64, why);
                    continue;
                }
            };
            for seed in bench.seed..bench.seed + rounds {
                let subject = Subject { dir: disk.dir.join("store"), seed, way, shape: Shape::Heavy, lag: 0 };
                for (what, case) in CASES {
                    fresh(&subject.dir);
                    case(&On { bench, name: &name, what, subject: &subject, disk });
                    empty(disk);
                }
            }
        }
    }
}

struct On<'a> {
    bench: &'a Bench,
    name: &'a str,
    what: &'a str,
    subject: &'a Subject,
    disk: &'a Mounted,
}

/// What is called so, and what happens.
type Case = (&'static str, fn(&On<'_>));

const CASES: [Case; 5] = [
    ("it stalls, and goes on", goes_on),
    ("it is killed while it stalls", killed),
    ("it is closed while it stalls", closed),
    ("it is opened on a full disk", opened),
    ("it is made on a full disk", made),
];

/// Leaves no room at all.
fn fill(disk: &Mounted) {
    let mut ballast = File::create(disk.dir.join("ballast")).unwrap();
    for length in [1 << 20, 4096, 512, 1] {
        let part = vec![0x5a; length];
        while ballast.write_all(&part).is_ok() {}
    }
    let _full = ballast.sync_all();
}

fn empty(disk: &Mounted) {
    let _none = remove_file(disk.dir.join("ballast"));
    let _done = File::open(&disk.dir).and_then(|dir| dir.sync_all());
}

impl On<'_> {
    fn note(&self, expected: Expected, told: &Told, verdict: Verdict) {
        note(self.bench, self.name, expected, self.subject, told, self.what, (verdict, self.subject.way));
    }

    fn judge(&self, told: &Told) -> Verdict {
        self.subject.verdict(told, self.subject.way)
    }

    /// A child that has met a disk without room, and says so. `Err`: it did not.
    fn stalled(&self, extra: &'static str) -> Result<super::process::Running, Told> {
        let mut running = self.subject.begin(&Start { extra: Some(extra), ..Start::default() });
        running.until("o ");
        fill(self.disk);
        running.go();
        if running.until("t") { Ok(running) } else { Err(running.end()) }
    }

    fn did_not_stall(&self, told: &Told) {
        self.note(Expected::Right, told, Verdict::Wrong("it did not say that it has no room".to_owned()));
    }
}

fn goes_on(on: &On<'_>) {
    match on.stalled("gated") {
        Err(told) => on.did_not_stall(&told),
        Ok(running) => {
            std::thread::sleep(Duration::from_millis(450));
            empty(on.disk);
            let mut told = running.end();
            if !told.ended {
                told.wrong = Some("it did not go on".to_owned());
            }
            let verdict = on.judge(&told);
            on.note(Expected::Right, &told, verdict);
        }
    }
}

fn killed(on: &On<'_>) {
    match on.stalled("gated") {
        Err(told) => on.did_not_stall(&told),
        Ok(mut running) => {
            running.process.kill().unwrap();
            full_then_empty(on, &running.end());
        }
    }
}

fn closed(on: &On<'_>) {
    match on.stalled("closes") {
        Err(told) => on.did_not_stall(&told),
        Ok(running) => {
            let mut told = running.end();
            let is_full = told.poisoned.as_ref().is_some_and(|said| said.starts_with("ERR_RAFT_STORE_FULL"));
            if !is_full {
                told.wrong = Some("a close without room did not end with ERR_RAFT_STORE_FULL".to_owned());
            }
            full_then_empty(on, &told);
        }
    }
}

/// A store that was closed in order; also without the files that LMDB makes anew.
fn opened(on: &On<'_>) {
    for lost in [None, Some("lock.mdb")] {
        fresh(&on.subject.dir);
        let told = on.subject.run(&Start::default());
        fill(on.disk);
        if let Some(lost) = lost {
            let _gone = remove_file(on.subject.dir.join(lost));
            fill_more(on.disk);
        }
        full_then_empty(on, &told);
    }
}

fn made(on: &On<'_>) {
    fill(on.disk);
    let told = on.subject.run(&Start { extra: Some("holds"), ..Start::default() });
    if let Some(signal) = told.signal {
        on.note(Expected::Right, &told, Verdict::Died(format!("signal {signal}")));
    }
    full_then_empty(on, &told);
}

/// What a file that was removed has left.
fn fill_more(disk: &Mounted) {
    let mut ballast = File::options().append(true).open(disk.dir.join("ballast")).unwrap();
    while ballast.write_all(&[0x5a; 512]).is_ok() {}
    let _full = ballast.sync_all();
}

/// Opened without room, where it may refuse, and then judged with room. Not judged twice: a judge adds an entry that no
/// script has.
fn full_then_empty(on: &On<'_>, told: &Told) {
    let start = Start { extra: Some("holds"), ..told.start() };
    let meanwhile = on.subject.run(&start);
    let verdict = match (meanwhile.signal, &meanwhile.refused, &meanwhile.wrong) {
        (Some(signal), _, _) => Verdict::Died(format!("signal {signal}")),
        (None, Some(said), _) => Verdict::Refused(said.clone()),
        (None, None, Some(wrong)) => Verdict::Wrong(wrong.clone()),
        (None, None, None) => Verdict::Right(meanwhile.acknowledged),
    };
    on.note(Expected::RightOrRefused, told, verdict);
    empty(on.disk);
    let told = told.then(Told { wrong: told.wrong.clone(), ..meanwhile });
    let verdict = on.judge(&told);
    on.note(Expected::Right, &told, verdict);
}
