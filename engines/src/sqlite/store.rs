//! The engine as a server uses it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Now, Progress, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task};

use super::connection::{SERVING, WORKING};
use super::database::{Database, ReaderSlot};
use super::expire::Round;
use super::key::Key;
use super::open::{OpenError, open};
use super::options::{LITTLE_CACHE, Options};
use super::table;
use super::upkeep::{self, Patience};
use crate::access::Access;
use crate::merge::Merger;

/// A SQLite database. Clones share it, and each reads with a connection of its own.
#[derive(Debug)]
pub struct Sqlite {
    /// Closed before the database is: the writer's connection is the one that ends the log.
    pub(super) reader: ReaderSlot,
    pub(super) database: Arc<Database>,
    pub(super) round: Round,
    /// How many records the expiry of this handle has removed.
    pub(super) expired: u64,
    /// Where a scan is.
    pub(super) scan: Option<Key>,
    /// The last batch and its answers; kept for their memory.
    merger: Merger,
    merged_answers: Vec<StoreAnswer>,
    /// The last commit whose answers wait for the disk.
    awaited: Option<u64>,
}

impl Sqlite {
    /// Opens a database, which must exist unless it may be created.
    ///
    /// # Errors
    /// If it is not a database of pyzord, or cannot be read and written.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        open(path, options, SERVING).map(|database| Self::of(Arc::new(database), options.handles_share()))
    }

    /// Opens a database for a tool, whose changes wait up to half a minute for other processes that write, a busy server for
    /// example. [`open`](Self::open) is for a server, which waits for 0.4 seconds.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_patiently(path: &Path, access: Access) -> Result<Self, OpenError> {
        let options = Options::alone(access);
        open(path, options, WORKING).map(|database| Self::of(Arc::new(database), options.handles_share()))
    }

    /// Returns a handle with little memory for pages: for upkeep, or to count, which reads with the writer's connection.
    #[must_use]
    pub fn sparing(&self) -> Self {
        Self::of(Arc::clone(&self.database), LITTLE_CACHE)
    }

    fn of(database: Arc<Database>, cache: u64) -> Self {
        let reader = database.reader_slot(cache);
        let (merger, merged_answers) = (Merger::default(), Vec::new());
        let (round, scan, awaited) = (Round::default(), None, None);
        Self { reader, database, round, expired: 0, scan, merger, merged_answers, awaited }
    }
}

impl Clone for Sqlite {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.database), self.database.options.handles_share())
    }
}

impl Store for Sqlite {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let start = answers.len();
        if self.commit(now, calls, answers) {
            self.make_durable(now, calls, answers.get_mut(start..).unwrap_or_default());
        }
    }

    fn commit(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) -> bool {
        let merged = self.merger.merge(calls);
        self.merged_answers.clear();
        let commit = if calls.iter().all(|call| call.op == StoreOp::Read) {
            self.database.read_all(&self.reader, now, merged, &mut self.merged_answers);
            None
        } else {
            self.database.commit_all(&self.reader, now, merged, &mut self.merged_answers)
        };
        self.merger.answers(&self.merged_answers, answers);
        let waits = commit.is_some() && self.database.promises_syncs();
        if waits {
            self.awaited = commit;
        }
        waits
    }

    fn make_durable(&mut self, now: Now, calls: &[StoreCall], answers: &mut [StoreAnswer]) {
        let is_durable = self.awaited.take().is_none_or(|commit| self.database.is_durable(now, commit));
        if !is_durable {
            let counts = calls.iter().zip(answers).filter(|(call, _)| call.op != StoreOp::Read);
            counts.for_each(|(_, answer)| *answer = answer.and(Err(StoreError::Unknown)));
        }
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        match task {
            Task::Sync => {
                upkeep::adopt(&self.database)?;
                upkeep::sync(&self.database, Patience::AsLongAsItTakes).map(|()| Progress::Done)
            }
            Task::Survey(limit) => self.survey(limit),
            Task::Expire(limit) => self.expire(now, limit),
        }
    }

    fn expired(&self) -> Option<u64> {
        Some(self.expired)
    }

    fn probe(&mut self, now: Now) -> Result<(), StoreFailure> {
        let database = &self.database;
        let probed = database.check_counts(now).and_then(|()| {
            // All that a count needs: the turn, the locks, and room for a page.
            let trial = "UPDATE pyzord_meta SET value = value + 1 WHERE name = 'trials'";
            database.write(|writer| Ok(writer.prepare_cached(trial)?.execute([])?))
        });
        let (_, commit) = probed.map_err(|error| database.failure(error))?;
        if database.promises_syncs() {
            upkeep::sync_to(database, commit, Patience::Of(Duration::from_millis(400)))?;
        }
        Ok(())
    }

    fn record_count(&mut self, _now: Now) -> Option<u64> {
        self.database.read(&self.reader, |reader| Ok(table::records(reader)?)).ok().flatten()
    }
}
