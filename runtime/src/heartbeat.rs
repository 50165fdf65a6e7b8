//! Heartbeats of workers: whether each of them gets on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The heartbeat of one worker, which beats at each turn of its loop.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    turns: u64,
    cell: Arc<Cell>,
}

/// A counter in a cache line of its own: each worker writes one all the time.
#[derive(Default, Debug)]
#[repr(align(64))]
struct Cell(AtomicU64);

/// The worker has not had its first turn.
const STARTING: u64 = 0;
/// The worker has ended.
const ENDED: u64 = u64::MAX;

impl Heartbeat {
    /// Marks the start of a turn.
    pub(crate) fn beat(&mut self) {
        self.turns += 1;
        self.cell.0.store(self.turns, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.cell.0.store(ENDED, Ordering::Relaxed);
    }
}

/// The heartbeats of all workers, each with its value at the last check.
#[derive(Default, Debug)]
pub(crate) struct Heartbeats(Mutex<Vec<(Arc<Cell>, u64)>>);

impl Heartbeats {
    /// Returns the heartbeat of a new worker, which counts as alive until its first turn.
    pub(crate) fn add(&self) -> Heartbeat {
        let cell = Arc::new(Cell::default());
        self.lock().push((Arc::clone(&cell), STARTING));
        Heartbeat { turns: 0, cell }
    }

    /// Whether every worker has had a turn since the last call.
    pub(crate) fn all_beat(&self) -> bool {
        let mut all = true;
        for (cell, last) in self.lock().iter_mut() {
            let now = cell.0.load(Ordering::Relaxed);
            all &= now == STARTING || now != ENDED && now != *last;
            *last = now;
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Cell>, u64)>> {
        // No code panics while it holds this lock, and the list stays whole if it did.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_without_a_heartbeat_is_noticed() {
        let heartbeats = Heartbeats::default();
        let (mut quick, mut stuck) = (heartbeats.add(), heartbeats.add());
        assert!(heartbeats.all_beat(), "workers count as alive until their first turn");
        quick.beat();
        stuck.beat();
        assert!(heartbeats.all_beat());
        quick.beat();
        assert!(!heartbeats.all_beat());
        quick.beat();
        stuck.beat();
        assert!(heartbeats.all_beat());
        drop(stuck);
        quick.beat();
        assert!(!heartbeats.all_beat(), "a worker has ended");
    }
}
