//! Records in one file in the format of the GNU dbm library.
//!
//! Every change is in the page cache when its answer is given: a killed process loses nothing that it
//! acknowledged, and a sync puts the same pages on the disk.

mod bucket;
mod expire;
mod ffi;
mod free;
mod header;
mod inspect;
mod mapping;
mod open;
mod record_store;
mod rewrite;
mod room;
mod shared;
mod walk;

use std::fs::File;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use pyzord_core::{
    Digest, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task,
};

use crate::access::Access;
use crate::codec;
use crate::complaint::Complaint;
use crate::steps::{Step, Steps};
use expire::Round;
use ffi::{Database, Fault};
use mapping::Mapping;
pub use open::{OpenCause, OpenError};
use record_store::Scan;
use room::Room;
use shared::Shared;
pub use walk::Entries;

/// A gdbm file. Clones stand for the same open file, which the last of them closes.
#[derive(Clone, Debug)]
pub struct Gdbm {
    shared: Arc<Shared>,
    zone: TimeZone,
    scan: Scan,
    /// The batch at hand and the answers to its steps; kept for their memory.
    steps: Steps,
    of_steps: Vec<StoreAnswer>,
}

impl Gdbm {
    /// Opens a database for reading and writing, and creates it when there is none.
    ///
    /// A database that a killed process left damaged is recovered, and a backup of it kept beside it.
    ///
    /// # Errors
    /// When another process has it open, when it is no gdbm file, or none that can be read and written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Access::Create)
    }

    /// Opens a database, which must exist unless it may be created. With [`Access::Read`] a damaged one is not recovered.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if there is no database, or a damaged one that may not be changed.
    pub fn open_with(path: &Path, access: Access) -> Result<Self, OpenError> {
        open::open(path, access).map(Self::new)
    }

    /// Stores a record whole, in place of the one that the digest may have.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(&self, digest: Digest, record: &Record) -> Result<(), StoreFailure> {
        self.shared.with(|engine| engine.put(digest, record).map_err(|fault| engine.failure(&fault)))
    }

    /// Removes a key, whether a digest or not, and says whether it was there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove(&self, key: &[u8]) -> Result<bool, StoreFailure> {
        self.shared.with(|engine| engine.remove(key).map_err(|fault| engine.failure(&fault)))
    }

    /// All keys and values, in no order, one at a time; keys that are no digests and unreadable values too. Those that
    /// are there all the time are found once, whatever else is stored or removed meanwhile.
    #[must_use]
    pub fn entries(&self) -> Entries {
        Entries::new(Arc::clone(&self.shared))
    }

    fn new(engine: Engine) -> Self {
        let zone = engine.zone.clone();
        let shared = Arc::new(Shared::new(engine));
        Self { shared, zone, scan: Scan::default(), steps: Steps::default(), of_steps: Vec::new() }
    }
}

impl Store for Gdbm {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let steps = self.steps.merge(calls);
        self.of_steps.clear();
        match self.shared.lock() {
            Some(mut engine) => self.of_steps.extend(steps.iter().map(|step| engine.execute(now, *step))),
            None => self.of_steps.resize(steps.len(), Err(StoreError::Unavailable)),
        }
        self.steps.answers(&self.of_steps, answers);
    }

    fn record_count(&mut self, _now: Now) -> Option<u64> {
        self.shared.lock()?.records
    }

    fn upkeep(&mut self, _now: Now, task: Task) -> Result<Progress, StoreFailure> {
        self.shared.recover_once()?;
        match task {
            Task::Sync => self.shared.sync().map(|()| Progress::Done),
            Task::Expire(limit) => self.shared.expire(limit),
        }
    }
}

/// The open file and what belongs to it.
#[derive(Debug)]
struct Engine {
    database: Database,
    path: PathBuf,
    zone: TimeZone,
    /// How many keys there are, when nobody lost count.
    records: Option<u64>,
    /// The value being written; kept for its memory.
    value: Vec<u8>,
    /// Something was written since the last sync.
    dirty: bool,
    /// libgdbm refuses every call until the database is recovered.
    damaged: bool,
    /// A recovery while serving is done once: a disk that breaks files again and again would be filled with their
    /// backups. One that failed or had nothing to do leaves no backup, and may be tried again.
    recovered: bool,
    /// Another descriptor of the open file, to sync it without the lock. Its closing must come after the
    /// database's: where the lock is a POSIX one, closing any descriptor gives the lock up. Fields are dropped in
    /// the order in which they stand.
    file: Arc<File>,
    mapping: Mapping,
    room: Room,
    round: Round,
    unreadable: Complaint,
    failing: Complaint,
}

