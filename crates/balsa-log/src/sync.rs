//! What the two threads share memory by. In the unit tests, with the feature `interleavings`, the same names stand for
//! those of a scheduler that tries many orders of their steps (`interleavings.rs`); nowhere else, so that the tests around
//! the crate, which run real threads, need no other build.

#[cfg(all(test, feature = "interleavings"))]
pub(crate) use crate::interleavings::Instant;
#[cfg(all(test, feature = "interleavings"))]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(all(test, feature = "interleavings")))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(all(test, feature = "interleavings")))]
pub(crate) use std::time::Instant;
