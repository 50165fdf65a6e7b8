//! What a migration needs of an engine beside serving: records whole, and all of them.

use pyzord_core::{Digest, Progress, Record, Store, StoreFailure};

/// One entry of a database, as a scan finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEntry {
    /// The key as it is stored, without the engine's prefix; for messages.
    pub key: String,
    /// What it holds, or in one line why nobody can read that.
    pub record: Result<(Digest, Record), String>,
}

/// Reads, writes and removes whole records, streamed: no engine ever holds more than a slice in memory.
pub trait RecordStore: Store {
    /// Appends the next entries, a few hundred at most, and says whether there are more. The first call begins at the
    /// start; after [`Progress::Done`] the next one does, too.
    ///
    /// Every entry that is there during the whole scan is found at least once, even while others, or those already
    /// found, are removed.
    ///
    /// # Errors
    /// When the database cannot be read. The next call goes on where this one failed.
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure>;

    /// Stores records whole, in place of those that the digests may have, and appends one result for each.
    ///
    /// Dates keep the fractions of a second that the engine has room for.
    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>);

    /// Reads records, and appends one result for each; a digest without a record has the default one.
    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>);

    /// Removes the records of these digests.
    ///
    /// # Errors
    /// When the database cannot be written; some of them may be gone.
    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure>;

    /// About how many entries there are, where that is cheap to know: for a progress bar.
    fn estimate(&mut self) -> Option<u64>;

    /// The record as this engine would give it back: dates cut to what it has room for, counts to its largest.
    fn rounded(&self, record: &Record) -> Record;
}
