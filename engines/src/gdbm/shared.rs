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
    /// How failures name the database while the engine is not to be had.
    name: String,
    /// Held while the file is synced.
    syncing: Mutex<()>,
}

impl SharedEngine {
    pub(super) fn new(engine: FileEngine) -> Self {
        let name = format!("database {}", engine.file.name());
        Self { engine: TimedLock::new(engine, PATIENCE), name, syncing: Mutex::new(()) }
    }

    /// Returns the engine; `None` if another call kept it for longer than a request can wait.
    pub(super) fn lock(&self) -> Option<TimedGuard<'_, FileEngine>> {
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
