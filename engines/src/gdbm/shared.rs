//! One engine for all workers, behind one lock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::StoreFailure;

use super::engine::FileEngine;
use super::error::FileError;
use super::timed_lock::{TimedGuard, TimedLock};
use crate::failure::failure;

/// How long a call waits for the engine; then it is answered without it.
const PATIENCE: Duration = Duration::from_millis(400);

/// The engine and its lock.
///
/// Rewriting a large file takes seconds, and so may one read of a disk that fails: calls that wait for the lock give up.
/// A thread that panics with the lock held does not keep the others out, as libgdbm and the file's checks keep the
/// database itself consistent.
#[derive(Debug)]
pub(super) struct SharedEngine {
    engine: TimedLock<FileEngine>,
    /// Held while a call waits for the engine. One that gives the engine back and wants it again at once queues here behind
    /// the call that waits: the lock alone would let it win, and a small request would wait for all of a large one.
    turn: TimedLock<()>,
    /// How failures name the database while the engine is not to be had.
    name: String,
    /// Held while the file is synced.
    syncing: Mutex<()>,
}

impl SharedEngine {
    pub(super) fn new(engine: FileEngine) -> Self {
        let name = format!("database {}", engine.file.name());
        let (engine, turn) = (TimedLock::new(engine, PATIENCE), TimedLock::new((), PATIENCE));
        Self { engine, turn, name, syncing: Mutex::new(()) }
    }

    /// Returns the engine; `None` if another call kept it for longer than a request can wait.
    pub(super) fn lock(&self) -> Option<TimedGuard<'_, FileEngine>> {
        let _turn = self.turn.lock()?;
        self.engine.lock()
    }

    /// Does something with the engine.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut FileEngine) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreFailure> {
        let mut engine = self.lock().ok_or_else(|| failure(&self.name, FileError::Busy))?;
        work(&mut engine)
    }

    /// Waits for a sync that is under way and keeps others from starting. A sync that finds nothing to write
    /// must not succeed before the one that writes it has ended.
    pub(super) fn lock_sync(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::access::Access;
    use crate::gdbm::open::open;

    /// A thread that executes a large request in slices won the lock again and again, while small requests waited.
    #[test]
    fn a_thread_that_wants_the_engine_again_waits_behind_one_that_waits() {
        let directory = tempfile::tempdir().unwrap();
        let file = open(&directory.path().join("pyzord.db"), Access::Create).unwrap();
        let shared = SharedEngine::new(FileEngine::new(file));
        for round in 1..=100 {
            let mut engine = shared.lock();
            let mut pauses = 0;
            let others = Mutex::new(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let engine = shared.lock();
                    *others.lock().unwrap() += 1;
                    drop(engine);
                });
                while shared.turn.try_lock().is_some() {
                    pauses += 1;
                    assert!(pauses < 20_000, "the other thread does not wait in 20 seconds");
                    thread::sleep(Duration::from_millis(1));
                }
                drop(engine.take());
                let engine = shared.lock();
                assert_eq!(*others.lock().unwrap(), 1, "in round {round}");
                drop(engine);
            });
        }
    }
}
