//! One engine for many workers: a lock for short work, a loan for long work.

use std::fs::{self, Metadata};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::{Progress, StoreFailure, UnixTime};

use super::expire::{Round, Slice};
use super::mapping::Mapping;
use super::rewrite::{self, Failed};
use super::room::Room;
use super::{Engine, open};

/// A call that waited this long for the engine is answered without it.
const PATIENCE: Duration = Duration::from_millis(400);

/// The engine, or nothing while a long task has it.
///
/// Rewriting a large file takes seconds. Such a task takes the engine out and leaves the lock, so those who
/// wait for the engine can stop waiting.
#[derive(Debug)]
pub(super) struct Shared {
    slot: Mutex<Option<Engine>>,
    returned: Condvar,
    /// Held while what was written is put on the disk.
    syncing: Mutex<()>,
}

impl Shared {
    pub(super) fn new(engine: Engine) -> Self {
        Self { slot: Mutex::new(Some(engine)), returned: Condvar::new(), syncing: Mutex::new(()) }
    }

    /// The engine; `None` when a long task kept it for longer than a request can wait.
    pub(super) fn lock(&self) -> Option<Borrowed<'_>> {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, _) = self
            .returned
            .wait_timeout_while(slot, PATIENCE, |slot| slot.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        slot.is_some().then_some(Borrowed(slot))
    }

    /// Does something short with the engine.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Engine) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreFailure> {
        let mut engine = self.lock().ok_or_else(busy)?;
        work(&mut engine)
    }

    /// Does something long with the engine, while nobody else holds or waits for the lock.
    pub(super) fn alone<T>(
        &self,
        work: impl FnOnce(&mut Engine) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreFailure> {
        let taken = self.lock().and_then(|mut borrowed| borrowed.0.take());
        let mut loan = Loan { shared: self, engine: taken };
        work(loan.engine.as_mut().ok_or_else(busy)?)
    }

    /// Puts on the disk what was written since the last time.
    pub(super) fn sync(&self) -> Result<(), StoreFailure> {
        let syncing = self.sync_alone();
        if self.with(|engine| Ok(engine.dirty))? {
            self.write_out(&syncing)?;
        }
        drop(syncing);
        self.settle_mapping()
    }

    /// Waits for a sync that is under way: who finds nothing to be written must not be told so before it has ended.
    pub(super) fn sync_alone(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the expired records of one slice, and ends the round when it was the last.
    pub(super) fn expire(&self, limit: UnixTime) -> Result<Progress, StoreFailure> {
        if self.with(|engine| Ok(engine.round.is_removing() && engine.mapping == Mapping::Mapped))? {
            self.settle_mapping()?;
        }
        match self.with(|engine| engine.expire_slice(limit).map_err(|fault| engine.failure(&fault)))? {
            Slice::More => Ok(Progress::More),
            Slice::Last { worth_reorganizing: false } => Ok(Progress::Done),
            Slice::Last { worth_reorganizing: true } => {
                self.alone(Engine::reorganize).map(|()| Progress::Done)
            }
        }
    }

    /// Recovers the database if a fault while serving asked for it.
    pub(super) fn recover_once(&self) -> Result<(), StoreFailure> {
        let due = self.with(|engine| match (engine.damaged, engine.recovered) {
            (true, true) => Err(StoreFailure::new(format!(
                "database {} is damaged again after a recovery; pyzord must be restarted to try once more",
                engine.name()
            ))),
            (damaged, _) => Ok(damaged),
        })?;
        if due { self.alone(Engine::recover) } else { Ok(()) }
    }
}

impl Engine {
    pub(super) fn reorganize(&mut self) -> Result<(), StoreFailure> {
        let reorganized = rewrite::reorganize(&mut self.database, &self.path);
        self.follow()?;
        reorganized.map_err(|failed| self.failed(&failed))?;
        log::info!("database {}: reorganized, to give the freed space back", self.name());
        Ok(())
    }

    /// Recovers the database, or finds that libgdbm had no need to stop: a full disk ends in the same state as damage.
    fn recover(&mut self) -> Result<(), StoreFailure> {
        if !self.damaged {
            // Somebody else has seen to it.
            return Ok(());
        }
        log::warn!(
            "database {}: libgdbm gave it up; it will be checked and, if damaged, recovered",
            self.name()
        );
        let recovered = rewrite::recover(&mut self.database, &self.path, &self.file, false);
        self.follow()?;
        let (salvage, backup) = recovered.map_err(|failed| self.failed(&failed))?;
        self.damaged = false;
        self.recovered = backup.is_some();
        self.records = self.database.count().ok();
        self.round = Round::default();
        open::report(&self.path, &salvage, backup.as_deref());
        Ok(())
    }

    /// After a rewriting, whatever came of it, the database may be a new file under the old name: syncs and walks must be
    /// of that one.
    fn follow(&mut self) -> Result<(), StoreFailure> {
        let name = |file: &Metadata| (file.dev(), file.ino());
        let same = || Ok(name(&fs::metadata(&self.path)?) == name(&self.file.metadata()?));
        if same().map_err(|error: io::Error| self.failed(&error.into()))? {
            return Ok(());
        }
        self.file = Arc::new(self.database.file().map_err(|error| self.failed(&error.into()))?);
        self.room = Room::default();
        self.mapping = self.mapping.of(&mut self.database);
        Ok(())
    }

    fn failed(&mut self, failed: &Failed) -> StoreFailure {
        if let Failed::Library(fault) = failed {
            self.note(fault);
        }
        StoreFailure::new(format!("database {}: {failed}", self.name()))
    }
}

fn busy() -> StoreFailure {
    StoreFailure::new("the database is being rewritten")
}

/// The lock, held by one who knows that the engine is there.
pub(super) struct Borrowed<'a>(MutexGuard<'a, Option<Engine>>);

impl Deref for Borrowed<'_> {
    type Target = Engine;

    #[expect(
        clippy::expect_used,
        reason = "made only of a slot that holds the engine, and gone when it is taken"
    )]
    fn deref(&self) -> &Engine {
        self.0.as_ref().expect("the slot holds the engine")
    }
}

impl DerefMut for Borrowed<'_> {
    #[expect(
        clippy::expect_used,
        reason = "made only of a slot that holds the engine, and gone when it is taken"
    )]
    fn deref_mut(&mut self) -> &mut Engine {
        self.0.as_mut().expect("the slot holds the engine")
    }
}

/// The engine taken out; it goes back when the task ends, however it ends.
struct Loan<'a> {
    shared: &'a Shared,
    engine: Option<Engine>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            *self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine);
            self.shared.returned.notify_all();
        }
    }
}
