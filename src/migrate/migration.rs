//! The migration: scan, put, read back, and only then remove.

use std::collections::BTreeSet;

use pyzord_core::{Digest, Now, Progress, Record, StoreFailure, Task, Tick, UnixTime};
use pyzord_engines::{RecordStore, StoredEntry};
use thiserror::Error;

use super::databases::Databases;
use super::error::{DatabaseError, Side};
use super::progress::ProgressDisplay;
use crate::bulk;

/// The most failed keys that are remembered. A scan can find a key twice; a remembered one is counted once.
const MAX_REMEMBERED: usize = 1_000_000;

/// The numbers of records that were moved, and that could not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) transferred: u64,
    pub(crate) failed: u64,
}

/// A migration from one database to another.
pub(crate) struct Migration<'a> {
    databases: &'a mut Databases,
    /// Whether each record is removed from the source once the destination holds it.
    delete: bool,
    display: &'a ProgressDisplay,
    totals: Totals,
    failed_keys: BTreeSet<String>,
}

/// Why a record is not moved. The migration goes on with the next one.
#[derive(Debug, Error)]
enum TransferError {
    #[error(transparent)]
    Database(StoreFailure),
    #[error("the destination holds another record than the one that was sent")]
    Different,
}

impl<'a> Migration<'a> {
    pub(crate) const fn new(
        databases: &'a mut Databases,
        delete: bool,
        display: &'a ProgressDisplay,
    ) -> Self {
        let totals = Totals { transferred: 0, failed: 0 };
        Self { databases, delete, display, totals, failed_keys: BTreeSet::new() }
    }

    /// Moves all records. After an error the migration can be run again from the start.
    pub(crate) fn run(&mut self) -> Result<(), DatabaseError> {
        let mut found = Vec::new();
        loop {
            found.clear();
            let scanned = self.databases.source.scan(&mut found);
            let progress = scanned.map_err(|failure| Side::Source.failed(failure))?;
            let before = self.totals.transferred;
            self.move_entries(&found)?;
            let Totals { transferred, failed } = self.totals;
            self.display.advance(before, transferred, transferred + failed);
            if progress == Progress::Done {
                return self.sync();
            }
        }
    }

    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    fn move_entries(&mut self, found: &[StoredEntry]) -> Result<(), DatabaseError> {
        let mut records = Vec::new();
        for entry in found {
            match &entry.record {
                Ok(record) => records.push(*record),
                Err(cause) => self.fail(&entry.key, &cause.to_string()),
            }
        }
        let held = self.transfer(&records)?;
        self.totals.transferred += held.len() as u64;
        if self.delete && !held.is_empty() {
            // A record leaves the source only once the destination has it on its disk.
            self.sync()?;
            self.databases.source.remove(&held).map_err(|failure| Side::Source.failed(failure))?;
        }
        Ok(())
    }

    /// Puts records into the destination and reads them back. Returns the digests of those that the destination holds;
    /// in a dry run, of all.
    fn transfer(&mut self, records: &[(Digest, Record)]) -> Result<Vec<Digest>, DatabaseError> {
        let digests: Vec<Digest> = records.iter().map(|(digest, _)| *digest).collect();
        let Some(destination) = self.databases.destination.as_deref_mut() else { return Ok(digests) };
        if records.is_empty() {
            return Ok(digests);
        }
        let (put, fetched) = put_and_fetch(destination, records, &digests)
            .map_err(|failure| Side::Destination.failed(failure))?;
        let rounded: Vec<Record> = records.iter().map(|(_, record)| destination.rounded(record)).collect();
        let mut held = Vec::new();
        for ((((digest, record), rounded), put), fetched) in records.iter().zip(rounded).zip(put).zip(fetched)
        {
            if counts(&rounded) != counts(record) {
                self.display.print(&format!(
                    "Record {digest}: the counts are cut to the largest that the destination can hold"
                ));
            }
            match compare(put, fetched, &rounded) {
                Ok(()) => held.push(*digest),
                Err(error) => self.fail(&digest.to_string(), &error.to_string()),
            }
        }
        Ok(held)
    }

    fn fail(&mut self, key: &str, cause: &str) {
        if self.failed_keys.contains(key) {
            return;
        }
        if self.failed_keys.len() < MAX_REMEMBERED {
            self.failed_keys.insert(key.to_owned());
        }
        self.totals.failed += 1;
        self.display.print(&format!("Record {} failed: {cause}", key.escape_debug()));
    }

    fn sync(&mut self) -> Result<(), DatabaseError> {
        let Some(destination) = self.databases.destination.as_deref_mut() else { return Ok(()) };
        // A sync does not use the time.
        let now = Now { wall: UnixTime::from_seconds(0), tick: Tick::default() };
        destination.upkeep(now, Task::Sync).map(drop).map_err(|failure| Side::Destination.failed(failure))
    }
}

type Results<T> = Vec<Result<T, StoreFailure>>;

/// Stores records and reads them back. A destination that fails for all records is not available: that is one error,
/// not one for each record.
fn put_and_fetch(
    destination: &mut dyn RecordStore,
    records: &[(Digest, Record)],
    digests: &[Digest],
) -> Result<(Results<()>, Results<Record>), StoreFailure> {
    let put = bulk::put(destination, records)?;
    let fetched = bulk::fetch(destination, digests)?;
    match fetched.first() {
        Some(Err(failure)) if fetched.iter().all(Result::is_err) => Err(failure.clone()),
        _ => Ok((put, fetched)),
    }
}

fn counts(record: &Record) -> [u64; 2] {
    [record.reports.count, record.whitelists.count]
}

/// Checks that the destination holds the expected record.
fn compare(
    put: Result<(), StoreFailure>,
    fetched: Result<Record, StoreFailure>,
    expected: &Record,
) -> Result<(), TransferError> {
    put.map_err(TransferError::Database)?;
    let held = fetched.map_err(TransferError::Database)?;
    if held == *expected { Ok(()) } else { Err(TransferError::Different) }
}
