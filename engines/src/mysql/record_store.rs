//! Whole records, for migrations and operators.

use mysql::{Row, Value};
use pyzord_core::{Digest, Progress, Record, StoreFailure};

use super::change::Changes;
use super::engine::Mysql;
use super::error::StatementError;
use super::row;
use super::session::{Reading, Session};
use super::sql::MOST_ROWS;
use crate::bug::bug;
use crate::change::{Change, ChangeError};
use crate::record_store::{EntryError, Exchange, RecordStore, StoredEntry, key_text};

/// How many rows one call of a scan reads.
const SCAN: usize = 500;

impl RecordStore for Mysql {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let first = self.scanned.is_none();
        // The first slice begins with the empty key.
        let after = self.scanned.clone().unwrap_or_default();
        let rows = self.with(|session| {
            let text = session.sql.scan(first, SCAN);
            let rows = session.run(&text, &[Value::Bytes(after.clone())])?;
            Ok(rows.into_iter().map(|row| entry(session, row)).collect::<Vec<_>>())
        })?;
        let full = rows.len() == SCAN;
        self.scanned = rows.last().filter(|_| full).map(|(key, _)| key.clone());
        found.extend(rows.into_iter().map(|(_, found)| found));
        Ok(if full { Progress::More } else { Progress::Done })
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        for records in records.chunks(MOST_ROWS) {
            match self.with(|session| put(session, records)) {
                Ok(stored) => {
                    results.extend(stored.into_iter().map(|stored| stored.map_err(StoreFailure::new)));
                }
                Err(failure) => results.extend(records.iter().map(|_| Err(failure.clone()))),
            }
        }
    }

    fn change(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>) {
        let all = results.len() + changes.len();
        for changes in changes.chunks(MOST_ROWS) {
            let mut made = Changes::default();
            let result = self.with(|session| session.change(changes, &mut made));
            let refused = |why| ChangeError::Refused(StoreFailure::new(why));
            results.extend(made.done.into_iter().map(|made| made.map_err(refused)));
            if let Err(failure) = result {
                results.extend((0..made.in_doubt).map(|_| Err(ChangeError::InDoubt(failure.clone()))));
                results.resize_with(all, || Err(ChangeError::Away(failure.clone())));
                return;
            }
        }
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        for digests in digests.chunks(MOST_ROWS) {
            match self.with(|session| session.read(digests)) {
                Ok(readings) => {
                    results.extend(digests.iter().map(|digest| reading(*digest, readings.get(digest))));
                }
                Err(failure) => results.extend(digests.iter().map(|_| Err(failure.clone()))),
            }
        }
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        digests.chunks(MOST_ROWS).try_for_each(|digests| self.with(|session| session.remove(digests)))
    }

    fn exchange(&mut self, changes: &[Exchange], results: &mut Vec<Result<bool, StoreFailure>>) {
        for changes in changes.chunks(MOST_ROWS) {
            match self.with(|session| session.exchange(changes)) {
                Ok(changed) => {
                    results.extend(changed.into_iter().map(|changed| changed.map_err(StoreFailure::new)));
                }
                Err(failure) => results.extend(changes.iter().map(|_| Err(failure.clone()))),
            }
        }
    }

    fn estimate(&mut self) -> Option<u64> {
        self.row_estimate()
    }

    fn rounded(&self, record: &Record) -> Record {
        self.codec.rounded(record)
    }
}

/// Stores some records. If the server refuses them together, stores each alone, so that only those fail that
/// cannot be stored.
fn put(
    session: &mut Session,
    records: &[(Digest, Record)],
) -> Result<Vec<Result<(), StatementError>>, StatementError> {
    match session.put(records) {
        Ok(()) => Ok(records.iter().map(|_| Ok(())).collect()),
        Err(StatementError::Lost(cause)) => Err(StatementError::Lost(cause)),
        Err(_) => records
            .chunks(1)
            .map(|record| match session.put(record) {
                Err(StatementError::Lost(cause)) => Err(StatementError::Lost(cause)),
                result => Ok(result),
            })
            .collect(),
    }
}

/// Returns the result for a digest that was read.
fn reading(digest: Digest, reading: Option<&Reading>) -> Result<Record, StoreFailure> {
    match reading {
        Some(Ok(record)) => Ok(*record),
        Some(Err(why)) => Err(StoreFailure::new(*why)),
        None => {
            bug(format_args!("{digest} was read, and has no result"));
            Err(StoreFailure::new("no result"))
        }
    }
}

/// Returns the key of a row, and the entry.
fn entry(session: &Session, row: Row) -> (Vec<u8>, StoredEntry) {
    let values = row.unwrap();
    let (key, fields) = row::split(&values);
    let record = session.codec.digest(key).and_then(|digest| Ok((digest, session.codec.record(fields)?)));
    let name = key_text(key);
    (key.to_vec(), StoredEntry { key: name, record: record.map_err(EntryError::new) })
}
