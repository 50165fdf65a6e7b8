//! The statements on the tables.

use std::cmp::Ordering;

use pyzord_core::{Digest, Record};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension as _, Result, Row, ffi, params};

use super::key::Key;
use crate::codec::sqlite::{Unreadable, Value, decode, encode};

/// What is stored for a digest.
pub(super) type Stored = Option<std::result::Result<Record, Unreadable>>;

/// The statement that reads one record.
pub(super) struct Select<'c>(CachedStatement<'c>);

impl<'c> Select<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self> {
        let sql = "SELECT r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated FROM digests WHERE digest = ?1";
        connection.prepare_cached(sql).map(Self)
    }

    pub(super) fn get(&mut self, digest: &Digest) -> Result<Stored> {
        let mut rows = self.0.query([digest.as_bytes()])?;
        rows.next()?.map(|row| record(row, 0)).transpose()
    }
}

/// The statements that change one record.
pub(super) struct Change<'c> {
    store: CachedStatement<'c>,
    delete: CachedStatement<'c>,
}

impl<'c> Change<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            // A table without other indexes is searched once to replace a row, and twice to update one.
            store: connection.prepare_cached("REPLACE INTO digests VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?,
            delete: connection.prepare_cached("DELETE FROM digests WHERE digest = ?1")?,
        })
    }

    /// Stores a record, in place of the one that the digest may have.
    pub(super) fn store(&mut self, digest: &Digest, record: &Record) -> Result<()> {
        let [r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated] = encode(record);
        let row = params![digest.as_bytes(), r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated];
        self.store.execute(row).map(drop)
    }

    /// Returns whether there was a record.
    pub(super) fn delete(&mut self, digest: &Digest) -> Result<bool> {
        self.delete.execute([digest.as_bytes()]).map(|rows| rows > 0)
    }
}

/// One row of a walk.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) record: std::result::Result<Record, Unreadable>,
}

/// Reads up to `most` rows behind a key, or from the first on, in the order of keys.
pub(super) fn walk(connection: &Connection, behind: Option<&Key>, most: usize) -> Result<Vec<Entry>> {
    let start = if behind.is_some() { "digest > ?1" } else { "?1 IS NULL" };
    let sql = format!(
        "SELECT r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated, digest FROM digests \
         WHERE {start} ORDER BY digest LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_and_then(params![behind, i64::try_from(most).unwrap_or(i64::MAX)], |row| {
        Ok(Entry { key: row.get_ref(6)?.into(), record: record(row, 0)? })
    })?;
    let entries = rows.collect::<Result<Vec<_>>>()?;
    // In pages that are damaged, a walk could come to the same keys for ever.
    let goes_on = |last: &Entry| behind.is_none_or(|behind| behind.order(&last.key) == Ordering::Less);
    if entries.last().is_none_or(goes_on) {
        return Ok(entries);
    }
    let damaged = ffi::Error::new(ffi::SQLITE_CORRUPT);
    Err(Error::SqliteFailure(damaged, Some("its keys are not in order".to_owned())))
}

/// Returns a figure about the records: `records` is their number, `generation` that of the logs so far, `id` names the
/// database. `None` if another program has removed it.
pub(super) fn figure(connection: &Connection, name: &str) -> Result<Option<i64>> {
    let sql = "SELECT value FROM pyzord_meta WHERE name = ?1";
    connection.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()
}

/// Returns the number of records.
pub(super) fn records(connection: &Connection) -> Result<Option<u64>> {
    figure(connection, "records").map(|records| records.map(|records| records.max(0).unsigned_abs()))
}

/// Writes the first commit of a log.
pub(super) fn begin_log(connection: &Connection) -> Result<()> {
    let sql = "UPDATE pyzord_meta SET value = value + 1 WHERE name = 'generation'";
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Adds to the number of records.
pub(super) fn add_records(connection: &Connection, added: i64) -> Result<()> {
    if added == 0 {
        return Ok(());
    }
    let sql = "UPDATE pyzord_meta SET value = max(value + ?1, 0) WHERE name = 'records'";
    connection.prepare_cached(sql)?.execute([added]).map(drop)
}

fn record(row: &Row<'_>, first: usize) -> Result<std::result::Result<Record, Unreadable>> {
    let mut values = [Value::Null; 6];
    for (index, value) in values.iter_mut().enumerate() {
        *value = match row.get_ref(first + index)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => Value::Other,
        };
    }
    Ok(decode(values))
}
