//! Expiry: walks over all records in slices, once to survey them and once to remove those that expired. There is no index
//! on the dates: it would cost every count one more page.

use pyzord_core::{Digest, Now, Progress, StoreFailure, Survey, UnixTime};

use super::error::DatabaseError;
use super::key::Key;
use super::store::Sqlite;
use super::table::{self, Change, Select};

/// How many records one slice reads: some milliseconds, for which no request waits.
const READ: usize = 2048;
/// How many records one slice removes: less than a millisecond of the writers' time.
const REMOVED: usize = 128;
/// Free pages that are given back in one slice.
const FREED: u32 = 256;
/// Free pages that are kept for new records, and the share of all pages in percent.
const KEPT: i64 = 4096;
const KEPT_SHARE: i64 = 25;

/// A walk over all records.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// What the walk is for, and where it is.
    limit: Option<UnixTime>,
    behind: Option<Key>,
    survey: Survey,
    /// Expired records that are not yet removed.
    expired: Vec<Digest>,
    is_read: bool,
    removed: u64,
}

impl Round {
    fn begin(&mut self, limit: UnixTime) {
        if self.limit != Some(limit) {
            *self = Self { limit: Some(limit), ..Self::default() };
        }
    }
}

impl Sqlite {
    /// Reads one slice of a survey.
    pub(super) fn survey(&mut self, limit: UnixTime) -> Result<Progress, StoreFailure> {
        self.round.begin(limit);
        let is_last = self.read_slice(limit)?;
        self.round.expired.clear();
        Ok(if is_last { Progress::Surveyed(std::mem::take(&mut self.round).survey) } else { Progress::More })
    }

    /// Reads or removes one slice of expired records, or gives free pages back.
    pub(super) fn expire(&mut self, now: Now, limit: UnixTime) -> Result<Progress, StoreFailure> {
        self.round.begin(limit);
        if !self.round.expired.is_empty() {
            self.remove_slice(now, limit)?;
            return Ok(Progress::More);
        }
        if !self.round.is_read {
            self.round.is_read = self.read_slice(limit)?;
            return Ok(Progress::More);
        }
        if self.free_slice()? {
            return Ok(Progress::More);
        }
        let removed = std::mem::take(&mut self.round).removed;
        log::info!("{}: {removed} records have expired and were removed", self.database.name());
        Ok(Progress::Done)
    }

    /// Reads one slice, and returns whether it was the last.
    fn read_slice(&mut self, limit: UnixTime) -> Result<bool, StoreFailure> {
        let Self { database, reader, round, .. } = self;
        let read = database.read(reader, |reader| Ok(table::walk(reader, round.behind.as_ref(), READ)?));
        let entries = read.map_err(|error| database.failure(error))?;
        for entry in &entries {
            let Ok(record) = &entry.record else { continue };
            round.survey.add(record, limit);
            if record.expired(limit) {
                round.expired.extend(entry.key.digest());
            }
        }
        let is_last = entries.len() < READ;
        round.behind = entries.into_iter().next_back().map(|entry| entry.key);
        Ok(is_last)
    }

    /// Removes some expired records, each of which is judged again: it may have been reported meanwhile.
    fn remove_slice(&mut self, now: Now, limit: UnixTime) -> Result<(), StoreFailure> {
        let Self { database, round, expired, .. } = self;
        let some = round.expired.split_off(round.expired.len().saturating_sub(REMOVED));
        let removed = database.check_counts(now).and_then(|()| {
            database.write(|writer| {
                let (mut select, mut change, mut removed) = (Select::new(writer)?, Change::new(writer)?, 0);
                for digest in &some {
                    let has_expired =
                        matches!(select.get(digest)?, Some(Ok(record)) if record.expired(limit));
                    removed += i64::from(has_expired && change.delete(digest)?);
                }
                table::add_records(writer, -removed)?;
                Ok(removed.unsigned_abs())
            })
        });
        match removed {
            Ok((removed, _)) => {
                round.removed += removed;
                *expired += removed;
            }
            Err(error) => {
                round.expired.extend(some);
                return Err(database.failure(error));
            }
        }
        Ok(())
    }

    /// Gives some free pages back, if there are many. Returns whether it has.
    fn free_slice(&mut self) -> Result<bool, StoreFailure> {
        let database = &self.database;
        let freed = database.write(|writer| {
            let number = |pragma| writer.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
            let (free, all) = (number("freelist_count")?, number("page_count")?);
            if free <= KEPT.max(all / 100 * KEPT_SHARE) {
                return Ok::<_, DatabaseError>(false);
            }
            let mut vacuum = writer.prepare_cached(&format!("PRAGMA incremental_vacuum({FREED})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            // Another tool may have made the file without incremental vacuum.
            Ok(number("freelist_count")? < free)
        });
        freed.map(|(freed, _)| freed).map_err(|error| database.failure(error))
    }
}