impl Engine {
    fn execute(&mut self, now: Now, step: Step) -> StoreAnswer {
        match step.op {
            StoreOp::Read => self.read(now, step.digest).map(|(record, _)| record),
            StoreOp::Report | StoreOp::Whitelist => self.count(now, step),
        }
    }

    /// The record of a digest, and the length of its value if there is one.
    fn read(&mut self, now: Now, digest: Digest) -> Result<(Record, Option<usize>), StoreError> {
        let stored = match self.database.fetch(&digest.hex()) {
            Ok(stored) => stored,
            Err(fault) => return Err(self.unavailable(now, &fault)),
        };
        let Some(value) = stored else { return Ok((Record::default(), None)) };
        match codec::gdbm::decode(&value, &self.zone) {
            Ok(record) => Ok((record, Some(value.len()))),
            Err(why) => Err(self.unreadable(now, digest, why)),
        }
    }

    fn count(&mut self, now: Now, step: Step) -> StoreAnswer {
        let (mut record, length) = self.read(now, step.digest)?;
        (0..step.times).for_each(|_| step.op.apply(&mut record, now.wall));
        if let Err(fault) = self.replace(&step.digest.hex(), length, &record) {
            return Err(self.unavailable(now, &fault));
        }
        self.stored(length.is_none());
        Ok(record)
    }

    fn put(&mut self, digest: Digest, record: &Record) -> Result<(), Fault> {
        let key = digest.hex();
        let length = self.database.fetch(&key)?.map(|value| value.len());
        self.replace(&key, length, record)?;
        self.stored(length.is_none());
        Ok(())
    }

    /// Keeps the count of records.
    fn stored(&mut self, new: bool) {
        self.records = self.records.map(|records| records + u64::from(new));
    }

    /// Stores a record in place of a value of that length, where one is known to be there.
    fn replace(&mut self, key: &[u8], length: Option<usize>, record: &Record) -> Result<(), Fault> {
        codec::gdbm::encode(record, &self.zone, &mut self.value);
        // A value as long as the one before goes where that was, and takes no room.
        if length != Some(self.value.len()) {
            self.room.make(&self.file).map_err(Fault::no_room)?;
        }
        self.dirty = true;
        self.database.store(key, &self.value)
    }

    /// Removes a key. It hardly ever takes room, then what writes have left of theirs, and must go on where there is
    /// none: it makes some.
    fn remove(&mut self, key: &[u8]) -> Result<bool, Fault> {
        self.dirty = true;
        let removed = self.database.delete(key)?;
        if removed {
            self.records = self.records.map(|records| records.saturating_sub(1));
        }
        Ok(removed)
    }

    fn unreadable(&mut self, now: Now, digest: Digest, why: codec::gdbm::Unreadable) -> StoreError {
        if let Some(more) = self.unreadable.due(now.tick) {
            log::warn!(
                "database {}: the record of {digest} is left as it is, unreadable: {why}{more}",
                self.name()
            );
        }
        StoreError::Unreadable
    }

    fn unavailable(&mut self, now: Now, fault: &Fault) -> StoreError {
        self.note(fault);
        if let Some(more) = self.failing.due(now.tick) {
            log::error!("database {}: {fault}{more}", self.name());
        }
        StoreError::Unavailable
    }

    fn failure(&mut self, fault: &Fault) -> StoreFailure {
        self.note(fault);
        StoreFailure::new(format!("database {}: {fault}", self.name()))
    }

    /// The database as the log names it.
    fn name(&self) -> path::Display<'_> {
        self.path.display()
    }

    fn note(&mut self, fault: &Fault) {
        self.damaged |= fault.needs_recovery;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.dirty
            && let Err(error) = self.file.sync_data()
        {
            log::error!("database {}: the last changes may be lost, syncing it failed: {error}", self.name());
        }
    }
}
