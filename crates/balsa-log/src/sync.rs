//! What the two threads share memory by. With the feature `interleavings` the same names stand for those of a scheduler
//! that tries many orders of their steps (`interleavings.rs`).

#[cfg(feature = "interleavings")]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(feature = "interleavings"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
