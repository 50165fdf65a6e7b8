//! Calls on a database for whole records, with the engine's promise checked: one result for each record.

use std::error::Error;

use pyzord_core::{Digest, Record, StoreFailure};
use pyzord_engines::{Change, ChangeError, Exchange, RecordStore};

/// Makes a cause the failure of a call on a database.
pub(crate) fn store_failure(cause: impl Into<Box<dyn Error + Send + Sync>>) -> StoreFailure {
    StoreFailure::new(cause)
}

/// Reads records; returns one result for each digest. A digest without a record has the default one.
pub(crate) fn fetch(
    database: &mut dyn RecordStore,
    digests: &[Digest],
) -> Result<Vec<Result<Record, StoreFailure>>, StoreFailure> {
    let mut results = Vec::new();
    database.fetch(digests, &mut results);
    complete(results, digests.len())
}

/// Stores records; returns one result for each.
pub(crate) fn put(
    database: &mut dyn RecordStore,
    records: &[(Digest, Record)],
) -> Result<Vec<Result<(), StoreFailure>>, StoreFailure> {
    let mut results = Vec::new();
    database.put(records, &mut results);
    complete(results, records.len())
}

/// Changes records, each in one step; returns one result for each.
pub(crate) fn change(
    database: &mut dyn RecordStore,
    changes: &[(Digest, Change)],
) -> Result<Vec<Result<(), ChangeError>>, StoreFailure> {
    let mut results = Vec::new();
    database.change(changes, &mut results);
    complete(results, changes.len())
}

/// Changes the record of one digest in one step.
pub(crate) fn change_one(
    database: &mut dyn RecordStore,
    digest: Digest,
    change: Change,
) -> Result<(), ChangeError> {
    let results = self::change(database, &[(digest, change)]);
    results.and_then(only).map_err(ChangeError::InDoubt)?
}

/// Makes changes of different digests; returns one result for each.
pub(crate) fn exchange(
    database: &mut dyn RecordStore,
    changes: &[Exchange],
) -> Result<Vec<Result<bool, StoreFailure>>, StoreFailure> {
    let mut results = Vec::new();
    database.exchange(changes, &mut results);
    complete(results, changes.len())
}

/// Reads the record of one digest.
pub(crate) fn fetch_one(database: &mut dyn RecordStore, digest: Digest) -> Result<Record, StoreFailure> {
    let mut results = Vec::new();
    database.fetch(&[digest], &mut results);
    only(results)?
}

/// Stores the record of one digest.
pub(crate) fn put_one(
    database: &mut dyn RecordStore,
    digest: Digest,
    record: &Record,
) -> Result<(), StoreFailure> {
    let mut results = Vec::new();
    database.put(&[(digest, *record)], &mut results);
    only(results)?
}

/// Returns the one result of a call for one record.
pub(crate) fn only<T>(results: Vec<T>) -> Result<T, StoreFailure> {
    match <[T; 1]>::try_from(results) {
        Ok([result]) => Ok(result),
        Err(results) => Err(mismatch(1, results.len())),
    }
}

fn complete<T>(results: Vec<T>, count: usize) -> Result<Vec<T>, StoreFailure> {
    if results.len() == count { Ok(results) } else { Err(mismatch(count, results.len())) }
}

/// Reports an engine that broke its promise.
fn mismatch(expected: usize, found: usize) -> StoreFailure {
    debug_assert_eq!(expected, found, "an engine gives one result for each record");
    let failure = format!("internal error: the engine gave {found} results for {expected} records");
    log::error!("{failure}");
    store_failure(failure)
}
