//! The engine as workers use it.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use pyzord_core::{
    Digest, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, Task,
};

use super::engine::FileEngine;
use super::open::{OpenError, open};
use super::record_file::RecordFile;
use super::shared::SharedEngine;
use super::walk::{Entries, Scan};
use crate::access::Access;
use crate::merge::Merger;

/// A gdbm file. Clones share the open file, which is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Gdbm {
    pub(super) shared: Arc<SharedEngine>,
    pub(super) zone: TimeZone,
    pub(super) scan: Scan,
    /// The last batch and its answers; kept for their memory.
    merger: Merger,
    merged_answers: Vec<StoreAnswer>,
}

impl Gdbm {
    /// Opens a database to read and write, and creates it if there is none.
    ///
    /// A database that a killed process left damaged is recovered, and a backup of it is kept beside it.
    ///
    /// # Errors
    /// If another process has it open, if it is not a gdbm file, or if it cannot be read and written.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Access::Create)
    }

    /// Opens a database, which must exist unless it may be created. With [`Access::Read`] a damaged one is
    /// not recovered.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if there is no database, or a damaged one that may not be changed.
    pub fn open_with(path: &Path, access: Access) -> Result<Self, OpenError> {
        let file = open(path, access)?;
        let zone = file.zone().clone();
        let shared = Arc::new(SharedEngine::new(FileEngine::new(file)));
        let (scan, merger) = (Scan::default(), Merger::default());
        Ok(Self { shared, zone, scan, merger, merged_answers: Vec::new() })
    }

    /// Stores a whole record, in place of the one that the digest may have.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn put(&self, digest: Digest, record: &Record) -> Result<(), StoreFailure> {
        self.check_presence()?;
        self.put_unchecked(digest, record)
    }

    /// Fails if the database's path does not lead to the open file: what is stored is lost then.
    pub(super) fn check_presence(&self) -> Result<(), StoreFailure> {
        self.shared.with(FileEngine::check_presence)
    }

    /// Stores a whole record, if the database is not known to be away.
    pub(super) fn put_unchecked(&self, digest: Digest, record: &Record) -> Result<(), StoreFailure> {
        self.shared.with(|engine| {
            engine.check_known_presence()?;
            engine.with_file(|file| file.put(digest, record))
        })
    }

    /// Removes a key, a digest or not, and returns whether it existed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remove(&self, key: &[u8]) -> Result<bool, StoreFailure> {
        self.shared.with(|engine| {
            engine.check_presence()?;
            engine.with_file(|file| file.erase(key))
        })
    }

    /// Returns all keys and values in no order, with keys that are not digests and values that are not
    /// records. A key that exists all the time is returned once, whatever else is stored or removed
    /// meanwhile.
    #[must_use]
    pub fn entries(&self) -> Entries {
        Entries::new(Arc::clone(&self.shared))
    }
}

impl Store for Gdbm {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let merged = self.merger.merge(calls);
        self.merged_answers.clear();
        match self.shared.lock() {
            Some(mut engine) => {
                engine.look(now.tick);
                self.merged_answers.extend(merged.iter().map(|call| engine.execute(now, *call)));
            }
            None => self.merged_answers.resize(merged.len(), Err(StoreError::Unavailable)),
        }
        self.merger.answers(&self.merged_answers, answers);
    }

    fn probe(&mut self, now: Now) -> Result<(), StoreFailure> {
        self.shared.with(|engine| {
            engine.look(now.tick);
            engine.check_known_presence()?;
            engine.check_damage()?;
            engine.with_file(RecordFile::probe)
        })
    }

    fn expired(&self) -> Option<u64> {
        Some(self.shared.lock()?.expired)
    }

    fn record_count(&mut self, _now: Now) -> Option<u64> {
        self.shared.lock()?.file.count
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        if let Some(away) = self.shared.rescue(now.tick)? {
            return match task {
                Task::Sync => Ok(Progress::Done),
                Task::Survey(_) | Task::Expire(_) => Err(away),
            };
        }
        self.shared.recover_once()?;
        match task {
            Task::Sync => self.shared.sync().map(|()| Progress::Done),
            Task::Survey(limit) => self.shared.with(|engine| engine.survey(limit)),
            Task::Expire(limit) => self.shared.expire(limit),
        }
    }
}
