//! The program that is killed: it runs a script against a directory, and says over a pipe what it does, each time before
//! it does it, and what it was told.

use std::io::{Read, Write};
use std::path::Path;

use balsa_log::Error;

use super::held::Opened;
use super::script::{Image, Script, Step, Way};

/// Never so much on its way that the queue of a small journal refuses it.
const QUEUED_BYTES_MAX: usize = 26 << 10;

/// Where a child begins, and what it does besides its script.
pub struct Orders {
    /// Tickets that are there at least, and at most, when it opens the store.
    pub from: (u64, u64),
    /// It only opens the store, says what it holds, and waits to be killed.
    pub holds: bool,
    /// It waits for a line before its first ticket.
    pub is_gated: bool,
    /// It closes the store as soon as that has no room.
    pub closes_when_stalled: bool,
}

struct Child<'a> {
    dir: &'a Path,
    script: &'a Script,
    way: Way,
    opened: Opened,
    /// Tickets that the store held when it was opened.
    before: u64,
    submitted: u64,
    acknowledged: u64,
    queued: usize,
    is_stalled: bool,
    closes_when_stalled: bool,
}

/// Why it went no further; it has said so.
struct Ended;

fn say(line: &str) {
    // One write: a line is there as a whole or not at all.
    let _nobody = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Runs the script to its end, or as far as the store goes.
pub fn run(dir: &Path, script: &Script, orders: &Orders) {
    // A store that hangs is one that has failed.
    // SAFETY: alarm touches nothing of this program; the signal ends it.
    unsafe { libc::alarm(60) };
    let (from, to) = orders.from;
    // Behind a kill it goes on where the store is found to be.
    let (way, _) = script.behind(from);
    let Ok((opened, before)) = open(dir, way, script, from, to) else { return };
    if orders.is_gated || orders.holds {
        let _line = std::io::stdin().read(&mut [0]);
    }
    if orders.holds {
        return;
    }
    let mut child = Child {
        dir,
        script,
        way,
        opened,
        before,
        submitted: before,
        acknowledged: before,
        queued: 0,
        is_stalled: false,
        closes_when_stalled: orders.closes_when_stalled,
    };
    let (_, steps) = script.behind(before);
    let done = steps.iter().try_for_each(|step| child.take(step)).and_then(|()| child.close());
    if done.is_ok() {
        say("e");
    }
}

/// Opens the store and says what it holds: from now on that is acknowledged.
fn open(dir: &Path, way: Way, script: &Script, from: u64, to: u64) -> Result<(Opened, u64), Ended> {
    let opened = Opened::open(dir, way).map_err(|error| refused(&error))?;
    let image = opened.image().map_err(|error| refused(&error))?;
    if let Some(what) = opened.contradiction(&image) {
        say(&format!("w {what}"));
        return Err(Ended);
    }
    let Some(tickets) = script.find(&image, from, to) else {
        say(&format!("w {}", unlike(script, &image, from, to)));
        return Err(Ended);
    };
    say(&format!("o {} {tickets}", opened.state.boot_counter));
    Ok((opened, tickets))
}

fn refused(error: &Error) -> Ended {
    say(&format!("r {} {error}", error.code()).replace('\n', " "));
    Ended
}

/// In what way a store is unlike all that it may hold.
pub fn unlike(script: &Script, held: &Image, from: u64, to: u64) -> String {
    if let Some(tickets) = script.find(held, 0, script.tickets()) {
        return format!("holds {tickets} tickets, and {from} to {to} are possible");
    }
    let wanted = &script.images[from as usize];
    let same = held.entries.iter().zip(&wanted.entries).take_while(|(held, wanted)| held == wanted).count() as u64;
    format!(
        "is like no state: entries {} to {} of {:?}, the first {same} as wanted; wanted after {from} tickets are {} to {} of {:?}; snapshots {:?} and {:?}, facts {} and {}",
        held.first,
        held.last(),
        held.hard_state,
        wanted.first,
        wanted.last(),
        wanted.hard_state,
        held.snapshot.as_ref().map(|snapshot| snapshot.index),
        wanted.snapshot.as_ref().map(|snapshot| snapshot.index),
        held.facts.len(),
        wanted.facts.len(),
    )
}

impl Child<'_> {
    fn take(&mut self, step: &Step) -> Result<(), Ended> {
        match step {
            Step::Ticket(bytes) => self.submit(bytes),
            Step::Wait => self.wait(),
            Step::Idle => {
                self.wait()?;
                while self.opened.store.stats().behind_bytes > 0 && !self.opened.poll().poisoned {}
                self.look()
            }
            Step::Read => self.read(),
            Step::Reopen(way) => {
                self.close()?;
                let submitted = self.submitted;
                self.way = *way;
                (self.opened, self.before) = open(self.dir, *way, self.script, submitted, submitted)?;
                Ok(())
            }
        }
    }

    fn submit(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        if self.queued + bytes.len() > QUEUED_BYTES_MAX {
            self.wait()?;
        }
        say(&format!("s {}", self.submitted + 1));
        self.submitted += 1;
        self.queued += bytes.len();
        match self.opened.store.submit(bytes) {
            Ok(_number) => self.look(),
            Err(Error::Poisoned { .. } | Error::Full { .. }) => self.look(),
            Err(error) => {
                say(&format!("w ticket {} was not taken: {error}", self.submitted));
                Err(Ended)
            }
        }
    }

    /// Says what is new.
    fn look(&mut self) -> Result<(), Ended> {
        let progress = self.opened.store.poll();
        if self.before + progress.durable > self.acknowledged {
            self.acknowledged = self.before + progress.durable;
            say(&format!("d {}", self.acknowledged));
        }
        if self.acknowledged == self.submitted {
            self.queued = 0;
        }
        if progress.stalled && !self.is_stalled {
            say("t");
            self.is_stalled = true;
            if self.closes_when_stalled {
                self.opened.store.close();
                return self.look();
            }
        }
        self.is_stalled = progress.stalled;
        if progress.poisoned {
            return self.poisoned();
        }
        Ok(())
    }

    fn poisoned(&mut self) -> Result<(), Ended> {
        let (code, message) = self.opened.store.fault().unwrap_or(("none", String::new()));
        say(&format!("p {code} {message}").replace('\n', " "));
        self.opened.store.close();
        // Only this clears it. It may fail as well: whatever made it fail may still do so.
        let (from, to) = (self.acknowledged, self.submitted);
        open(self.dir, self.way, self.script, from, to)?;
        Err(Ended)
    }

    fn wait(&mut self) -> Result<(), Ended> {
        self.look()?;
        while self.acknowledged < self.submitted {
            self.opened.poll();
            self.look()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Ended> {
        self.wait()?;
        let wanted = &self.script.images[self.submitted as usize];
        match self.opened.entries(wanted.first, wanted.last() + 1) {
            Ok(entries) if entries == wanted.entries => Ok(()),
            Ok(entries) => {
                let (many, all) = (entries.len(), wanted.entries.len());
                say(&format!("w {many} entries were read, other than the {all} that were written"));
                Err(Ended)
            }
            Err(error) => Err(refused(&error)),
        }
    }

    fn close(&mut self) -> Result<(), Ended> {
        self.opened.store.close();
        self.look()?;
        if self.acknowledged < self.submitted {
            say(&format!("w a close left {} of {} tickets behind", self.acknowledged, self.submitted));
            return Err(Ended);
        }
        say("c");
        Ok(())
    }
}
