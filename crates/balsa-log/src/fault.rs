//! The seam through which tests make the writer fail. Compiled for tests only.

use std::io;
use std::sync::Arc;

/// Where a fault can be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// Before a transaction, where room on the device is reserved.
    Reserve,
    /// Inside a transaction, before its first write.
    Write,
    /// In place of a commit.
    Commit,
}

/// Returns the error that the point shall fail with, or `None` to let it pass. It may panic, to test that as well.
pub type FaultHook = Arc<dyn Fn(FaultPoint) -> Option<io::Error> + Send + Sync>;
