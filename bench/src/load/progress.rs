//! The progress of a running load.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the replies of a running load, warm-up included, for a progress display.
#[derive(Debug, Default)]
pub struct LoadProgress {
    answered: AtomicU64,
    lost: AtomicU64,
}

impl LoadProgress {
    /// Returns the numbers of answered and of lost requests so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    pub(crate) fn add_answered(&self, requests: u64) {
        self.answered.fetch_add(requests, Ordering::Relaxed);
    }

    pub(crate) fn add_lost(&self, requests: u64) {
        self.lost.fetch_add(requests, Ordering::Relaxed);
    }
}
