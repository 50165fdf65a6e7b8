//! Whether a connection still leads to the server that it was made to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ends the validity of all connections to a service at once, when the service has another master.
#[derive(Clone, Default, Debug)]
pub(super) struct Epoch(Arc<AtomicU32>);

impl Epoch {
    /// Returns the validity of a connection that is made from now on.
    pub(super) fn validity(&self) -> Validity {
        Validity { made: self.0.load(Ordering::Acquire), epoch: self.clone() }
    }

    /// Ends the validity of all connections that were made before.
    pub(super) fn end(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// The epoch in which a connection was made.
#[derive(Clone, Default, Debug)]
pub(super) struct Validity {
    epoch: Epoch,
    made: u32,
}

impl Validity {
    /// Returns whether that epoch lasts. Costs no system call, as each batch asks.
    pub(super) fn lasts(&self) -> bool {
        self.epoch.0.load(Ordering::Acquire) == self.made
    }
}
