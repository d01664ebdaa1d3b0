//! The home of the log in LMDB, as the writer sees it. Each method that changes something is one transaction with full
//! sync: what it changed is durable when it returns, and nothing of it is there when it fails before its commit.
//!
//! It is owned by one thread at a time: the one that opens the store, then the writer. Readers have [`Reader`].

use std::path::Path;

use super::load::{Loaded, load};
use super::reader::{Reader, Reads};
use super::repair::replace;
use super::reservation::{Reservation, SWEEP_BYTES, bytes_needed, repair_bytes};
use super::rows::{FORMAT_VERSION, StoreRow};
use super::sweep::{Slice, sweep};
use super::transaction::{Transaction, put_log, put_store};
use super::tree::Tree;
use crate::directory::Seed;
use crate::error::Error;
use crate::fault::{FaultPoint, Faults};
use crate::journal::{JournalRow, Position};
use crate::log::Log;
use crate::plan::Plan;
use crate::random::random_bytes;
use crate::repair::{Repaired, Replacement};
use crate::room::Usage;

/// Pages that a repair takes besides its blocks: paths of the tree and of the free list, with splits.
const REPAIR_PAGES: u64 = 32;

/// The writing side of an open environment.
pub(crate) struct Home {
    tree: Tree,
    /// The row of the store as it stands in the tree; a mark changes it, and writes it.
    store: StoreRow,
    /// Of the journal in front of it, as it stands in the tree; `None` where there is none.
    journal: Option<JournalRow>,
    reservation: Reservation,
    /// Whether there may be blocks that compactions have left behind.
    is_left_over: bool,
    /// Bytes of pages that hold something.
    used: u64,
    /// Bytes of pages that the last transaction has freed: they are used again by the next but one.
    freed: u64,
    /// Shared with the readers.
    reads: Reads,
    /// Bytes that transactions may still take without a look at reads: pages that were free when they were waited for.
    unheld: u64,
    /// Where block rows are put together; kept, so that it is allocated once.
    scratch: Vec<u8>,
    /// None outside tests.
    faults: Faults,
}

/// What a home held when it was opened.
pub(crate) struct Stored {
    /// Checked against the invariants of a log.
    pub(crate) log: Log,
    /// Small facts of the server, in the order of their names.
    pub(crate) facts: Vec<(String, Vec<u8>)>,
    /// Whether the last close was orderly. False for a new store.
    pub(crate) was_clean: bool,
}

impl Home {
    /// Creates an empty log in a directory that holds none of LMDB's files. Durable when it returns.
    pub(crate) fn create(
        dir: &Path,
        map_bytes: usize,
        faults: Faults,
        seed: Option<&Seed>,
    ) -> Result<(Self, Stored), Error> {
        let row = StoreRow {
            version: FORMAT_VERSION,
            clean: false,
            boot_counter: seed.map_or(0, |seed| seed.boot_counter),
            uuid: random_bytes()?,
            incarnation: seed.map_or_else(random_bytes, |seed| Ok(seed.incarnation))?,
        };
        Self::of(Tree::create(dir, map_bytes, &row)?, dir, faults)
    }

    /// Opens what is there, checks it, and writes nothing.
    pub(crate) fn open(dir: &Path, map_bytes: usize, faults: Faults) -> Result<(Self, Stored), Error> {
        Self::of(Tree::open(dir, map_bytes)?, dir, faults)
    }

    fn of(tree: Tree, dir: &Path, faults: Faults) -> Result<(Self, Stored), Error> {
        let Loaded { store, journal, log, is_left_over, facts } = load(dir, &tree)?;
        let reservation = Reservation::new(&tree.file, faults.clone())
            .map_err(|cause| Error::io(format!("opening {}", tree.file.display()), cause))?;
        let was_clean = store.clean;
        let home = Self {
            used: tree.used_bytes(),
            tree,
            store,
            journal,
            reservation,
            is_left_over,
            freed: 0,
            reads: Reads::default(),
            unheld: 0,
            scratch: Vec::new(),
            faults,
        };
        Ok((home, Stored { log, facts, was_clean }))
    }

    /// Names this store to its peers; drawn at random when it was created.
    pub(crate) fn incarnation(&self) -> [u8; 16] {
        self.store.incarnation
    }

    /// Grows by one with each boot.
    pub(crate) fn boot_counter(&self) -> u64 {
        self.store.boot_counter
    }

    /// What errors name.
    pub(crate) fn file(&self) -> &Path {
        &self.tree.file
    }

    /// How much of the bound is gone. Of free pages only a part counts as room: a block of many wants them side by side,
    /// and what is left between others is lost to it. A sixth was, of blocks of 15 pages.
    pub(crate) fn usage(&self) -> Usage {
        let gone = self.used + self.freed;
        Usage { used: self.used, gone: gone + self.tree.reached_bytes().saturating_sub(gone) / 4 * 3 }
    }

    /// Whether part of them is free for the one after it.
    pub(crate) fn has_freed(&self) -> bool {
        self.freed > 0
    }

    /// Whether there may be blocks that compactions have left behind.
    pub(crate) fn is_left_over(&self) -> bool {
        self.is_left_over
    }

