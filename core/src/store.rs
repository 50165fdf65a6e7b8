//! The vocabulary between the protocol and whatever keeps the records. The core names stores, it never calls one.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;
use core::time::Duration;

use crate::digest::Digest;
use crate::record::Record;
use crate::time::{Now, UnixTime};

/// What a request wants from the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StoreOp {
    /// Read the record.
    Read,
    /// Count one report as spam.
    Report,
    /// Count one whitelisting.
    Whitelist,
}

/// One operation on one record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StoreCall {
    /// Whose record.
    pub digest: Digest,
    /// What to do with it.
    pub op: StoreOp,
}

/// The record that was read, or why there is none. A digest that the store does not know has the default record.
/// A count that succeeded may be answered with any record: nobody asks for it, and some engines would need another
/// trip to know it.
pub type StoreAnswer = Result<Record, StoreError>;

/// Why a call on one record failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached or failed; the same call may work later.
    Unavailable,
    /// The store holds something for this digest that nobody can read. It was left as it is.
    Unreadable,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "Database temporarily unavailable.",
            Self::Unreadable => "The record of this digest is unreadable.",
        })
    }
}

impl core::error::Error for StoreError {}

/// Something that a store does beside requests, when a [`Schedule`](crate::Schedule) says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Task {
    /// Put what was acknowledged on stable storage.
    Sync,
    /// Remove one slice of the records whose latest activity is older than the time given.
    Expire(UnixTime),
}

/// How far a task has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Progress {
    /// Nothing is left of it.
    Done,
    /// A slice was done and more are left.
    More,
}

/// A store, or a task of its, failed: one line for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreFailure(pub String);

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for StoreFailure {}

/// Keeps records. Each worker of a runtime has its own, and all of them may stand for one database.
pub trait Store: Send {
    /// Does what it would do if the calls came one after another, and appends one answer for each, in order.
    ///
    /// Increments are atomic for every worker and server on the same database. A store that cannot work
    /// answers [`StoreError::Unavailable`] within half a second; it never stalls and never panics.
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>);

    /// Does one slice of a task, a few milliseconds at most when requests could wait for it.
    ///
    /// # Errors
    /// When the slice failed; the records it did not reach are as they were.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure>;

    /// About how many records there are; `None` unless the store knows or can learn it without looking at each of
    /// them, within half a second.
    fn record_count(&mut self, _now: Now) -> Option<u64> {
        None
    }
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        (**self).execute(now, calls, answers);
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        (**self).upkeep(now, task)
    }

    fn record_count(&mut self, now: Now) -> Option<u64> {
        (**self).record_count(now)
    }
}

/// The store that lives in memory and dies with it: the model that every engine is tested against.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    records: BTreeMap<Digest, Record>,
    /// Where the next slice of expiry begins.
    cursor: Option<Digest>,
}

impl MemoryStore {
    /// How many records one slice of expiry looks at.
    const SLICE: usize = 1024;

    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All records, in the order of their digests.
    pub fn records(&self) -> impl Iterator<Item = (Digest, Record)> + '_ {
        self.records.iter().map(|(digest, record)| (*digest, *record))
    }

    /// Stores a record whole.
    pub fn put(&mut self, digest: Digest, record: Record) {
        self.records.insert(digest, record);
    }

    fn call(&mut self, now: UnixTime, call: StoreCall) -> Record {
        match call.op {
            StoreOp::Read => self.records.get(&call.digest).copied().unwrap_or_default(),
            StoreOp::Report | StoreOp::Whitelist => {
                let record = self.records.entry(call.digest).or_default();
                call.op.apply(record, now);
                *record
            }
        }
    }
}

impl StoreOp {
    /// Does to a record what this operation means.
    pub fn apply(self, record: &mut Record, now: UnixTime) {
        match self {
            Self::Read => (),
            Self::Report => record.reports.add(now),
            Self::Whitelist => record.whitelists.add(now),
        }
    }
}

impl Store for MemoryStore {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        answers.extend(calls.iter().map(|call| Ok(self.call(now.wall, *call))));
    }

    fn upkeep(&mut self, _now: Now, task: Task) -> Result<Progress, StoreFailure> {
        let Task::Expire(limit) = task else { return Ok(Progress::Done) };
        let from = self.cursor.take().map_or(Bound::Unbounded, Bound::Excluded);
        let slice: Vec<Digest> = self
            .records
            .range((from, Bound::Unbounded))
            .take(Self::SLICE)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in &slice {
            if self.records.get(digest).is_some_and(|record| record.expired(limit)) {
                self.records.remove(digest);
            }
        }
        if slice.len() < Self::SLICE {
            return Ok(Progress::Done);
        }
        self.cursor = slice.last().copied();
        Ok(Progress::More)
    }

    fn record_count(&mut self, _now: Now) -> Option<u64> {
        Some(self.records.len() as u64)
    }
}

/// The age at which records expire, as the setting `CleanupAge` gives it: seconds, 0 for never.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CleanupAge(pub u64);

impl CleanupAge {
    /// Records whose latest activity is before this have expired; `None` when none ever do.
    #[must_use]
    pub fn limit(self, now: UnixTime) -> Option<UnixTime> {
        (self.0 != 0).then(|| now.before(Duration::from_secs(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Tick;

    fn digest(n: u32) -> Digest {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Digest::new(bytes)
    }

    fn at(seconds: i64) -> Now {
        Now { wall: UnixTime::from_seconds(seconds), tick: Tick::default() }
    }

    #[test]
    fn calls_of_one_batch_see_each_other() {
        let mut store = MemoryStore::new();
        let call = |op| StoreCall { digest: digest(1), op };
        let mut answers = Vec::new();
        store.execute(
            at(7),
            &[StoreOp::Read, StoreOp::Report, StoreOp::Report, StoreOp::Read].map(call),
            &mut answers,
        );
        let counts: Vec<u64> = answers.iter().map(|answer| answer.unwrap().reports.count).collect();
        assert_eq!(counts, [0, 1, 2, 2]);
    }

    #[test]
    fn a_store_in_a_box_is_that_store() {
        let mut store: Box<dyn Store> = Box::new(MemoryStore::new());
        let mut answers = Vec::new();
        store.execute(at(7), &[StoreCall { digest: digest(1), op: StoreOp::Report }], &mut answers);
        assert_eq!(answers.len(), 1);
        assert_eq!(store.upkeep(at(7), Task::Sync), Ok(Progress::Done));
    }

    #[test]
    fn reading_does_not_create_a_record() {
        let mut store = MemoryStore::new();
        store.execute(at(7), &[StoreCall { digest: digest(1), op: StoreOp::Read }], &mut Vec::new());
        assert_eq!(store.records().count(), 0);
    }

    #[test]
    fn expiry_reaches_every_record_in_slices() {
        let mut store = MemoryStore::new();
        for n in 0..5000 {
            let calls = [StoreCall { digest: digest(n), op: StoreOp::Report }];
            store.execute(at(if n % 3 == 0 { 10 } else { 1000 }), &calls, &mut Vec::new());
        }
        let task = Task::Expire(UnixTime::from_seconds(500));
        let mut slices = 1;
        while store.upkeep(at(1000), task) == Ok(Progress::More) {
            slices += 1;
            assert!(slices < 10, "expiry has an end");
        }
        assert!(slices > 2, "{slices} slices");
        assert_eq!(store.records().count(), 5000 - 5000_usize.div_ceil(3));
        assert_eq!(CleanupAge(0).limit(UnixTime::from_seconds(9)), None);
    }
}
