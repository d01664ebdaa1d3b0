//! The seam through which tests make the writer fail. Only the feature `fault-injection` can fill it: in a shipped
//! build there is no hook, every point passes, and asking costs nothing.

use std::io;
#[cfg(any(test, feature = "fault-injection"))]
use std::sync::Arc;

use crate::error::Error;

/// Where a fault can be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// In place of the system call that reserves room on the device, before a transaction.
    Reserve,
    /// Inside a transaction, before its first write.
    Write,
    /// In place of a commit.
    Commit,
    /// In place of the write of a batch to the journal.
    Journal,
    /// In place of the making of another segment of it, on the thread that makes it.
    Segment,
}

/// What a point shall fail with; none by default.
#[derive(Clone, Default)]
pub struct Faults {
    /// Returns the error of a point, or `None` to let it pass. It may panic, to test that as well.
    #[cfg(any(test, feature = "fault-injection"))]
    hook: Option<Arc<dyn Fn(FaultPoint) -> Option<io::Error> + Send + Sync>>,
}

impl Faults {
    /// Faults as `hook` has them, at each point.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn injected(hook: impl Fn(FaultPoint) -> Option<io::Error> + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)) }
    }

    /// Fails if a fault is injected at this point.
    pub(crate) fn check(&self, point: FaultPoint) -> Result<(), Error> {
        match self.at(point) {
            Some(cause) => Err(Error::io(format!("injected at {point:?}"), cause)),
            None => Ok(()),
        }
    }

    /// What is injected at this point.
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) fn at(&self, point: FaultPoint) -> Option<io::Error> {
        self.hook.as_ref().and_then(|hook| hook(point))
    }

    /// What is injected at this point: nothing.
    #[cfg(not(any(test, feature = "fault-injection")))]
    #[allow(clippy::unused_self, reason = "the shape of the other one")]
    pub(crate) fn at(&self, _point: FaultPoint) -> Option<io::Error> {
        None
    }
}
