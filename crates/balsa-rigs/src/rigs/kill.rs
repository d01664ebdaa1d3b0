//! Rig: the process is killed at each of its calls that change a file, and killed again in the open behind that.

use std::path::{Path, PathBuf};

use super::bench::{Bench, copy, fresh};
use super::process::{Blow, Start, Subject, Told, Verdict};
use super::script::{Random, Shape, Way};
use super::table::Expected;

const KILLS: [&str; 3] = ["kill-before", "kill-after", "torn"];

/// One run of a script that is killed once.
struct Point {
    subject: Subject,
    blow: Blow,
}

pub fn kill(bench: &Bench) {
    let place = &bench.memory.dir;
    let seeds = if bench.is_short { 3 } else { 18 };
    let mut points = Vec::new();
    for way in Way::BOTH {
        for seed in bench.seed..bench.seed + seeds {
            let subject = Subject { dir: place.join("count/store"), seed, way, shape: Shape::Short, lag: lag(seed) };
            let calls = calls_of(bench, &subject);
            points.extend(points_of(&subject, &calls, bench.is_short));
        }
    }
    bench.all(place, &points, |dir, point| {
        let subject = Subject { dir: dir.join("store"), ..point.subject.clone() };
        fresh(&subject.dir);
        let told = subject.run(&Start { blow: Some(point.blow), ..Start::default() }).nothing_failed();
        judge(bench, &name("kill", &subject), &subject, &told, &format!("{:?}", point.blow));
    });
}

/// Killed, and killed again in the next open; with what that one reported held against the one behind it.
pub fn kill_again(bench: &Bench) {
    let place = &bench.memory.dir;
    let mut firsts = Vec::new();
    for way in Way::BOTH {
        for seed in bench.seed..bench.seed + if bench.is_short { 2 } else { 10 } {
            let subject = Subject { dir: place.join("count/store"), seed, way, shape: Shape::Short, lag: lag(seed) };
            let calls = calls_of(bench, &subject);
            let mut random = Random::new(seed);
            // Half of them where the journal has something that LMDB lacks.
            let to_journal = (1..).zip(&calls).filter(|(_, call)| call.contains("pwrite journal-")).map(|(at, _)| at);
            let to_journal: Vec<u64> = to_journal.collect();
            firsts.extend((0..if bench.is_short { 3 } else { 6 }).map(|first| {
                let what = if first % 2 == 0 { "kill-after" } else { KILLS[random.below(3) as usize] };
                let at = match to_journal.len() as u64 {
                    writes if writes > 0 && first % 2 == 0 => to_journal[random.below(writes) as usize],
                    _ => 1 + random.below(calls.len() as u64),
                };
                Point { subject: subject.clone(), blow: Blow::new(at, what) }
            }));
        }
    }
    bench.all(place, &firsts, |dir, first| {
        let subject = Subject { dir: dir.join("store"), ..first.subject.clone() };
        fresh(&subject.dir);
        let told = subject.run(&Start { blow: Some(first.blow), ..Start::default() });
        kill_each(bench, dir, &subject, &told, &format!("{:?}", first.blow));
    });
    let mut subject =
        Subject { dir: place.join("hand-0/store"), seed: bench.seed, way: Way::Journal, shape: Shape::Short, lag: 0 };
    for seed in bench.seed..bench.seed + if bench.is_short { 1 } else { 4 } {
        subject.seed = seed;
        fresh(&subject.dir);
        let told = subject.run(&Start::default());
        // LMDB holds everything: the next open makes them again.
        for segment in 1..=9 {
            let _none = std::fs::remove_file(subject.dir.join(format!("journal-000{segment}")));
        }
        kill_each(bench, &place.join("hand-0"), &subject, &told, "closed, and its segments removed");
    }
}

/// Killed, opened again, and on with the script until it is killed again: many lives of one directory.
pub fn lives(bench: &Bench) {
    let place = &bench.memory.dir;
    let seeds = bench.seed..bench.seed + if bench.is_short { 12 } else { 120 };
    let subjects: Vec<_> = Way::BOTH
        .into_iter()
        .flat_map(|way| seeds.clone().map(move |seed| (way, seed)))
        .map(|(way, seed)| Subject { dir: PathBuf::new(), seed, way, shape: Shape::Long, lag: lag(seed) })
        .collect();
    bench.all(place, &subjects, |dir, subject| {
        let subject = Subject { dir: dir.join("store"), ..subject.clone() };
        fresh(&subject.dir);
        let mut random = Random::new(subject.seed);
        let mut told = Told::default();
        let mut case = String::new();
        for _ in 0..20 {
            let blow = Blow::new(1 + random.below(120), KILLS[random.below(3) as usize]);
            let next = subject.run(&Start { blow: Some(blow), ..told.start() }).nothing_failed();
            told = told.then(next);
            case = format!("{case} {} {},", blow.what, blow.at);
            if told.wrong.is_some() || told.signal != Some(libc::SIGKILL) {
                break;
            }
        }
        judge(bench, &name("kill, on, kill", &subject), &subject, &told, &case);
    });
}

