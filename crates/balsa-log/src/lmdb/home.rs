//! The home of the log in LMDB, as the writer sees it. Each method that changes something is one transaction with full
//! sync: what it changed is durable when it returns, and nothing of it is there when it fails before its commit.
//!
//! It is owned by one thread at a time: the one that opens the store, then the writer. Readers have [`Reader`].

use std::path::Path;

use super::load::{Loaded, load};
use super::reader::Reader;
use super::reservation::{Reservation, bytes_needed};
use super::rows::{FORMAT_VERSION, StoreRow};
use super::transaction::{Transaction, put_store};
use super::tree::Tree;
use crate::error::Error;
use crate::fault::{FaultPoint, Faults};
use crate::log::Log;
use crate::plan::Plan;

/// The writing side of an open environment.
pub(crate) struct Home {
    tree: Tree,
    /// The row of the store as it stands in the tree; a mark changes it, and writes it.
    store: StoreRow,
    reservation: Reservation,
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
    pub(crate) fn create(dir: &Path, map_bytes: usize, faults: Faults) -> Result<(Self, Stored), Error> {
        let row = StoreRow {
            version: FORMAT_VERSION,
            clean: false,
            boot_counter: 0,
            uuid: random_bytes()?,
            incarnation: random_bytes()?,
        };
        Self::of(Tree::create(dir, map_bytes, &row)?, dir, faults)
    }

    /// Opens what is there, checks it, and writes nothing.
    pub(crate) fn open(dir: &Path, map_bytes: usize, faults: Faults) -> Result<(Self, Stored), Error> {
        Self::of(Tree::open(dir, map_bytes)?, dir, faults)
    }

    fn of(tree: Tree, dir: &Path, faults: Faults) -> Result<(Self, Stored), Error> {
        let Loaded { store, log, facts } = load(dir, &tree)?;
        let reservation = Reservation::new(&tree.file, faults.clone())
            .map_err(|cause| Error::io(format!("opening {}", tree.file.display()), cause))?;
        let was_clean = store.clean;
        let home = Self { tree, store, reservation, scratch: Vec::new(), faults };
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

    /// Bytes of the file that hold pages, or have held some.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.tree.used_bytes()
    }

    /// The bound of `used_bytes`.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.tree.map_bytes()
    }

    /// Reads what is durable, beside the writer.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.tree.clone())
    }

    /// The transaction that ends an open: boot counter + 1, not clean, and `log` as it stands.
    pub(crate) fn mark_boot(&mut self, log: &Log) -> Result<(), Error> {
        self.store.clean = false;
        self.store.boot_counter += 1;
        put_store(&self.tree, &self.store, log)
    }

    /// The transaction of an orderly close.
    pub(crate) fn mark_clean(&mut self, log: &Log) -> Result<(), Error> {
        self.store.clean = true;
        put_store(&self.tree, &self.store, log)
    }

    /// Takes room on the device for a plan. A full disk shows here, before anything is written: the call may be
    /// repeated.
    pub(crate) fn reserve(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        self.reservation
            .ensure(self.tree.used_bytes(), bytes_needed(plan))
            .map_err(|cause| Error::io(format!("reserving room in {}", self.tree.file.display()), cause))
    }

    /// Applies a plan to the tree and to the log that it was made for, in one transaction. A failure leaves `log` unfit
    /// for use, and the device in doubt: after a failed flush the kernel has dropped the pages, and the next
    /// transaction would succeed without them. So it is not repeated.
    pub(crate) fn apply(&mut self, plan: &Plan<'_>, log: &mut Log) -> Result<(), Error> {
        let mut transaction = Transaction::begin(&self.tree, log, &mut self.scratch)?;
        self.faults.check(FaultPoint::Write)?;
        transaction.write(plan)?;
        self.faults.check(FaultPoint::Commit)?;
        transaction.commit()
    }
}

fn random_bytes() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|cause| Error::io("drawing random bytes", cause.into()))?;
    Ok(bytes)
}
