//! What an engine provides for the cases.

use pyzord_core::{Digest, Record, Store, Tally, UnixTime};

/// The name of a case, and its function.
pub(crate) type Case<S> = (&'static str, fn(&dyn Fn() -> S));

/// A database of an engine, empty until a store writes to it.
pub(crate) trait Subject {
    /// The engine.
    type Store: Store;

    /// The largest count.
    const MOST: u64 = Tally::MAX;
    /// The smallest difference between two dates, in microseconds.
    const UNIT: i64 = 1;
    /// Whether upkeep removes expired records; some databases do so themselves.
    const EXPIRES: bool = true;
    /// Whether the answer to a count is the new record.
    const TELLS: bool = false;
    /// Whether the database keeps the marks of signed counts.
    const KEEPS_MARKS: bool = true;
    /// Whether the number of records is known exactly.
    const COUNTS: bool = true;
    /// How many random histories are tried: as many as take a few seconds.
    const HISTORIES: u32;

    /// Opens the database.
    fn store(&self) -> Self::Store;

    /// Closes the database and opens it again.
    fn reopen(&self, store: Self::Store) -> Self::Store {
        drop(store);
        self.store()
    }

    /// Stores a whole record.
    fn put(store: &mut Self::Store, digest: Digest, record: &Record);

    /// Counts the entries, with the database's own means if it has some.
    fn count(&self, store: &Self::Store) -> usize;

    /// Returns a record as the engine has room for it.
    fn rounded(record: &Record) -> Record {
        let date =
            |date: UnixTime| UnixTime::from_micros(date.micros() - date.micros().rem_euclid(Self::UNIT));
        let tally = |tally: &Tally| Tally {
            count: tally.count.min(Self::MOST),
            entered: tally.entered.map(date),
            updated: tally.updated.map(date),
        };
        Record { reports: tally(&record.reports), whitelists: tally(&record.whitelists) }
    }
}

/// A database outside of this process, which others may write to.
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
pub(crate) trait Stored: Subject<Store: pyzord_engines::RecordStore> {
    /// Whether counts and expiry leave a record as it is that cannot be read.
    const SPARES_UNREADABLE: bool = true;

    /// Returns another store of the same database.
    fn another(&self, store: &Self::Store) -> Self::Store;

    /// Fills the database, which no store has opened yet, with entries that no engine writes.
    fn spoil(&self) -> Vec<Odd>;

    /// Returns all that the database has for a digest, as text to compare.
    fn raw(&self, store: &Self::Store, digest: Digest) -> String;
}

/// An entry that is not a record.
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
#[derive(Debug)]
pub(crate) struct Odd {
    /// The key, as scans name it.
    pub(crate) key: String,
    /// Why it cannot be read, in the words of a scan.
    pub(crate) cause: String,
}

#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
impl Odd {
    pub(crate) fn new(key: String, cause: impl Into<String>) -> Self {
        Self { key, cause: cause.into() }
    }

    /// Returns the digest if the key is one, so that only the value is not a record.
    pub(crate) fn digest(&self) -> Option<Digest> {
        Digest::parse(self.key.as_bytes()).filter(|digest| digest.to_string() == self.key)
    }
}
