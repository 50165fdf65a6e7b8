//! What the cases need to know of an engine, and to do with its databases.

use pyzord_core::{Digest, Record, Store, Tally, UnixTime};

/// What is tried, and how.
pub(crate) type Case<S> = (&'static str, fn(&dyn Fn() -> S));

/// A database of some engine, new and empty until a store of it writes to it.
pub(crate) trait Subject {
    /// The engine.
    type Store: Store;

    /// The largest count.
    const MOST: u64 = Tally::MAX;
    /// The microseconds between a date and the next one that there is room for.
    const UNIT: i64 = 1;
    /// Whether records expire by upkeep, not by themselves.
    const EXPIRES: bool = true;
    /// Whether the answer to a count is the record that it made.
    const TELLS: bool = false;
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

    /// Stores a record whole.
    fn put(store: &mut Self::Store, digest: Digest, record: &Record);

    /// How many entries there are, asked of the database itself where it can be asked.
    fn count(&self, store: &Self::Store) -> usize;

    /// A record as the engine has room for it.
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

/// A database outside of this process, where others may write, too.
#[cfg(any(feature = "gdbm", feature = "redis", feature = "mysql"))]
pub(crate) trait Stored: Subject<Store: pyzord_engines::RecordStore> {
    /// Whether counts and expiry, too, leave a record as it is that nobody can read.
    const SPARES_UNREADABLE: bool = true;

    /// Another store of the same database.
    fn another(&self, store: &Self::Store) -> Self::Store;

    /// Fills the database, which no store has opened yet, with what no engine of ours would write.
    fn spoil(&self) -> Vec<Odd>;

    /// All that the database has for a digest, in a form that can be compared.
    fn raw(&self, store: &Self::Store, digest: Digest) -> String;
}

/// An entry that is no record.
#[cfg(any(feature = "gdbm", feature = "redis", feature = "mysql"))]
#[derive(Debug)]
pub(crate) struct Odd {
    /// The key, as scans name it.
    pub(crate) key: String,
    /// Why nobody can read it, as scans say it.
    pub(crate) cause: String,
}

#[cfg(any(feature = "gdbm", feature = "redis", feature = "mysql"))]
impl Odd {
    pub(crate) fn new(key: String, cause: impl Into<String>) -> Self {
        Self { key, cause: cause.into() }
    }

    /// The digest whose record it would be, if it is only the record that is odd.
    pub(crate) fn digest(&self) -> Option<Digest> {
        Digest::parse(self.key.as_bytes()).filter(|digest| digest.to_string() == self.key)
    }
}
