//! Reading and writing whole records, and finding all of them: what migrations and operators need of an
//! engine besides serving.

use std::error::Error;
use std::sync::Arc;

use pyzord_core::{Digest, Progress, Record, Store, StoreFailure};

use crate::change::{Change, ChangeError};

/// One entry of a database, as a scan reads it.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// The key as it is stored, without the engine's prefix; for messages. Bytes that are not UTF-8 are shown as `\xNN`,
    /// and a backslash is doubled, so that no two keys have one text.
    pub key: String,
    /// The record and its digest, or why the entry cannot be read.
    pub record: Result<(Digest, Record), EntryError>,
}

/// A change of one record that depends on what is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// Whose record is to be changed.
    pub digest: Digest,
    /// What must be stored, as the engine reads it; the default record also stands for none.
    pub expected: Record,
    /// What to store in its place; `None` removes it.
    pub new: Option<Record>,
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

    /// Makes changes of different digests, each in one step and only if the stored record is the expected one. Appends for
    /// each whether it was; a failure can be that of a change that was made.
    ///
    /// The default implementation takes more than one step. It is for a database that has no other writers.
    fn exchange(&mut self, changes: &[Exchange], results: &mut Vec<Result<bool, StoreFailure>>) {
        for Exchange { digest, expected, new } in changes {
            let mut fetched = Vec::new();
            self.fetch(&[*digest], &mut fetched);
            let changed = match fetched.pop() {
                Some(Ok(stored)) if stored != *expected => Ok(false),
                Some(Err(failure)) => Err(failure),
                Some(Ok(_)) | None => match new {
                    Some(new) => {
                        let mut put = Vec::new();
                        self.put(&[(*digest, *new)], &mut put);
                        put.pop().unwrap_or(Ok(())).map(|()| true)
                    }
                    None => self.remove(&[*digest]).map(|()| true),
                },
            };
            results.push(changed);
        }
    }

    /// Returns about how many entries there are, for a progress bar; `None` if that takes long to find out or
    /// cannot be found out.
    fn estimate(&mut self) -> Option<u64>;

    /// Returns the record as the engine returns it after a [`put`](Self::put): its dates cut to the precision
    /// that the engine has, its counts to the largest.
    fn rounded(&self, record: &Record) -> Record;
}

/// Returns a stored key as the text of [`StoredEntry::key`].
#[cfg(any(feature = "gdbm", feature = "redis", feature = "mysql"))]
pub(crate) fn key_text(key: &[u8]) -> String {
    let mut text = String::new();
    for chunk in key.utf8_chunks() {
        text += &chunk.valid().replace('\\', "\\\\");
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    text
}
