//! The engine behind the lock: answers requests from the file, and does its upkeep.

use pyzord_core::{Digest, Now, Record, StoreAnswer, StoreError, StoreFailure, StoreOp, UnixTime};

use super::error::FileError;
use super::expire::{ExpiryRound, Slice};
use super::ffi::GdbmError;
use super::record_file::RecordFile;
use crate::codec::gdbm::Unreadable;
use crate::failure::failure;
use crate::log_limiter::LogLimiter;
use crate::merge::MergedCall;

/// An open file, and what the engine remembers about it between calls.
#[derive(Debug)]
pub(super) struct FileEngine {
    pub(super) file: RecordFile,
    pub(super) round: ExpiryRound,
    /// libgdbm refuses every call until the database is recovered.
    damaged: bool,
    /// A recovery while serving has made a backup. It is done only once, as a disk that breaks
    /// files again and again fills with backups otherwise. A recovery that failed or had nothing to do makes no backup, and
    /// may be tried again.
    recovered: bool,
    unreadable: LogLimiter,
    failing: LogLimiter,
}

impl FileEngine {
    pub(super) fn new(file: RecordFile) -> Self {
        Self {
            file,
            round: ExpiryRound::default(),
            damaged: false,
            recovered: false,
            unreadable: LogLimiter::default(),
            failing: LogLimiter::default(),
        }
    }

    /// Answers one call of a request.
    pub(super) fn execute(&mut self, now: Now, call: MergedCall) -> StoreAnswer {
        match call.op {
            StoreOp::Read => self.read(now, call.digest).map(|(record, _)| record),
            StoreOp::Report | StoreOp::Whitelist => self.count(now, call),
        }
    }

    /// Does something with the file; a failure names the database.
    pub(super) fn with_file<T, E: Into<FileError>>(
        &mut self,
        work: impl FnOnce(&mut RecordFile) -> Result<T, E>,
    ) -> Result<T, StoreFailure> {
        work(&mut self.file).map_err(|error| self.failure(error))
    }

    /// Fails if libgdbm refuses every call until the database is recovered.
    pub(super) fn check_damage(&mut self) -> Result<(), StoreFailure> {
        if self.damaged { Err(self.failure(FileError::NotRecovered)) } else { Ok(()) }
    }

    /// Returns whether the database must be recovered now.
    ///
    /// # Errors
    /// If it was recovered before.
    pub(super) fn must_recover(&mut self) -> Result<bool, StoreFailure> {
        match (self.damaged, self.recovered) {
            (true, true) => Err(self.failure(FileError::DamagedAgain)),
            (damaged, _) => Ok(damaged),
        }
    }

    /// Recovers the database, unless another thread has done so meanwhile.
    pub(super) fn recover(&mut self) -> Result<(), StoreFailure> {
        if !self.damaged {
            return Ok(());
        }
        let recovery = self.with_file(RecordFile::recover)?;
        self.damaged = false;
        self.recovered = recovery.backup.is_some();
        self.round = ExpiryRound::default();
        Ok(())
    }

    /// Removes the expired records of one slice.
    pub(super) fn expire(&mut self, limit: UnixTime) -> Result<Slice, StoreFailure> {
        let slice = self.round.slice(&mut self.file, limit);
        slice.map_err(|error| self.failure(error))
    }

    /// Returns the failure with this cause, after which a recovery may be due.
    fn failure(&mut self, error: impl Into<FileError>) -> StoreFailure {
        let error = error.into();
        self.damaged |= error.needs_recovery();
        failure(format_args!("database {}", self.file.name()), error)
    }

    /// Returns the record of a digest, and the length of its value if there is one.
    fn read(&mut self, now: Now, digest: Digest) -> Result<(Record, Option<usize>), StoreError> {
        let stored = match self.file.fetch(&digest.hex()) {
            Ok(stored) => stored,
            Err(error) => return Err(self.unavailable(now, &error)),
        };
        let Some(value) = stored else { return Ok((Record::default(), None)) };
        match self.file.decode(&value) {
            Ok(record) => Ok((record, Some(value.len()))),
            Err(why) => Err(self.unreadable(now, digest, why)),
        }
    }

    fn count(&mut self, now: Now, call: MergedCall) -> StoreAnswer {
        let before = self.read(now, call.digest)?;
        let (mut record, length) = before;
        (0..call.times).for_each(|_| call.op.apply(&mut record, now.wall));
        match self.file.replace(call.digest, length, &record) {
            Ok(()) => Ok(record),
            Err(error) => {
                let unavailable = self.unavailable(now, &error);
                // A write that failed may have changed the file.
                let unchanged = self.read(now, call.digest) == Ok(before);
                Err(if unchanged { unavailable } else { StoreError::Unknown })
            }
        }
    }

    fn unreadable(&mut self, now: Now, digest: Digest, why: Unreadable) -> StoreError {
        if let Some(more) = self.unreadable.due(now.tick) {
            log::warn!(
                "database {}: the record of {digest} is left as it is, unreadable: {why}{more}",
                self.file.name()
            );
        }
        StoreError::Unreadable
    }

    fn unavailable(&mut self, now: Now, error: &GdbmError) -> StoreError {
        self.damaged |= error.needs_recovery();
        if let Some(more) = self.failing.due(now.tick) {
            log::error!("database {}: {error}{more}", self.file.name());
        }
        StoreError::Unavailable
    }
}
