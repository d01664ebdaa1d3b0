//! Rig: a call fails, is short or takes long, in every place. The store is poisoned or refuses, or goes on as if nothing
//! had been; opened again, it holds everything that was acknowledged.

use std::path::Path;

use super::bench::{Bench, fresh};
use super::kill::{self, lag};
use super::process::{Blow, Start, Subject, Told};
use super::script::{Shape, Way};

struct Point {
    subject: Subject,
    blow: Blow,
    /// Name and file of the call.
    call: String,
}

pub fn fault(bench: &Bench) {
    let place = &bench.memory.dir;
    let seeds = if bench.is_short { 1 } else { 8 };
    let mut points = Vec::new();
    for way in Way::BOTH {
        for seed in bench.seed..bench.seed + seeds {
            let subject = Subject { dir: place.join("count/store"), seed, way, shape: Shape::Short, lag: lag(seed) };
            for of_reads in [false, true] {
                fresh(&subject.dir);
                std::fs::create_dir_all(subject.dir.parent().unwrap_or(Path::new("/"))).unwrap();
                let blow = of_reads.then_some(Blow { of_reads, ..Blow::new(0, "slow") });
                let (calls, _) = subject.trace(&Start { blow, ..Start::default() });
                points.extend(points_of(&subject, &calls, of_reads, bench.is_short));
            }
        }
    }
    bench.all(place, &points, |dir, point| {
        let subject = Subject { dir: dir.join("store"), ..point.subject.clone() };
        fresh(&subject.dir);
        let mut told = subject.run(&Start { blow: Some(point.blow), ..Start::default() });
        let is_killed = point.blow.kill_at > 0 && told.signal == Some(libc::SIGKILL);
        if let Some(wrong) = wrong_with(&told).filter(|_| !is_killed) {
            told.wrong = Some(wrong);
        }
        let name = format!("{}, {}", point.blow.what, subject.way.name());
        kill::judge(bench, &name, &subject, &told, &format!("{:?} ({})", point.blow, point.call));
    });
}

fn points_of(subject: &Subject, calls: &[String], of_reads: bool, is_short: bool) -> Vec<Point> {
    let mut points = Vec::new();
    for (at, call) in (1..).zip(calls) {
        let kinds: &[&'static str] = match () {
            () if of_reads => &["eio", "short", "slow"],
            () if call.contains("write") => &["eio", "enospc", "short", "slow"],
            () if call.contains("sync") => &["eio", "enospc", "slow"],
            () => &["eio", "enospc"],
        };
        for (kind, what) in kinds.iter().enumerate() {
            // What is slow is slow for the rig as well.
            let is_chosen = match *what {
                "slow" => at % if is_short { 31 } else { 7 } == subject.seed % 7,
                _ => !is_short || (at as usize + subject.seed as usize) % kinds.len() == kind,
            };
            if is_chosen {
                let (subject, call) = (subject.clone(), call.clone());
                // Half of them are killed a few calls later, if they still live: a fault that was passed over shows then.
                let kill_at = if at % 2 == 0 && !of_reads { at + 1 + at / 2 % 6 } else { 0 };
                points.push(Point { subject, blow: Blow { of_reads, kill_at, ..Blow::new(at, what) }, call });
            }
        }
    }
    points
}

/// A store that does not go on says why, with a code of its own; and no child is ended by a signal.
fn wrong_with(told: &Told) -> Option<String> {
    const KNOWN: [&str; 5] = [
        "ERR_RAFT_STORE_POISONED",
        "ERR_RAFT_STORE_FULL",
        "ERR_RAFT_DIR_UNUSABLE",
        "ERR_RAFT_STORE_CORRUPT",
        "ERR_RAFT_STORE_FORMAT",
    ];
    if let Some(signal) = told.signal {
        return Some(format!("signal {signal}"));
    }
    let said = told.poisoned.iter().chain(&told.refused);
    let mut strange = said.filter(|said| !KNOWN.iter().any(|code| said.starts_with(code)));
    if let Some(said) = strange.next() {
        return Some(format!("it said: {said}"));
    }
    let is_silent = !told.ended && told.poisoned.is_none() && told.refused.is_none() && told.wrong.is_none();
    is_silent.then(|| "it ended without a word".to_owned())
}