/// Kills the open of what a child has left, and the close behind it, at each of its calls.
fn kill_each(bench: &Bench, dir: &Path, subject: &Subject, told: &Told, before: &str) {
    let left = dir.join("left");
    fresh(&left);
    if subject.dir.exists() {
        copy(&subject.dir, &left);
    }
    let (calls, _) = subject.trace(&Start { extra: Some("holds"), ..told.start() });
    for (at, call) in (1..).zip(&calls).filter(|(_, call)| changes(call)) {
        let blow = Blow::new(at, KILLS[at as usize % 3]);
        fresh(&subject.dir);
        if left.exists() {
            copy(&left, &subject.dir);
        }
        let again = subject.run(&Start { blow: Some(blow), extra: Some("holds"), ..told.start() }).nothing_failed();
        let case = format!("{before}, then {blow:?} ({call})");
        judge(bench, &name("kill, kill", subject), subject, &told.then(again), &case);
    }
}

fn name(rig: &str, subject: &Subject) -> String {
    format!("{rig}, {}", subject.way.name())
}

/// The calls of an undisturbed run, which is judged as well.
fn calls_of(bench: &Bench, subject: &Subject) -> Vec<String> {
    fresh(&subject.dir);
    std::fs::create_dir_all(subject.dir.parent().unwrap_or(Path::new("/"))).unwrap();
    let (calls, told) = subject.trace(&Start::default());
    let mut told = told.nothing_failed();
    if !told.ended || calls.is_empty() {
        told.wrong = told.wrong.or(Some("it did not come to its end, or nothing was counted".to_owned()));
    }
    judge(bench, &name("undisturbed", subject), subject, &told, "undisturbed");
    calls
}

/// With every second script the journal runs ahead of LMDB.
pub fn lag(seed: u64) -> u64 {
    if seed.is_multiple_of(2) { 0 } else { 3000 }
}

/// A kill at an open that makes nothing is one behind the call before.
fn changes(call: &str) -> bool {
    !call.contains(" open ")
}

fn points_of(subject: &Subject, calls: &[String], is_short: bool) -> Vec<Point> {
    let mut points = Vec::new();
    for (at, call) in (1..).zip(calls).filter(|(_, call)| changes(call)) {
        let torn = call.contains("write");
        let kills: Vec<_> = KILLS.into_iter().filter(|what| *what != "torn" || torn).collect();
        // Each call at least once; in the short form in one way.
        let chosen = if is_short { &kills[at as usize % kills.len()..][..1] } else { &kills[..] };
        points.extend(chosen.iter().map(|what| Point { subject: subject.clone(), blow: Blow::new(at, what) }));
    }
    points
}

/// Judges what a child has left, in one mode or the other.
pub fn judge(bench: &Bench, name: &str, subject: &Subject, told: &Told, case: &str) -> bool {
    let mut random = Random::new(subject.seed ^ told.submitted ^ (told.acknowledged << 20));
    let way = if random.once_in(4) { subject.way.other() } else { subject.way };
    let verdict = subject.verdict(told, way);
    note(bench, name, Expected::Right, subject, told, case, (verdict, way))
}

/// Takes note of a verdict; a directory that was found wrong is kept, as the judge has left it.
pub fn note(
    bench: &Bench,
    name: &str,
    expected: Expected,
    subject: &Subject,
    told: &Told,
    case: &str,
    (verdict, way): (Verdict, Way),
) -> bool {
    let Subject { seed, way: mode, dir, .. } = subject;
    let (mode, way) = (mode.name(), way.name());
    let is_good = bench.table.add(name, expected, &verdict, || {
        format!("seed {seed} in mode {mode}, {case}, judged in mode {way}: {told:?}")
    });
    if !is_good && dir.exists() {
        let kept = format!("failed-{}-{mode}-{seed}-{}", name.replace([' ', ','], "-"), told.submitted);
        copy(dir, &bench.base.join(kept));
    }
    is_good
}