    /// The bound of both.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.tree.map_bytes()
    }

    /// What it holds of the journal in front of it; `None` where there is none.
    pub(crate) fn journal(&self) -> Option<JournalRow> {
        self.journal
    }

    /// Whether the last close was orderly.
    pub(crate) fn was_clean(&self) -> bool {
        self.store.clean
    }

    /// Reads what is durable, beside the writer.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.tree.clone(), self.reads.clone())
    }

    /// No batch that was written before counts any more once the next transaction is durable.
    pub(crate) fn forget_batches(&mut self, salt: u64) {
        if let Some(row) = &mut self.journal {
            row.salt = salt;
        }
    }

    /// The transaction that ends an open: boot counter + 1, not clean, and `log` as it stands.
    pub(crate) fn mark_boot(&mut self, log: &Log, journal: Option<JournalRow>) -> Result<(), Error> {
        self.store.clean = false;
        self.store.boot_counter += 1;
        self.journal = journal;
        put_store(&self.tree, &self.store, self.journal.as_ref(), log)
    }

    /// The transaction of an orderly close.
    pub(crate) fn mark_clean(&mut self, log: &Log) -> Result<(), Error> {
        self.store.clean = true;
        put_store(&self.tree, &self.store, self.journal.as_ref(), log)
    }

    /// Takes room on the device for a plan. A full disk shows here, before anything is written: the call may be
    /// repeated.
    pub(crate) fn reserve(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        self.reserve_bytes(bytes_needed(plan))
    }

    /// The same for a sweep.
    pub(crate) fn reserve_sweep(&mut self) -> Result<(), Error> {
        self.reserve_bytes(SWEEP_BYTES)
    }

    /// The same for a repair.
    pub(crate) fn reserve_repair(&mut self, replacement: &Replacement) -> Result<(), Error> {
        self.reserve_bytes(repair_bytes(replacement))
    }

    /// A read that lasts keeps pages that are freed meanwhile from being used again. It is waited for before they could
    /// be missed: seldom in a map with room, each time in one that is nearly full.
    fn reserve_bytes(&mut self, needed: u64) -> Result<(), Error> {
        if needed > self.unheld {
            self.reads.wait();
            self.unheld = self.capacity_bytes().saturating_sub(self.used + self.freed);
        }
        self.reservation
            .ensure(self.tree.reached_bytes(), needed)
            .map_err(|cause| Error::io(format!("reserving room in {}", self.tree.file.display()), cause))?;
        self.unheld = self.unheld.saturating_sub(needed);
        Ok(())
    }

    /// Applies a plan to the tree and to the log that it was made for, in one transaction. A failure leaves `log` unfit
    /// for use, and the device in doubt: after a failed flush the kernel has dropped the pages, and the next
    /// transaction would succeed without them. So it is not repeated. `journal`: where the plan ends there, and how many
    /// segments that has.
    pub(crate) fn apply(
        &mut self,
        plan: &Plan<'_>,
        log: &mut Log,
        journal: Option<(Position, u32)>,
    ) -> Result<(), Error> {
        let mut transaction = Transaction::begin(&self.tree, log, &mut self.scratch)?;
        self.faults.check(FaultPoint::Write)?;
        transaction.write(plan)?;
        self.is_left_over |= plan.compacts;
        if self.is_left_over {
            self.is_left_over = transaction.sweep(&Slice::beside(plan))?;
        }
        if let (Some(row), Some((position, segments))) = (&mut self.journal, journal) {
            (row.position, row.segments) = (position, segments);
            transaction.put_journal(row)?;
        }
        self.faults.check(FaultPoint::Commit)?;
        transaction.commit()?;
        self.account(plan.bytes);
        Ok(())
    }

    /// A transaction that removes some of what compactions have left behind. If there is nothing, it only makes what
    /// the one before has freed free for the next.
    pub(crate) fn sweep(&mut self, log: &Log) -> Result<(), Error> {
        let tree = &self.tree;
        let mut txn = tree.write_txn()?;
        self.faults.check(FaultPoint::Write)?;
        if self.is_left_over {
            self.is_left_over = sweep(tree, &mut txn, log, &Slice::alone())?;
        } else {
            put_log(tree, &mut txn, log).map_err(|error| tree.lmdb_error(error))?;
        }
        self.faults.check(FaultPoint::Commit)?;
        txn.commit().map_err(|error| tree.lmdb_error(error))?;
        self.account(0);
        Ok(())
    }

    /// Whether a repair fits, however it is spread over pages: what it replaces is free only afterwards.
    pub(crate) fn has_room_for(&self, replacement: &Replacement) -> bool {
        let needed = replacement.bytes().saturating_mul(2).saturating_add(REPAIR_PAGES * self.tree.page_bytes());
        self.usage().gone.saturating_add(needed) <= self.capacity_bytes()
    }

    /// A transaction that puts blocks in the place of the damaged one of the same entries. A failure leaves the device in
    /// doubt, as with a plan. `log`, which is what the tree holds, stays as it is.
    pub(crate) fn repair(&mut self, log: &Log, replacement: &Replacement) -> Result<Repaired, Error> {
        let tree = &self.tree;
        let mut txn = tree.write_txn()?;
        self.faults.check(FaultPoint::Write)?;
        if !replace(tree, &mut txn, log, replacement, &mut self.scratch)? {
            return Ok(Repaired::Unchanged);
        }
        self.faults.check(FaultPoint::Commit)?;
        txn.commit().map_err(|error| tree.lmdb_error(error))?;
        self.account(replacement.bytes());
        Ok(Repaired::Replaced)
    }

    /// Takes note of what a transaction has left in use, that has added so many bytes at least: what is missing from
    /// them it has freed.
    fn account(&mut self, added: u64) {
        let (used, page) = (self.tree.used_bytes(), self.tree.page_bytes());
        self.freed = (self.used + added).saturating_sub(used) / page * page;
        self.used = used;
    }
}
