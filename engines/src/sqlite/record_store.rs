//! Whole records, for migrations and operators.

use pyzord_core::{Digest, Progress, Record, StoreFailure};
use rusqlite::Connection;

use super::error::DatabaseError;
use super::store::Sqlite;
use super::table::{self, Change, Entry, Select};
use crate::change::{self, ChangeError};
use crate::codec::sqlite::Unreadable;
use crate::record_store::{EntryError, Exchange, RecordStore, StoredEntry};

/// How many entries one call of a scan finds.
const SLICE: usize = 512;

/// Why a change of one record is not made, while others are.
type Refusal = Unreadable;

impl Sqlite {
    /// Makes changes in one step, and appends a result for each; a failure is that of all of them.
    fn change_all<T, R>(
        &self,
        items: &[T],
        results: &mut Vec<Result<R, StoreFailure>>,
        mut change: impl FnMut(&mut Rows<'_>, &T) -> Result<Result<R, Refusal>, DatabaseError>,
    ) {
        let database = &self.database;
        let written = database.check_presence_now().and_then(|()| {
            database.write(|writer| {
                let mut rows = Rows::new(writer)?;
                let changed =
                    items.iter().map(|item| change(&mut rows, item)).collect::<Result<Vec<_>, _>>()?;
                table::add_records(writer, rows.added)?;
                Ok(changed)
            })
        });
        match written {
            Ok((changed, _)) => {
                results
                    .extend(changed.into_iter().map(|changed| changed.map_err(|why| refused(database, why))));
            }
            Err(error) => {
                let failure = database.failure(error);
                results.extend(items.iter().map(|_| Err(failure.clone())));
            }
        }
    }
}

fn refused(database: &super::database::Database, why: Unreadable) -> StoreFailure {
    crate::failure::failure(database.name(), format!("the record is unreadable: {why}"))
}

/// The rows of the table, while they are changed.
struct Rows<'c> {
    select: Select<'c>,
    change: Change<'c>,
    added: i64,
}

impl<'c> Rows<'c> {
    fn new(writer: &'c Connection) -> Result<Self, DatabaseError> {
        Ok(Self { select: Select::new(writer)?, change: Change::new(writer)?, added: 0 })
    }

    /// Stores a record; `is_new` is whether the digest has none.
    fn store(&mut self, digest: &Digest, record: &Record, is_new: bool) -> Result<(), DatabaseError> {
        self.added += i64::from(is_new);
        Ok(self.change.store(digest, record)?)
    }

    fn remove(&mut self, digest: &Digest) -> Result<(), DatabaseError> {
        self.added -= i64::from(self.change.delete(digest)?);
        Ok(())
    }
}

impl RecordStore for Sqlite {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let behind = self.scan.as_ref();
        let read = self.database.read(&self.reader, |reader| Ok(table::walk(reader, behind, SLICE)?));
        let entries = read.map_err(|error| self.database.failure(error))?;
        let is_last = entries.len() < SLICE;
        self.scan = entries.last().map(|entry| entry.key.clone()).filter(|_| !is_last);
        found.extend(entries.into_iter().map(stored_entry));
        Ok(if is_last { Progress::Done } else { Progress::More })
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        self.change_all(records, results, |rows, (digest, record)| {
            let is_new = rows.select.get(digest)?.is_none();
            rows.store(digest, record, is_new).map(Ok)
        });
    }

    fn change(&mut self, changes: &[(Digest, change::Change)], results: &mut Vec<Result<(), ChangeError>>) {
        let mut changed = Vec::new();
        self.change_all(changes, &mut changed, |rows, (digest, change)| {
            let stored = rows.select.get(digest)?;
            let old = match stored {
                None => Record::default(),
                Some(Ok(record)) => record,
                Some(Err(why)) => return Ok(Err(why)),
            };
            let new = change.apply(&old);
            if new != old {
                rows.store(digest, &new, stored.is_none())?;
            }
            Ok(Ok(()))
        });
        results.extend(changed.into_iter().map(|changed| changed.map_err(ChangeError::Refused)));
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        let database = &self.database;
        for digest in digests {
            let read = database.read(&self.reader, |reader| Ok(Select::new(reader)?.get(digest)?));
            results.push(match read {
                Ok(None) => Ok(Record::default()),
                Ok(Some(stored)) => stored.map_err(|why| refused(database, why)),
                Err(error) => Err(database.failure(error)),
            });
        }
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        let mut results = Vec::new();
        self.change_all(digests, &mut results, |rows, digest| rows.remove(digest).map(Ok));
        results.into_iter().collect()
    }

    fn exchange(&mut self, changes: &[Exchange], results: &mut Vec<Result<bool, StoreFailure>>) {
        self.change_all(changes, results, |rows, Exchange { digest, expected, new }| {
            let stored = match rows.select.get(digest)? {
                Some(Err(why)) => return Ok(Err(why)),
                Some(Ok(record)) => Some(record),
                None => None,
            };
            if stored.unwrap_or_default() != *expected {
                return Ok(Ok(false));
            }
            match new {
                Some(new) => rows.store(digest, new, stored.is_none())?,
                None => rows.remove(digest)?,
            }
            Ok(Ok(true))
        });
    }

    fn estimate(&mut self) -> Option<u64> {
        self.database.read(&self.reader, |reader| Ok(table::records(reader)?)).ok().flatten()
    }

    fn rounded(&self, record: &Record) -> Record {
        // All that another engine stores is in the range of the codec.
        *record
    }
}

fn stored_entry(entry: Entry) -> StoredEntry {
    let Entry { key, record } = entry;
    let digest = key.digest().ok_or(Unreadable::Key);
    let record = digest.and_then(|digest| record.map(|record| (digest, record))).map_err(EntryError::new);
    StoredEntry { key: key.to_string(), record }
}
