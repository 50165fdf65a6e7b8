//! What the protocol asks a store, and what a store answers. The core itself never calls a store.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::expiry::Survey;
use crate::protocol::digest::Digest;
use crate::protocol::signature::MAX_CLOCK_DIFFERENCE;
use crate::record::Record;
use crate::time::{Now, UnixTime};

/// The operation of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StoreOp {
    /// Read the record.
    Read,
    /// Count one report as spam.
    Report,
    /// Count one whitelisting.
    Whitelist,
}

/// One operation on the record of one digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StoreCall {
    /// The digest.
    pub digest: Digest,
    /// The operation.
    pub op: StoreOp,
    /// Names a count of a signed request. A store that keeps marks executes a call with a mark once, however often it is
    /// asked.
    pub mark: Option<Mark>,
}

/// One occurrence of a digest in a signed request. Two requests never have the same mark, and copies of one always do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mark {
    /// The request's signature.
    pub signature: Digest,
    /// The place of the digest in the request, from 0.
    pub place: u8,
}

impl Mark {
    /// How long a store keeps a mark at least: as long as the signature may be valid, from the earliest to the latest
    /// moment that fits its `Time`, both included. A store that several servers share adds how much their clocks may differ.
    pub const LIFE: Duration = MAX_CLOCK_DIFFERENCE.saturating_mul(2).saturating_add(Duration::from_secs(1));
}

impl StoreCall {
    /// Returns a call without a mark.
    #[must_use]
    pub const fn new(digest: Digest, op: StoreOp) -> Self {
        Self { digest, op, mark: None }
    }
}

/// The answer to a call: the record, or why the call failed. A digest that the store does not know has the default
/// record. The record in the answer to a count is not used, so it may be any: some engines do not know it.
pub type StoreAnswer = Result<Record, StoreError>;

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached, or failed: it has not executed the call, and never will. The same call may succeed
    /// later.
    Unavailable,
    /// The store has a value for this digest that it cannot read, and left it as it is.
    Unreadable,
    /// The store has no place for this digest, and will have none soon: it was made to collide with many others. The call
    /// is not executed. All other digests are served.
    NoPlace,
    /// The call may have been executed, or may be later: the store was asked and has not answered. It must not be
    /// repeated, as the store has no mark of it.
    Unknown,
    /// As [`Unknown`](Self::Unknown), but the store keeps the call's mark: the same call may be repeated, and counts at
    /// most once in all.
    Unsettled,
    /// The store has the mark of this count already and has not counted again. The request is answered as if it had.
    AlreadyCounted,
}

impl StoreError {
    /// Whether the call is known not to be executed, now or later.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Unavailable | Self::Unreadable | Self::NoPlace)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable | Self::Unknown | Self::Unsettled => "Database temporarily unavailable.",
            Self::Unreadable => "The record of this digest is unreadable.",
            Self::NoPlace => "The database has no place for this digest.",
            Self::AlreadyCounted => "It was counted before.",
        })
    }
}

impl core::error::Error for StoreError {}

/// A task of a store beside requests, at the times of a [`Schedule`](crate::Schedule).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Task {
    /// Write acknowledged counts to stable storage.
    Sync,
    /// Examine one slice of the records, to learn how many have their latest activity before this time; the last slice
    /// gives [`Progress::Surveyed`]. Another time begins anew. A store that cannot tell returns [`Progress::Done`].
    Survey(UnixTime),
    /// Remove one slice of the records whose latest activity is before this time.
    Expire(UnixTime),
}

/// The progress of a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Progress {
    /// It is complete.
    Done,
    /// A survey is complete.
    Surveyed(Survey),
    /// A slice is complete, and more are left.
    More,
    /// Another server on the same database expires its records; this one is to ask again later.
    Elsewhere,
}

/// Why a store, or one of its tasks, failed: one line for the log, without secrets.
///
/// It wraps the causes of any store. Clones share the cause: one failed round trip is the failure of each of its
/// records.
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
    /// Returns the source of the cause, which [`Display`](fmt::Display) shows itself.
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.0.source()
    }
}

/// Keeps records. Each worker of a runtime has its own store; all of them may use one database.
pub trait Store: Send {
    /// Executes the calls as if they came one after another, and appends one answer for each, in their order.
    ///
    /// Increments are atomic for all workers and servers on the same database. A store that cannot work answers
    /// [`StoreError::Unavailable`] within half a second, or [`StoreError::Unknown`] if it may have counted; it never stalls
    /// and never panics.
    ///
    /// A store may keep the marks of calls for [`Mark::LIFE`], in the step that counts. A repeated call is then answered
    /// with [`StoreError::AlreadyCounted`], and one without an answer with [`StoreError::Unsettled`].
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>);

    /// Executes the calls as [`execute`](Self::execute) does, but may leave the wait for the disk to
    /// [`make_durable`](Self::make_durable): then it returns `true`, other handles read the new counts from now on, and no
    /// answer may leave before that call. The default executes the calls and returns `false`.
    fn commit(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) -> bool {
        self.execute(now, calls, answers);
        false
    }

    /// Waits for half a second at most until the counts since the last call are as durable as the store promises. `calls` and
    /// `answers` are those of all calls of [`commit`](Self::commit) since then. If the counts are not durable, their answers
    /// become [`StoreError::Unknown`].
    fn make_durable(&mut self, _now: Now, _calls: &[StoreCall], _answers: &mut [StoreAnswer]) {}

    /// Makes a connection if the store needs one and has none, and returns whether it has what it needs. Waits a
    /// few milliseconds at most: a later call looks at the attempt that this one has begun.
    ///
    /// A runtime with several stores lets those execute that are prepared, and calls this for the others now and
    /// then.
    fn prepare(&mut self, _now: Now) -> bool {
        true
    }

    /// Executes one slice of a task: a few milliseconds at most if requests may wait for it.
    ///
    /// # Errors
    /// The slice failed. The records that it did not reach are unchanged.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure>;

    /// Returns how many records the expiry of this store has removed since it was made; `None` if the store does not know
    /// it, as where the database removes them by itself.
    fn expired(&self) -> Option<u64> {
        None
    }

    /// Checks that a new count would be accepted now, within half a second, and changes no record that a client could
    /// see. The default does nothing.
    ///
    /// # Errors
    /// Why counts are refused.
    fn probe(&mut self, _now: Now) -> Result<(), StoreFailure> {
        Ok(())
    }

    /// Returns the approximate number of records; `None` unless the store knows it, or finds it within half a second
    /// without reading all records.
    fn record_count(&mut self, _now: Now) -> Option<u64> {
        None
    }
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        (**self).execute(now, calls, answers);
    }

    fn commit(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) -> bool {
        (**self).commit(now, calls, answers)
    }

    fn make_durable(&mut self, now: Now, calls: &[StoreCall], answers: &mut [StoreAnswer]) {
        (**self).make_durable(now, calls, answers);
    }

    fn prepare(&mut self, now: Now) -> bool {
        (**self).prepare(now)
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        (**self).upkeep(now, task)
    }

    fn expired(&self) -> Option<u64> {
        (**self).expired()
    }

    fn probe(&mut self, now: Now) -> Result<(), StoreFailure> {
        (**self).probe(now)
    }

    fn record_count(&mut self, now: Now) -> Option<u64> {
        (**self).record_count(now)
    }
}

impl StoreOp {
    /// Applies the operation to a record.
    pub fn apply(self, record: &mut Record, now: UnixTime) {
        match self {
            Self::Read => (),
            Self::Report => record.reports.add(now),
            Self::Whitelist => record.whitelists.add(now),
        }
    }
}
