//! The requests of a connection about records: calls on the server's own database.

use std::io::{self, Write};

use pyzord_core::{Digest, Progress, Record, StoreCall, StoreError, StoreFailure, StoreOp, Task, UnixTime};
use pyzord_engines::{Change, ChangeError, RecordStore, StoredEntry};
use pyzord_runtime::Clock;
use thiserror::Error;

use super::operator::Operator;
use super::protocol::one_line;
use crate::bulk;
use crate::csv::RecordLine;

/// A connection's handle on the database, and the number of records that it changed.
pub(super) struct RecordSession {
    database: Box<dyn RecordStore>,
    clock: Clock,
    operator: Operator,
    stored: u64,
    removed: u64,
    counted: u64,
}

/// Why a request about records failed. The connection remains usable.
#[derive(Debug, Error)]
pub(super) enum RecordFailure {
    #[error(transparent)]
    Database(#[from] StoreFailure),
    #[error(transparent)]
    Count(#[from] StoreError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("the number of records is unknown")]
    NoEstimate,
}

/// The text of a reply behind `ok`.
type Answer = Result<String, RecordFailure>;

impl RecordSession {
    pub(super) const fn new(database: Box<dyn RecordStore>, clock: Clock, operator: Operator) -> Self {
        Self { database, clock, operator, stored: 0, removed: 0, counted: 0 }
    }

    pub(super) fn scan(&mut self, out: &mut dyn Write) -> io::Result<Answer> {
        let mut found = Vec::new();
        let progress = self.database.scan(&mut found);
        for StoredEntry { key, record } in found {
            match record {
                Ok((digest, record)) => writeln!(out, "found {}", RecordLine(digest, &record))?,
                Err(cause) => {
                    writeln!(out, "unreadable {}\t{}", one_line(&key), one_line(&cause.to_string()))?;
                }
            }
        }
        Ok(match progress {
            Ok(Progress::More) => Ok("more".to_owned()),
            Ok(Progress::Done | Progress::Surveyed(_) | Progress::Elsewhere) => Ok("done".to_owned()),
            Err(failure) => Err(failure.into()),
        })
    }

    pub(super) fn round(&self, digest: Digest, record: &Record) -> String {
        RecordLine(digest, &self.database.rounded(record)).to_string()
    }

    pub(super) fn fetch(&mut self, digest: Digest) -> Answer {
        let record = bulk::fetch_one(&mut *self.database, digest)?;
        Ok(RecordLine(digest, &record).to_string())
    }

    pub(super) fn put(&mut self, digest: Digest, record: &Record) -> Answer {
        bulk::put_one(&mut *self.database, digest, record)?;
        self.stored += 1;
        log::debug!("pyzorctl stores {}", RecordLine(digest, record));
        Ok(String::new())
    }

    pub(super) fn change(&mut self, digest: Digest, change: Change) -> Answer {
        bulk::change_one(&mut *self.database, digest, change)?;
        self.stored += 1;
        log::debug!("pyzorctl changes {digest}: {change:?}");
        Ok(String::new())
    }

    pub(super) fn remove(&mut self, digest: Digest) -> Answer {
        self.database.remove(&[digest])?;
        self.removed += 1;
        log::debug!("pyzorctl removes {digest}");
        Ok(String::new())
    }

    pub(super) fn count(&mut self, digest: Digest, op: StoreOp) -> Answer {
        let mut answers = Vec::new();
        self.database.execute(self.clock.now(), &[StoreCall::new(digest, op)], &mut answers);
        bulk::only(answers)??;
        self.counted += 1;
        Ok(String::new())
    }

    pub(super) fn estimate(&mut self) -> Answer {
        let count = self.database.record_count(self.clock.now());
        count.map(|count| count.to_string()).ok_or(RecordFailure::NoEstimate)
    }

    /// Removes one slice of the records whose latest activity is before `limit`.
    pub(super) fn expire(&mut self, limit: UnixTime) -> Answer {
        Ok(match self.database.upkeep(self.clock.now(), Task::Expire(limit))? {
            Progress::More => "more".to_owned(),
            Progress::Done | Progress::Surveyed(_) | Progress::Elsewhere => "done".to_owned(),
        })
    }

    pub(super) fn sync(&mut self) -> Answer {
        self.database.upkeep(self.clock.now(), Task::Sync)?;
        Ok(String::new())
    }
}

/// Logs what the operator has changed.
impl Drop for RecordSession {
    fn drop(&mut self) {
        let Self { stored, removed, counted, operator, .. } = self;
        if *stored + *removed + *counted > 0 {
            log::info!(
                "pyzorctl of {operator} has stored {stored} records, removed {removed} and counted {counted} reports or \
                 whitelistings while this server ran"
            );
        }
    }
}
