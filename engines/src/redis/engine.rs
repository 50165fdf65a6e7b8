//! The engine as workers use it.

use std::mem;
use std::time::Duration;

use ::redis::{ConnectionInfo, Value};
use jiff::tz::TimeZone;
use pyzord_core::{
    Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task, Tick,
};

use super::connection::{Connection, ConnectionError};
use super::deadline::Deadline;
use super::dsn::Dsn;
use super::layout::Layout;
use super::old::OldRecords;
use super::options::Options;
use super::reply::{self, Counting, ReplyError};
use super::request::Request;
use super::scan::{Cursor, Page};
use crate::connection_manager::ConnectionManager;
use crate::connector::{AttemptError, Connector, Waits};
use crate::log_limiter::LogLimiter;
use crate::merge::{MergedCall, Merger};

/// How many slices of the search for old records a sync does. Without expiry a sync is the only task.
const SLICES_OF_SYNC: usize = 100;

/// The server or a firewall may have closed a connection that was idle for longer than this; it is checked
/// before a batch could be lost on it.
const IDLE: Duration = Duration::from_secs(10);

/// A redis database. Each worker has an engine of its own, with a connection of its own.
#[derive(Debug)]
pub struct Redis {
    info: ConnectionInfo,
    options: Options,
    pub(super) connection: ConnectionManager<Connection>,
    connector: Connector<Connection, ConnectionError>,
    /// When the connection was last used.
    used: Tick,
    pub(super) layout: Layout,
    /// The last batch, its request and its replies; kept for their memory.
    merger: Merger,
    merged_answers: Vec<StoreAnswer>,
    pub(super) request: Request,
    pub(super) replies: Vec<Value>,
    unreadable: LogLimiter,
    refused: LogLimiter,
    /// Whether signed counts have marks: not if the user lacks the right to their keys.
    marks: bool,
    /// Where a scan of all records is.
    pub(super) cursor: Cursor,
    old: OldRecords,
}

