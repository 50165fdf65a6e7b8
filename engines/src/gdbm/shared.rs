//! One engine for all workers: a lock for short work, a loan for long work.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::StoreFailure;

use super::engine::FileEngine;
use super::error::FileError;
use crate::failure::failure;

/// How long a call waits for the engine; then it is answered without it.
const PATIENCE: Duration = Duration::from_millis(400);

/// The engine, or nothing while a long task has it.
///
/// Rewriting a large file takes seconds. Such a task takes the engine out and releases the lock, so that
/// calls that wait for the engine can give up. A thread that panics with the lock held poisons it; the others
/// go on, as libgdbm and the file's checks keep the database itself consistent.
#[derive(Debug)]
pub(super) struct SharedEngine {
    slot: Mutex<Option<FileEngine>>,
    returned: Condvar,
    /// Held while a thread waits for the slot. One that gives the slot back and wants it again at once queues here behind
    /// the thread that waits: a mutex alone would let it win, and a small request would wait for all of a large one.
    turn: Mutex<()>,
    /// How failures name the database while the engine is lent.
    name: String,
    /// Held while the file is synced.
    syncing: Mutex<()>,
}

impl SharedEngine {
    pub(super) fn new(engine: FileEngine) -> Self {
        let name = format!("database {}", engine.file.name());
        Self {
            slot: Mutex::new(Some(engine)),
            returned: Condvar::new(),
            turn: Mutex::new(()),
            name,
            syncing: Mutex::new(()),
        }
    }

    /// Returns the engine; `None` if a long task kept it for longer than a request can wait.
    pub(super) fn lock(&self) -> Option<Borrowed<'_>> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        drop(turn);
        let (slot, _) = self
            .returned
            .wait_timeout_while(slot, PATIENCE, |slot| slot.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        slot.is_some().then_some(Borrowed(slot))
    }

    /// Does something short with the engine.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut FileEngine) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreFailure> {
        let mut engine = self.lock().ok_or_else(|| self.busy())?;
        work(&mut engine)
    }

    /// Does something long with the engine, without the lock.
    pub(super) fn alone<T>(
        &self,
        work: impl FnOnce(&mut FileEngine) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreFailure> {
        let taken = self.lock().and_then(|mut borrowed| borrowed.0.take());
        let mut loan = Loan { shared: self, engine: taken };
        work(loan.engine.as_mut().ok_or_else(|| self.busy())?)
    }

    /// Waits for a sync that is under way and keeps others from starting. A sync that finds nothing to write
    /// must not succeed before the one that writes it has ended.
    pub(super) fn lock_sync(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> StoreFailure {
        failure(&self.name, FileError::Busy)
    }
}

/// The lock, held while the engine is there.
pub(super) struct Borrowed<'a>(MutexGuard<'a, Option<FileEngine>>);

impl Deref for Borrowed<'_> {
    type Target = FileEngine;

    #[expect(
        clippy::expect_used,
        reason = "`lock` makes it only of a slot with the engine, and `alone` drops it when it takes the engine"
    )]
    fn deref(&self) -> &FileEngine {
        self.0.as_ref().expect("the slot holds the engine")
    }
}

impl DerefMut for Borrowed<'_> {
    #[expect(
        clippy::expect_used,
        reason = "`lock` makes it only of a slot with the engine, and `alone` drops it when it takes the engine"
    )]
    fn deref_mut(&mut self) -> &mut FileEngine {
        self.0.as_mut().expect("the slot holds the engine")
    }
}

/// The engine while it is out of its slot. Dropping the loan puts it back, even if the task panics.
struct Loan<'a> {
    shared: &'a SharedEngine,
    engine: Option<FileEngine>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            *self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine);
            self.shared.returned.notify_all();
        }
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
                while shared.turn.try_lock().is_ok() {
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
