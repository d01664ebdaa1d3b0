//! Children and judges as processes: how they are started, and what they said.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::script::{Shape, Way};

/// What the shim does to a child; see `shim.c`.
#[derive(Debug, Clone, Copy)]
pub struct Blow {
    /// At the call of this number.
    pub at: u64,
    pub what: &'static str,
    /// Of the reads; otherwise of the calls that change files.
    pub of_reads: bool,
    /// It is killed besides, before this call; 0: it is not.
    pub kill_at: u64,
}

impl Blow {
    pub fn new(at: u64, what: &'static str) -> Self {
        Self { at, what, of_reads: false, kill_at: 0 }
    }
}

/// One script against one directory.
#[derive(Debug, Clone)]
pub struct Subject {
    pub dir: PathBuf,
    pub seed: u64,
    pub way: Way,
    pub shape: Shape,
    /// Microseconds by which each flush of LMDB takes longer, under the shim: a journal is ahead of it then.
    pub lag: u64,
}

/// What a child is started with.
#[derive(Default)]
pub struct Start {
    pub blow: Option<Blow>,
    pub without_sync: bool,
    /// What is known of the directory: tickets at least, and at most.
    pub from: (u64, u64),
    pub extra: Option<&'static str>,
}

/// What a child said, as far as it came.
#[derive(Debug, Default, Clone)]
pub struct Told {
    pub submitted: u64,
    pub acknowledged: u64,
    pub boot: u64,
    /// What the store said when it was poisoned.
    pub poisoned: Option<String>,
    /// What an open said.
    pub refused: Option<String>,
    /// What the child found wrong by itself.
    pub wrong: Option<String>,
    pub stalled: bool,
    /// It came to the end of its script.
    pub ended: bool,
    pub signal: Option<i32>,
}

impl Told {
    pub fn take(&mut self, line: &str) {
        let (kind, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        let rest = rest.trim();
        let mut numbers = rest.split(' ').map_while(|word| word.parse::<u64>().ok());
        match kind {
            "s" => self.submitted = numbers.next().unwrap_or(self.submitted),
            "d" => self.acknowledged = numbers.next().unwrap_or(self.acknowledged),
            "o" => {
                self.boot = numbers.next().unwrap_or(self.boot);
                // What is not there by now must not come back.
                self.acknowledged = numbers.next().unwrap_or(self.acknowledged);
                self.submitted = self.acknowledged;
            }
            "p" => self.poisoned = Some(rest.to_owned()),
            "r" => self.refused = Some(rest.to_owned()),
            "w" => self.wrong = Some(rest.to_owned()),
            "t" => self.stalled = true,
            "e" => self.ended = true,
            _ => {}
        }
    }

    /// Where no call failed, no store may refuse or be poisoned.
    pub fn nothing_failed(self) -> Self {
        let said =
            self.refused.as_ref().or(self.poisoned.as_ref()).map(|said| format!("nothing failed, and yet: {said}"));
        Self { wrong: self.wrong.clone().or(said), ..self }
    }

    /// The next child goes on with what this one knew.
    pub fn start(&self) -> Start {
        Start { from: (self.acknowledged, self.submitted), ..Start::default() }
    }

    /// What is known behind a later child, which was started with what this one knew.
    pub fn then(&self, later: Self) -> Self {
        Self { boot: self.boot.max(later.boot), ..later }
    }
}

/// A child that runs.
pub struct Running {
    pub process: Child,
    lines: BufReader<std::process::ChildStdout>,
    pub told: Told,
}

impl Running {
    /// The next line that it says; `None`: it has ended.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        // What is cut off was not said.
        self.lines.read_line(&mut line).ok().filter(|_| line.ends_with('\n'))?;
        self.told.take(line.trim_end());
        Some(line.trim_end().to_owned())
    }

    /// Reads on until it says a line that begins so, or ends.
    pub fn until(&mut self, begin: &str) -> bool {
        while let Some(line) = self.line() {
            if line.starts_with(begin) {
                return true;
            }
        }
        false
    }

    /// Lets one that is gated begin.
    pub fn go(&mut self) {
        let gate = self.process.stdin.take();
        let _ended = gate.map(|mut gate| gate.write_all(b"\n"));
    }

    /// Waits for its end.
    pub fn end(mut self) -> Told {
        while self.line().is_some() {}
        let status = self.process.wait().unwrap();
        self.told.signal = status.signal();
        if self.told.signal.is_none() && !status.success() {
            self.told.wrong = Some(format!("the child ended with {status}"));
        }
        self.told
    }
}