/// Why a round trip failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TripError {
    #[error(transparent)]
    Connect(#[from] AttemptError<ConnectionError>),
    #[error(transparent)]
    Exchange(#[from] ConnectionError),
}

/// Why a round trip of a batch has no replies, or not all; the connection manager has logged it.
enum TripEnd {
    /// There is no connection: nothing was sent.
    NotSent,
    /// The connection was lost: what has no reply may be executed, also later.
    Lost,
}

impl Redis {
    /// Returns an engine for the layout `redis`, a hash for each record. It connects at the first use, and
    /// again after the connection was lost.
    #[must_use]
    pub fn new(dsn: &Dsn, options: Options) -> Self {
        let old = if options.search_old { OldRecords::unknown() } else { OldRecords::known() };
        Self::with(dsn, options, Layout::hash(options.cleanup_age), old)
    }

    /// Returns an engine for the deprecated layout `redis_v0`, a text for each record with dates in the
    /// system's local time.
    #[must_use]
    pub fn v0(dsn: &Dsn, options: Options) -> Self {
        let layout = Layout::text(TimeZone::system(), options.cleanup_age);
        Self::with(dsn, options, layout, OldRecords::known())
    }

    fn with(dsn: &Dsn, options: Options, layout: Layout, old: OldRecords) -> Self {
        let waits = Waits { new: options.connect, pending: options.connect };
        Self {
            info: dsn.info.clone(),
            options,
            connection: ConnectionManager::new(dsn.name()),
            connector: Connector::new("redis-connect", waits),
            used: Tick::default(),
            layout,
            merger: Merger::keeping_marks(),
            merged_answers: Vec::new(),
            request: Request::default(),
            replies: Vec::new(),
            unreadable: LogLimiter::default(),
            refused: LogLimiter::default(),
            marks: true,
            cursor: Cursor::default(),
            old,
        }
    }

    /// Sends the request and reads its replies; connects at once if there is no connection. For callers that
    /// can wait.
    pub(super) fn wait_for_trip(&mut self) -> Result<(), TripError> {
        self.replies.clear();
        let connection = self.connection.wait(|| connect(&mut self.connector, &self.info, self.options))?;
        let deadline = Deadline::after(self.options.exchange);
        Ok(connection.exchange(&self.request, deadline, &mut self.replies)?)
    }

    /// Returns the time by which a round trip that begins now must end.
    fn deadline(&self) -> Deadline {
        Deadline::after(self.options.exchange)
    }

    /// Sends the calls to the server and appends their answers.
    fn batch(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let deadline = self.deadline();
        self.request.clear();
        self.layout.stamp(now.wall);
        for MergedCall { digest, op, times, mark } in self.merger.merge(calls) {
            let mark = mark.filter(|_| self.marks);
            match op {
                StoreOp::Read => self.layout.read(*digest, &mut self.request),
                StoreOp::Report => self.layout.count("r", *digest, *times, mark, &mut self.request),
                StoreOp::Whitelist => self.layout.count("wl", *digest, *times, mark, &mut self.request),
            }
        }
        let sent = !matches!(self.trip(now, deadline), Err(TripEnd::NotSent));
        let (merger, replies) = (mem::take(&mut self.merger), mem::take(&mut self.replies));
        let mut merged_answers = mem::take(&mut self.merged_answers);
        merged_answers.clear();
        let marks = self.marks;
        // A reply that came before the connection was lost holds.
        let mut replies_left = replies.iter();
        merged_answers.extend(merger.merged().iter().map(|call| match replies_left.next() {
            Some(reply) => self.answer(now, *call, reply),
            None if sent => Err(doubt(*call, marks)),
            None => Err(StoreError::Unavailable),
        }));
        merger.answers(&merged_answers, answers);
        (self.merger, self.replies, self.merged_answers) = (merger, replies, merged_answers);
    }

    /// Sends the request and reads its replies.
    fn trip(&mut self, now: Now, deadline: Deadline) -> Result<(), TripEnd> {
        self.replies.clear();
        if now.tick.since(mem::replace(&mut self.used, now.tick)) >= IDLE {
            self.connection.refresh(now.tick, |connection| connection.is_open(deadline));
        }
        let connect = || connect(&mut self.connector, &self.info, self.options);
        let connection = self.connection.connection(now.tick, connect).ok_or(TripEnd::NotSent)?;
        connection.exchange(&self.request, deadline, &mut self.replies).map_err(|error| {
            self.connection.lost(now.tick, &error);
            TripEnd::Lost
        })
    }

    /// Returns the answer in a reply. Logs an error, and drops a connection that is of no use.
    fn answer(&mut self, now: Now, call: MergedCall, reply: &Value) -> StoreAnswer {
        let answer = match call.op {
            StoreOp::Read => self.layout.record(reply).map(Option::unwrap_or_default),
            StoreOp::Report | StoreOp::Whitelist => match reply::counted(reply) {
                Ok(Counting::Counted) => Ok(Record::default()),
                Ok(Counting::AlreadyCounted) => return Err(StoreError::AlreadyCounted),
                Err(error) => Err(error),
            },
        };
        answer.map_err(|error| self.store_error(now, call, &error))
    }

    /// Logs an error in a reply, and returns the error that the client gets.
    fn store_error(&mut self, now: Now, call: MergedCall, error: &ReplyError) -> StoreError {
        let name = self.connection.name();
        match error {
            ReplyError::Unreadable(why) => {
                if let Some(more) = self.unreadable.due(now.tick) {
                    let digest = call.digest;
                    log::warn!("{name}: the record of {digest} is left as it is, unreadable: {why}{more}");
                }
                StoreError::Unreadable
            }
            ReplyError::Refused(why) if self.marks && call.mark.is_some() && why.is_missing_right() => {
                self.marks = false;
                log::warn!(
                    "{name}: signed counts have no marks in this database, so a restart forgets which were \
                     counted: {why}; give the user the right to the keys pyzord.digest*"
                );
                StoreError::Unavailable
            }
            ReplyError::Refused(why) => {
                if let Some(more) = self.refused.due(now.tick) {
                    log::error!("{name}: {why}{more}");
                }
                StoreError::Unavailable
            }
            ReplyError::Away(_) => {
                self.connection.lost(now.tick, error);
                StoreError::Unavailable
            }
            ReplyError::Unexpected => {
                self.connection.lost(now.tick, error);
                doubt(call, self.marks)
            }
        }
    }

    /// Looks at one slice of all keys for old records. If the server is away, the search goes on another
    /// time.
    fn look_for_old_records(&mut self, now: Now) -> Progress {
        self.request.clear();
        if !self.old.look(&mut self.request) || self.trip(now, self.deadline()).is_err() {
            return Progress::Done;
        }
        match Page::read(self.replies.pop()) {
            Ok(page) => self.old.found(page, self.connection.name()),
            Err(error) => {
                log::debug!("{}: the search for old records failed: {error}", self.connection.name());
                Progress::Done
            }
        }
    }
}

impl Store for Redis {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if calls.is_empty() {
            return;
        }
        self.batch(now, calls, answers);
    }

    /// Counts all keys of the database, which redis knows; as a rule they are all records.
    fn record_count(&mut self, now: Now) -> Option<u64> {
        self.request.clear();
        self.request.command(&[b"DBSIZE"]);
        self.trip(now, self.deadline()).ok()?;
        let counted = reply::number(self.replies.first());
        counted.inspect_err(|error| log::debug!("{}: DBSIZE: {error}", self.connection.name())).ok()
    }

    /// Looks for records of the old layout, until one is found or all keys were seen. Redis syncs and expires
    /// by itself, as it is configured.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        let slices = if task == Task::Sync { SLICES_OF_SYNC } else { 1 };
        let done = (0..slices).any(|_| self.look_for_old_records(now) == Progress::Done);
        // A sync is over after its slices; the next one goes on with the search.
        Ok(if done || task == Task::Sync { Progress::Done } else { Progress::More })
    }
}

/// Returns the error of a call that was sent and has no reply.
const fn doubt(call: MergedCall, marks: bool) -> StoreError {
    match (call.op, call.mark) {
        (StoreOp::Read, _) => StoreError::Unavailable,
        (StoreOp::Report | StoreOp::Whitelist, Some(_)) if marks => StoreError::Unsettled,
        (StoreOp::Report | StoreOp::Whitelist, _) => StoreError::Unknown,
    }
}

fn connect(
    connector: &mut Connector<Connection, ConnectionError>,
    info: &ConnectionInfo,
    options: Options,
) -> Result<Connection, AttemptError<ConnectionError>> {
    let info = info.clone();
    connector.connect(move || Connection::open(info, options.connect))
}
