//! The vocabulary between the protocol and whatever keeps the records. The core names stores, it never calls one.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::protocol::digest::Digest;
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

/// Why a store, or one of its tasks, failed: one line for the log, without secrets.
///
/// A wrapper, as each store has causes of its own. Clones share the cause, so that one failed round trip can be the
/// failure of each of its records.
#[derive(Clone, Debug)]
pub struct StoreFailure(Arc<dyn core::error::Error + Send + Sync>);

impl StoreFailure {
    /// Wraps a cause: an error, or a text.
    pub fn new(cause: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for StoreFailure {
    /// The source of the cause: the cause itself is what [`Display`](fmt::Display) shows.
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.0.source()
    }
}

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
