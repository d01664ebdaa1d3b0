//! The log store of Balsa: sealed blocks, tickets, hard state and facts, durable behind one writer thread.
//!
//! What must hold (the contract is `ts/storage/log-store.ts`):
//! - A ticket is atomic and tickets are FIFO. Ticket n is reported durable only after the transaction that holds it,
//!   and every ticket before it, has been committed with full sync.
//! - There is no third outcome: a ticket becomes durable, or the store is poisoned until it is opened again.
//! - `open` reports nothing before its own closing transaction is durable.
//! - Every entry that leaves the store has been checked against its CRC.
//!
//! The way of a ticket: `store` takes it, `queue` holds it, `writer` drains the queue into a batch, `plan` checks the
//! batch against the `log`, `lmdb` writes it in one transaction, `progress` says so, and `room` how full the home is.
//! `shared` is what both threads hold. Only `lmdb/` knows LMDB; only `format/`, the rows in `lmdb/` and the batches in
//! `journal/` know bytes.
//!
//! Where there is a journal in front of LMDB, `journal_writer` drains the queue and writes each batch to the `journal`;
//! `backlog` holds it until `writer`, which is then fed from there, has it in LMDB, and `tail` is what reads see of it
//! meanwhile. `opening` puts the two together again.
//!
//! Around the directory stand `directory` (whose it is), `lock` (who has it open), `watch` (whether it is still there)
//! and `filesystem` (whether a flush means anything there, and which file is which). `boot_clock` has nothing to do
//! with stores: it is the one thing that leases need of the system.
//!
//! `verify` reads all of it, and goes on where an open ends.
//!
//! This crate decides; the addon at the root of the repository translates.

#![deny(unsafe_code)]

mod backlog;
mod boot_clock;
mod directory;
mod error;
mod fault;
mod filesystem;
pub mod format;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
mod journal;
mod journal_writer;
mod lmdb;
mod lock;
mod log;
mod opening;
mod plan;
mod progress;
mod queue;
mod random;
mod read;
mod repair;
mod room;
mod shared;
mod store;
mod sync;
mod tail;
mod verify;
mod watch;
mod writer;

pub use boot_clock::boot_now;
pub use directory::Seed;
pub use error::Error;
pub use fault::{FaultPoint, Faults};
pub use filesystem::Durability;
pub use journal::JournalSize;
pub use log::{HardState, TermRun};
pub use progress::{Progress, Stats, Wake};
pub use read::ReadOutcome;
pub use repair::{REPAIR_BYTES_MAX, Repaired};
pub use store::{CREDIT_RESERVE_BYTES, Mode, Options, QUEUE_CAPACITY_BYTES, READ_BYTES_MAX, State, Store};
pub use verify::{FINDINGS_MAX, Finding, Loss, Verification, verify};
