//! The engine behind the lock: answers requests from the file, and does its upkeep.

use std::time::Duration;

use pyzord_core::{
    Digest, Now, Progress, Record, StoreAnswer, StoreError, StoreFailure, StoreOp, Tick, UnixTime,
};

use super::error::FileError;
use super::expire::{ExpiryRound, Slice};
use super::ffi::GdbmError;
use super::open::OpenError;
use super::presence::{Away, Substitute};
use super::record_file::RecordFile;
use super::rewrite;
use super::survey::SurveyRound;
use super::write_error::WriteError;
use crate::codec::gdbm::Unreadable;
use crate::failure::failure;
use crate::log_limiter::LogLimiter;
use crate::merge::MergedCall;

/// How often the engine looks whether the database's path still leads to its file.
const LOOK: Duration = Duration::from_secs(1);

/// An open file, and what the engine remembers about it between calls.
#[derive(Debug)]
pub(super) struct FileEngine {
    pub(super) file: RecordFile,
    pub(super) round: ExpiryRound,
    /// How many records expiry has removed since the start.
    pub(super) expired: u64,
    survey: Option<SurveyRound>,
    /// libgdbm refuses every call until the database is recovered.
    damaged: bool,
    /// A recovery while serving has made a backup. It is done only once, as a disk that breaks
    /// files again and again fills with backups otherwise. A recovery that failed or had nothing to do makes no backup, and
    /// may be tried again.
    recovered: bool,
    /// When the engine last looked for its file.
    looked_at: Option<Tick>,
    /// Why the database's path does not lead to the file. Nothing is stored then, as it would be lost.
    pub(super) away: Option<Away>,
    /// The file was saved, or has another name.
    pub(super) saved: bool,
    /// Another file in the database's place, and since when it is as the last upkeep saw it.
    pub(super) substitute: Option<(Substitute, Tick)>,
    unreadable: LogLimiter,
    failing: LogLimiter,
    refused: LogLimiter,
}

impl FileEngine {
    pub(super) fn new(file: RecordFile) -> Self {
        Self {
            file,
            round: ExpiryRound::default(),
            expired: 0,
            survey: None,
            damaged: false,
            recovered: false,
            looked_at: None,
            away: None,
            saved: false,
            substitute: None,
            unreadable: LogLimiter::default(),
            failing: LogLimiter::default(),
            refused: LogLimiter::default(),
        }
    }

    /// Looks whether the database's path still leads to the file, if that is due.
    pub(super) fn look(&mut self, now: Tick) {
        if self.looked_at.is_none_or(|at| now.since(at) >= LOOK) {
            self.looked_at = Some(now);
            self.look_now();
        }
    }

    /// Looks whether the database's path still leads to the file.
    pub(super) fn look_now(&mut self) {
        let away = self.file.away();
        if away == self.away {
            return;
        }
        self.away = away;
        let name = self.file.name();
        match away {
            Some(away) => log::error!(
                "database {name}: {away}; checks are answered from the open file, reports and whitelistings get 500 \
                 until a database is at this path"
            ),
            None => {
                log::warn!("database {name}: its file is back, reports and whitelistings are counted");
                self.saved = false;
            }
        }
    }

    /// Fails if the database's path does not lead to the file.
    pub(super) fn check_presence(&mut self) -> Result<(), StoreFailure> {
        self.look_now();
        self.check_known_presence()
    }

    /// Fails if the last look did not find the file.
    pub(super) fn check_known_presence(&mut self) -> Result<(), StoreFailure> {
        self.away.map_or(Ok(()), |away| Err(self.failure(away)))
    }

    /// Logs why the file in the database's place cannot be used.
    pub(super) fn substitute_refused(&mut self, now: Tick, error: &OpenError) {
        if let Some(more) = self.failing.due(now) {
            log::error!("{error}; checks are answered from the file that was there before{more}");
        }
    }

    /// Uses another file under the same path. Returns the old one, to be closed without the lock.
    pub(super) fn adopt(&mut self, file: RecordFile) -> RecordFile {
        let records = file.count.unwrap_or_default();
        log::warn!("database {}: the file that is there now is used; it has {records} records", file.name());
        let old = std::mem::replace(&mut self.file, file);
        (self.away, self.saved, self.damaged, self.recovered) = (None, false, false, false);
        self.round = ExpiryRound::default();
        old
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
        self.recovered = self.with_file(rewrite::repair)?;
        self.damaged = false;
        self.round = ExpiryRound::default();
        self.survey = None;
        Ok(())
    }

    /// Examines one slice of a survey.
    pub(super) fn survey(&mut self, limit: UnixTime) -> Result<Progress, StoreFailure> {
        let begun = self.survey.take().filter(|survey| survey.limit == limit);
        let mut survey = begun.unwrap_or_else(|| SurveyRound::new(limit));
        let progress = survey.slice(&mut self.file).map_err(|error| self.failure(error))?;
        self.survey = (progress == Progress::More).then_some(survey);
        Ok(progress)
    }

    /// Removes the expired records of one slice.
    pub(super) fn expire(&mut self, limit: UnixTime) -> Result<Slice, StoreFailure> {
        let slice = self.round.slice(&mut self.file, limit, &mut self.expired);
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
        if self.away.is_some() {
            return Err(StoreError::Unavailable);
        }
        let before = self.read(now, call.digest)?;
        let (mut record, length) = before;
        (0..call.times).for_each(|_| call.op.apply(&mut record, now.wall));
        let error = match self.file.replace(call.digest, length, &record) {
            Ok(()) => return Ok(record),
            Err(WriteError::NoPlace) => return Err(self.no_place(now, call.digest)),
            Err(WriteError::Library(error)) => error,
            Err(WriteError::Io(error)) => GdbmError::unreadable(error),
        };
        let unavailable = self.unavailable(now, &error);
        // A write that failed may have changed the file.
        let unchanged = self.read(now, call.digest) == Ok(before);
        Err(if unchanged { unavailable } else { StoreError::Unknown })
    }

    fn no_place(&mut self, now: Now, digest: Digest) -> StoreError {
        if let Some(more) = self.refused.due(now.tick) {
            log::warn!(
                "database {}: digest {digest} gets 500, all others are served: {}{more}",
                self.file.name(),
                WriteError::NoPlace
            );
        }
        StoreError::NoPlace
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
