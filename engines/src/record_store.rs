//! Reading and writing whole records, and finding all of them: what migrations and operators need of an
//! engine besides serving.

use std::error::Error;
use std::sync::Arc;

use pyzord_core::{Digest, Progress, Record, Store, StoreFailure};

use crate::change::{Change, ChangeError};

/// One entry of a database, as a scan reads it.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// The key as it is stored, without the engine's prefix; for messages.
    pub key: String,
    /// The record and its digest, or why the entry cannot be read.
    pub record: Result<(Digest, Record), EntryError>,
}

/// Why an entry cannot be read: its key is not a digest, or its value is not a record. One line; each engine
/// has causes of its own.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct EntryError(Arc<dyn Error + Send + Sync>);

impl EntryError {
    /// Wraps a cause: an error, or a text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

/// Reads, writes and removes whole records. All of it is streamed: no engine holds more than a slice in
/// memory.
pub trait RecordStore: Store {
    /// Appends the next entries to `found`, a few hundred at most, and returns whether there are more. The
    /// first call begins at the start, and so does the call after [`Progress::Done`].
    ///
    /// An entry that exists during the whole scan is found at least once, even if others, or those that were
    /// found, are removed meanwhile.
    ///
    /// # Errors
    /// If the database cannot be read. The next call goes on where this one failed.
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure>;

    /// Stores whole records, in place of those that the digests have, and appends one result for each.
    ///
    /// Dates keep the fractions of a second that the engine has room for.
    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>);

    /// Changes records, each of them in one step, and appends one result for each.
    ///
    /// An unreadable record is refused. After a change that is in doubt, the engine makes no further one.
    fn change(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>);

    /// Reads records, and appends one result for each; a digest without a record has the default one.
    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>);

    /// Removes the records of these digests.
    ///
    /// # Errors
    /// If the database cannot be written. Some of the records may have been removed.
    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure>;

    /// Returns about how many entries there are, for a progress bar; `None` if that takes long to find out or
    /// cannot be found out.
    fn estimate(&mut self) -> Option<u64>;

    /// Returns the record as the engine returns it after a [`put`](Self::put): its dates cut to the precision
    /// that the engine has, its counts to the largest.
    fn rounded(&self, record: &Record) -> Record;
}
