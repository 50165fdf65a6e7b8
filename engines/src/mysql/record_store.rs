//! Whole records, for migrations.

use mysql::prelude::FromValue;
use mysql::{Row, Value};
use pyzord_core::{Digest, Progress, Record, StoreFailure};

use super::fault::Fault;
use super::session::Session;
use super::sql::MOST_ROWS;
use super::{Dsn, Mysql, row};
use crate::record_store::{EntryError, RecordStore, StoredEntry};

/// How many rows one scan reads.
const SCAN: usize = 500;
/// Tables with fewer rows are counted; of larger ones the server's estimate is used.
const COUNTED: usize = 100_000;

/// About how many rows a table has, as the server remembers it.
pub(super) const ESTIMATE: &str =
    "SELECT table_rows FROM information_schema.tables WHERE table_schema = ? AND table_name = ?";

/// The two parameters of [`ESTIMATE`].
pub(super) fn table(dsn: &Dsn) -> Vec<Value> {
    vec![Value::from(dsn.table_database()), Value::from(dsn.table.table.as_str())]
}

impl RecordStore for Mysql {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let after = self.scanned.clone();
        let rows = self.with(|session| {
            let text = session.sql.scan(after.is_none(), SCAN);
            let rows = session.run(&text, || vec![Value::Bytes(after.clone().unwrap_or_default())])?;
            Ok(rows.into_iter().map(|row| found_in(session, row)).collect::<Vec<_>>())
        })?;
        let full = rows.len() == SCAN;
        self.scanned = rows.last().filter(|_| full).map(|(key, _)| key.clone());
        found.extend(rows.into_iter().map(|(_, found)| found));
        Ok(if full { Progress::More } else { Progress::Done })
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        for records in records.chunks(MOST_ROWS) {
            match self.with(|session| put(session, records)) {
                Ok(stored) => results.extend(
                    stored
                        .into_iter()
                        .map(|stored| stored.map_err(|fault| StoreFailure::new(fault.into_cause()))),
                ),
                Err(failure) => results.extend(records.iter().map(|_| Err(failure.clone()))),
            }
        }
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        for digests in digests.chunks(MOST_ROWS) {
            let readings = self.with(|session| session.read(digests));
            results.extend(digests.iter().map(|digest| match &readings {
                Ok(readings) => match readings.get(digest) {
                    Some(Err(why)) => Err(StoreFailure::new(why.to_string())),
                    reading => Ok(reading.and_then(|reading| reading.ok()).unwrap_or_default()),
                },
                Err(failure) => Err(failure.clone()),
            }));
        }
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        digests.chunks(MOST_ROWS).try_for_each(|digests| self.with(|session| session.remove(digests)))
    }

    fn estimate(&mut self) -> Option<u64> {
        let parameters = table(&self.dsn);
        self.with(|session| {
            let counted = number(&session.run(&session.sql.count(COUNTED), Vec::new)?);
            if counted.is_some_and(|rows| rows < COUNTED as u64) {
                return Ok(counted);
            }
            let known = session.run(ESTIMATE, || parameters.clone())?;
            Ok(counted.max(number(&known)))
        })
        .ok()
        .flatten()
    }

    fn rounded(&self, record: &Record) -> Record {
        self.codec.rounded(record)
    }
}

/// Stores some records. When the server refuses them together, each is tried alone, so that only those fail which
/// cannot be stored.
fn put(session: &mut Session, records: &[(Digest, Record)]) -> Result<Vec<Result<(), Fault>>, Fault> {
    match session.put(records) {
        Ok(()) => Ok(records.iter().map(|_| Ok(())).collect()),
        Err(Fault::Lost(cause)) => Err(Fault::Lost(cause)),
        Err(_) => records
            .chunks(1)
            .map(|record| match session.put(record) {
                Err(Fault::Lost(cause)) => Err(Fault::Lost(cause)),
                result => Ok(result),
            })
            .collect(),
    }
}

/// The key of a row, and what is in it.
fn found_in(session: &Session, row: Row) -> (Vec<u8>, StoredEntry) {
    let values = row.unwrap();
    let (key, fields) = values.split_first().map_or((&[][..], &[][..]), |(key, rest)| (row::text(key), rest));
    let record = session.codec.digest(key).and_then(|digest| Ok((digest, session.codec.record(fields)?)));
    let found = StoredEntry {
        key: String::from_utf8_lossy(key).into_owned(),
        record: record.map_err(|why| EntryError::new(why.to_string())),
    };
    (key.to_vec(), found)
}

/// The number that is all there is in a result.
pub(super) fn number(rows: &[Row]) -> Option<u64> {
    rows.first().and_then(|row| row.as_ref(0)).cloned().and_then(|value| u64::from_value_opt(value).ok())
}
