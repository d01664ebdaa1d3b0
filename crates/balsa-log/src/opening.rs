//! How a store is opened: the home, and what the journal in front of it holds that the home lacks. And how one of either
//! mode becomes one of the other.
//!
//! What must hold: nothing is reported before the home has it durably. Where the home has a row of a journal, there is
//! one, whatever `FORMAT` says: a conversion may be cut off anywhere, and goes on with the next open.

use std::collections::BTreeMap;
use std::path::Path;

use crate::directory::{self, Contents};
use crate::error::Error;
use crate::journal::{Commit, Journal, JournalRow, Position, remove_segments};
use crate::lmdb::{Home, Stored};
use crate::log::Log;
use crate::plan::{Plan, Step, plan};
use crate::queue::Ticket;
use crate::random::random_bytes;
use crate::store::{Mode, Options};

/// Group commits of a journal become transactions of so many bytes of the home.
const TRANSACTION_BYTES: usize = 4 << 20;

/// A store that may be written: its boot is counted.
pub(crate) struct Opened {
    pub(crate) home: Home,
    pub(crate) stored: Stored,
    /// In front of the home; `None` in the other mode.
    pub(crate) journal: Option<Journal>,
}

/// Opens or creates the store in `dir`, whose lock is held: another opener may have created it between the first look
/// and the lock.
pub(crate) fn open(dir: &Path, options: &Options) -> Result<Opened, Error> {
    let engines = options.mode.engines();
    let asked = options.mode.engine();
    let found = directory::inspect(dir, engines)?;
    let (mut home, mut stored) = match found {
        Contents::Store(_) if options.seed.is_some() => return Err(directory::is_taken(dir)),
        Contents::Store(_) => Home::open(dir, options.map_bytes, options.faults.clone())?,
        Contents::Nothing => {
            let seed = options.seed.as_ref();
            let make = || Home::create(dir, options.map_bytes, options.faults.clone(), seed);
            directory::create_store(dir, asked, seed.map_or("", |seed| &seed.mark), make)?
        }
    };
    let before = recovered(dir, &home)?;
    let salt = u64::from_le_bytes(random_bytes()?);
    if let Some((row, commits)) = &before {
        take_in(&mut home, &mut stored, row, commits, salt)?;
    }
    let row = before.map(|(row, _)| row);
    let row = match (options.mode, row) {
        (Mode::Lmdb, _) => None,
        // Nothing counts that was written before: LMDB has it.
        (Mode::Journal(_), Some(row)) => Some(JournalRow { salt, position: Position::BEGIN, ..row }),
        (Mode::Journal(size), None) => Some(Journal::create(dir, salt, size)?),
    };
    // Before the boot is counted: a segment that is missing then is damage to the next open.
    let journal = match (options.mode, row) {
        (Mode::Journal(size), Some(row)) => Some(Journal::open(dir, &row, size, options.faults.clone())?),
        _ => None,
    };
    home.mark_boot(&stored.log, row)?;
    match found {
        Contents::Store(engine) if engine.name != asked.name => directory::convert(dir, asked)?,
        _ => directory::settle(dir)?,
    }
    if journal.is_none() {
        // Of a journal that was; the home has all of it.
        remove_segments(dir).map_err(|cause| Error::io(format!("removing the journal in {}", dir.display()), cause))?;
    }
    Ok(Opened { home, stored, journal })
}

/// A store that is only read.
pub(crate) struct Looked {
    pub(crate) home: Home,
    /// What the home holds.
    pub(crate) stored: Stored,
    /// What the journal holds besides: where that ends, segments, and its group commits. `None`: there is no journal.
    pub(crate) journal: Option<(Position, u32, Vec<Ticket>)>,
}

/// What the store in `dir` holds, whose lock is held; nothing is written.
pub(crate) fn look(dir: &Path, options: &Options) -> Result<Looked, Error> {
    let (home, stored) = Home::open(dir, options.map_bytes, options.faults.clone())?;
    let journal = recovered(dir, &home)?.map(|(row, commits)| {
        let position = commits.last().map_or(row.position, |commit| commit.position);
        (position, row.segments, commits.into_iter().map(|commit| Ticket::from(commit.tickets)).collect())
    });
    Ok(Looked { home, stored, journal })
}

/// The last entry of a store that is only read; an error where its journal does not go on from its home.
pub(crate) fn last_of(looked: &Looked) -> Result<u64, Error> {
    let Looked { home, stored, journal } = looked;
    let mut log = stored.log.clone();
    if let Some((_, _, tickets)) = journal {
        planned(home, &log.clone(), tickets)?.steps.iter().for_each(|step| log.follow(step));
    }
    Ok(log.last)
}

/// Carries out a plan on what is known of a store, and not in it.
pub(crate) fn follow(stored: &mut Stored, plan: &Plan<'_>) {
    follow_facts(&mut stored.facts, plan);
    plan.steps.iter().for_each(|step| stored.log.follow(step));
}

/// What the journal holds that the home lacks: nothing behind an orderly close. `None`: there is no journal.
fn recovered(dir: &Path, home: &Home) -> Result<Option<(JournalRow, Vec<Commit>)>, Error> {
    let Some(row) = home.journal() else { return Ok(None) };
    let commits = if home.was_clean() { Vec::new() } else { Journal::recover(dir, &row)? };
    Ok(Some((row, commits)))
}

/// Puts into the home what it lacks. From the last transaction on, batches count by another salt. The last one may be in
/// the cache alone, where it was written through that and its writer was killed before the flush, or saw it fail: a home
/// that named it would miss it when the power fails now.
fn take_in(
    home: &mut Home,
    stored: &mut Stored,
    row: &JournalRow,
    mut commits: &[Commit],
    salt: u64,
) -> Result<(), Error> {
    while let Some(first) = commits.first() {
        let mut bytes = first.tickets.len();
        let more = commits.iter().skip(1).take_while(|commit| {
            bytes += commit.tickets.len();
            bytes <= TRANSACTION_BYTES
        });
        let (now, later) = commits.split_at(1 + more.count());
        let tickets: Vec<Ticket> = now.iter().map(|commit| commit.tickets.as_slice().into()).collect();
        let end: Position = if later.is_empty() {
            home.forget_batches(salt);
            Position::BEGIN
        } else {
            now.last().map_or(row.position, |commit| commit.position)
        };
        let plan = planned(home, &stored.log, &tickets)?;
        follow_facts(&mut stored.facts, &plan);
        home.reserve(&plan)?;
        home.apply(&plan, &mut stored.log, Some((end, row.segments)))?;
        commits = later;
    }
    Ok(())
}

/// What is intact and yet does not follow from the log was damaged before it was sealed, or is of another log.
pub(crate) fn planned<'a>(home: &Home, log: &Log, tickets: &'a [Ticket]) -> Result<Plan<'a>, Error> {
    plan(log, tickets).map_err(|error| Error::Corrupt {
        file: home.file().to_owned(),
        index: None,
        detail: format!("the journal does not go on from it: {error}"),
    })
}

fn follow_facts(facts: &mut Vec<(String, Vec<u8>)>, plan: &Plan<'_>) {
    let mut all: BTreeMap<String, Vec<u8>> = std::mem::take(facts).into_iter().collect();
    for step in &plan.steps {
        match step {
            Step::Put { key, value } => {
                all.insert((*key).to_owned(), value.to_vec());
            }
            Step::Delete { key } => {
                all.remove(*key);
            }
            _ => {}
        }
    }
    *facts = all.into_iter().collect();
}