impl Subject {
    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(what).arg(&self.dir).arg(self.seed.to_string()).args([self.way.name(), self.shape.name()]);
        command
    }

    /// Starts a child.
    pub fn begin(&self, start: &Start) -> Running {
        self.begin_traced(start, None)
    }

    /// Each call that counts gets a line in `trace`.
    fn begin_traced(&self, start: &Start, trace: Option<&Path>) -> Running {
        let mut command = self.command("child");
        command.args([start.from.0.to_string(), start.from.1.to_string()]).args(start.extra);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.stdin(if start.extra.is_some_and(|extra| extra != "holds") { Stdio::piped() } else { Stdio::null() });
        if start.blow.is_some() || start.without_sync || trace.is_some() {
            command.env("LD_PRELOAD", shim()).env("RIG_DIR", &self.dir);
        }
        if let Some(Blow { at, what, of_reads, kill_at }) = start.blow {
            command.env("RIG_KILL_AT", kill_at.to_string());
            command.env("RIG_AT", at.to_string()).env("RIG_DO", what);
            command.envs(of_reads.then_some(("RIG_READS", "1")));
        }
        command.envs(start.without_sync.then_some(("RIG_NO_SYNC", "1")));
        command.env("RIG_LAG", self.lag.to_string());
        // Each third script: the journal is written through the cache, and flushed.
        command.envs(self.seed.is_multiple_of(3).then_some(("RIG_NO_DIRECT", "1")));
        if let Some(trace) = trace {
            command.env("RIG_TRACE", trace);
        }
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let told = Told { submitted: start.from.1, acknowledged: start.from.0, ..Told::default() };
        Running { process, lines, told }
    }

    /// Runs a child to its end.
    pub fn run(&self, start: &Start) -> Told {
        self.begin(start).end()
    }

    /// What came of a child, and of its directory, which is opened in this way. A child that was ended by a signal, unless it
    /// was killed, is judged by that; so is one that hung, which an alarm has ended.
    pub fn verdict(&self, told: &Told, way: Way) -> Verdict {
        match (&told.wrong, told.signal) {
            (Some(wrong), _) => Verdict::Wrong(wrong.clone()),
            (None, Some(signal)) if signal != libc::SIGKILL => Verdict::Died(format!("the child: signal {signal}")),
            (None, _) => self.judge(told, way),
        }
    }

    /// Judges the directory.
    pub fn judge(&self, told: &Told, way: Way) -> Verdict {
        let mut command = self.command("judge");
        let numbers = [told.acknowledged, told.submitted, told.boot].map(|number| number.to_string());
        let output = command.args(numbers).arg(way.name()).stderr(Stdio::piped()).output().unwrap();
        Verdict::of(&String::from_utf8_lossy(&output.stdout), &String::from_utf8_lossy(&output.stderr), output.status)
    }

    /// Has the directory surveyed, which changes nothing there.
    pub fn survey(&self) -> Survey {
        let output = self.command("survey").stderr(Stdio::piped()).output().unwrap();
        Survey::of(&String::from_utf8_lossy(&output.stdout), &String::from_utf8_lossy(&output.stderr), output.status)
    }

    /// The calls of a child that runs undisturbed: name and file of each. And what it said.
    pub fn trace(&self, start: &Start) -> (Vec<String>, Told) {
        let file = self.dir.with_extension("trace");
        let _none = std::fs::remove_file(&file);
        let told = self.begin_traced(start, Some(&file)).end();
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        (text.lines().map(str::to_owned).collect(), told)
    }
}

fn shim() -> PathBuf {
    std::env::var_os("RIG_SHIM").unwrap_or_default().into()
}

/// Why there is none.
pub fn lacks_shim() -> Option<String> {
    (!shim().exists()).then(|| "there is no C compiler for the shim".to_owned())
}

/// What a judge said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is there, after so many tickets.
    Right(u64),
    /// The store refused, with code and message.
    Refused(String),
    /// What was acknowledged is not there.
    Lost(String),
    Wrong(String),
    /// The judge was ended by a signal, or ended otherwise without a word.
    Died(String),
}

impl Verdict {
    fn of(said: &str, complaint: &str, status: ExitStatus) -> Self {
        let (kind, rest) = said.trim().split_once(' ').unwrap_or_default();
        match (kind, rest.parse()) {
            ("ok", Ok(tickets)) if status.success() => Self::Right(tickets),
            ("refused", _) if status.success() => Self::Refused(rest.to_owned()),
            ("lost", _) if status.success() => Self::Lost(rest.to_owned()),
            ("wrong", _) if status.success() => Self::Wrong(rest.to_owned()),
            _ => Self::Died(format!("{status}, {said} {complaint}").replace('\n', " ")),
        }
    }
}

/// What a survey said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Survey {
    Whole,
    /// How many flaws, and the first one.
    Flawed(String),
    /// With code and message: what is there is not surveyed at all.
    Refused(String),
    /// It was ended by a signal, or ended otherwise without a word.
    Died(String),
}

impl Survey {
    fn of(said: &str, complaint: &str, status: ExitStatus) -> Self {
        let (kind, rest) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
        match kind {
            "whole" if status.success() => Self::Whole,
            "flawed" if status.success() => Self::Flawed(rest.to_owned()),
            "refused" if status.success() => Self::Refused(rest.to_owned()),
            _ => Self::Died(format!("{status}, {said} {complaint}").replace('\n', " ")),
        }
    }

    /// What an open and all reads came to, behind this: what they refuse it has listed or refused, and what it refuses
    /// no open takes.
    pub fn held_against(self, opened: Verdict) -> Verdict {
        match (self, opened) {
            (Self::Died(how), _) => Verdict::Died(format!("the survey: {how}")),
            (Self::Whole, Verdict::Refused(said)) => {
                Verdict::Wrong(format!("the survey found nothing, and yet: {said}"))
            }
            (Self::Refused(said), Verdict::Right(_) | Verdict::Lost(_)) => {
                Verdict::Wrong(format!("an open takes it, and the survey does not: {said}"))
            }
            (_, opened) => opened,
        }
    }
}
