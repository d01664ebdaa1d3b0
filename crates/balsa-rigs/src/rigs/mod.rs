//! Crash rigs: the engine as a process that is killed, on disks that fail, fill up and lose power (docs/rigs.md).
//!
//! A child runs a script by its seed against a directory, and says over a pipe what it submits and what was
//! acknowledged. Something befalls it. A judge, a process of its own, then opens the directory and compares it with a
//! plain list.

#![allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a rig is a test")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a rig is a test: it ends where the world is in its way"
)]

mod bench;
mod child;
mod damage;
mod fault;
mod full;
mod held;
mod judge;
mod kill;
mod power;
mod process;
mod script;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bench::Bench;
use script::{Script, Shape, Way};

/// How a rig is called, whether it needs the shim, and what it does.
type Rig = (&'static str, bool, fn(&Bench));

const RIGS: [Rig; 8] = [
    ("kill", true, kill::kill),
    ("kill-again", true, kill::kill_again),
    ("lives", true, kill::lives),
    ("fault", true, fault::fault),
    ("full", false, full::full),
    ("power", true, power::power),
    ("control", true, power::control),
    ("damage", true, damage::damage),
];

/// `child`, `judge`, `survey`, or all the rigs.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("child") => {
            let (dir, script) = subject(&args);
            let orders = child::Orders {
                from: (number(&args[5]), number(&args[6])),
                holds: args.iter().any(|arg| arg == "holds"),
                closes_when_stalled: args.iter().any(|arg| arg == "closes"),
                is_gated: args.iter().any(|arg| arg == "closes") || args.iter().any(|arg| arg == "gated"),
            };
            child::run(&dir, &script, &orders);
            ExitCode::SUCCESS
        }
        Some("judge") => {
            let (dir, script) = subject(&args);
            let [acknowledged, submitted, boot] = [5, 6, 7].map(|at| number(&args[at]));
            let way = Way::named(&args[8]);
            let case = judge::Case { dir: &dir, script: &script, acknowledged, submitted, boot, way };
            println!("{}", judge::judge(&case));
            ExitCode::SUCCESS
        }
        Some("survey") => {
            println!("{}", judge::survey(Path::new(&args[1]), Way::named(&args[3])));
            ExitCode::SUCCESS
        }
        Some("run") => run(Path::new(&args[1]), &args[2..]),
        _ => {
            eprintln!("balsa-rigs: it is started by npm run rigs");
            ExitCode::from(2)
        }
    }
}

/// `<dir> <seed> <mode> <shape>`, behind the name of what is done.
fn subject(args: &[String]) -> (PathBuf, Script) {
    let script = Script::new(number(&args[2]), Way::named(&args[3]), Shape::named(&args[4]));
    (PathBuf::from(&args[1]), script)
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn run(base: &Path, args: &[String]) -> ExitCode {
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let hands = value("--jobs").map_or(1, |text| number(text) as usize).max(1);
    let seed = value("--seed").map_or(1, |text| number(text));
    let is_asked = |name: &str| value("--only").is_none_or(|only| only.split(',').any(|each| each == name));
    let bench = Bench::new(base, args.iter().any(|arg| arg == "--short"), seed, hands);
    let begin = Instant::now();
    for (name, needs_shim, rig) in RIGS.into_iter().filter(|(name, ..)| is_asked(name)) {
        match process::lacks_shim().filter(|_| needs_shim) {
            Some(why) => bench.table.skip(name, 1, &why),
            None => {
                let begin = Instant::now();
                rig(&bench);
                println!("{name}: {:.1} s", begin.elapsed().as_secs_f64());
            }
        }
    }
    let is_good = bench.table.print();
    println!("in {:.0} s", begin.elapsed().as_secs_f64());
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
