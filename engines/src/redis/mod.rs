//! Records in a redis database, in either of the layouts that the Python server had.
//!
//! A batch is one trip: its commands go out together, and their replies come back in the same order. Counting is done
//! by a script that the server runs as one step, so any number of servers may share a database, a record is never
//! half written, and one that nobody can read is left as it is, its time to live included.
//!
//! ```no_run
//! use pyzord_core::{CleanupAge, Digest, Now, Store, StoreCall, StoreOp, Tick, UnixTime};
//! use pyzord_engines::redis::{Dsn, Options, Redis};
//!
//! let dsn = Dsn::parse("localhost,6379,,0")?;
//! let mut store = Redis::new(&dsn, Options::serving(CleanupAge::from_seconds(120 * 86_400)));
//! let digest = Digest::parse(b"da39a3ee5e6b4b0d3255bfef95601890afd80709").ok_or("no digest")?;
//! let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
//! let mut answers = Vec::new();
//! store.execute(now, &[StoreCall { digest, op: StoreOp::Report }], &mut answers);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod deadline;
mod dsn;
mod layout;
mod old;
mod record_store;
mod request;

use std::time::Duration;

use ::redis::Value;
use jiff::tz::TimeZone;
use pyzord_core::{
    CleanupAge, Digest, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure,
    StoreOp, Task, Tick,
};

use crate::connection_manager::ConnectionManager;
use crate::log_limiter::LogLimiter;
use crate::merge::{MergedCall, Merger};
use client::{Client, Dial};
use deadline::Deadline;
pub use dsn::{Dsn, DsnError};
use layout::{Layout, Problem};
use old::OldRecords;
use record_store::Cursor;
use request::Request;

/// How many slices of the search for old records a sync does: where no record ever expires, no other task does any.
const SLICES_OF_SYNC: usize = 100;

/// A connection that was idle for longer may have been closed by the server or a firewall; whether it was is found out
/// before a batch could be lost on it.
const IDLE: Duration = Duration::from_secs(10);

/// How an engine works with its database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Records expire when nothing was written to them for so long; redis removes them by itself.
    pub cleanup_age: Option<CleanupAge>,
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long all replies of one trip may take together, a twentieth of a second more or less.
    pub exchange: Duration,
    /// Whether to look for records of the old layout, and to tell of them.
    pub search_old: bool,
}

impl Options {
    /// For a server, whose clients wait: answers come within half a second.
    #[must_use]
    pub const fn serving(cleanup_age: Option<CleanupAge>) -> Self {
        Self {
            cleanup_age,
            connect: Duration::from_millis(300),
            exchange: Duration::from_millis(400),
            search_old: true,
        }
    }

    /// For moving whole databases, where a slow server is better than none.
    #[must_use]
    pub const fn migrating(cleanup_age: Option<CleanupAge>) -> Self {
        Self {
            cleanup_age,
            connect: Duration::from_secs(10),
            exchange: Duration::from_secs(60),
            search_old: false,
        }
    }
}

/// A redis database. Each worker has an engine of its own, with a connection of its own.
#[derive(Debug)]
pub struct Redis {
    exchange: Duration,
    link: ConnectionManager<Client>,
    /// When the connection was last used.
    used: Tick,
    dial: Dial,
    layout: Layout,
    /// The batch on its way and its replies; kept for their memory.
    steps: Merger,
    of_steps: Vec<StoreAnswer>,
    request: Request,
    replies: Vec<Value>,
    unreadable: LogLimiter,
    refused: LogLimiter,
    cursor: Cursor,
    old: OldRecords,
}

impl Redis {
    /// An engine for the layout `redis`: a hash for each record. It connects when it is first used, and again when
    /// the connection was lost.
    #[must_use]
    pub fn new(dsn: &Dsn, options: Options) -> Self {
        let old = if options.search_old { OldRecords::unknown() } else { OldRecords::known() };
        Self::with(dsn, options, Layout::hash(options.cleanup_age), old)
    }

    /// An engine for the deprecated layout `redis_v0`: a text for each record, with dates in the system's local time.
    #[must_use]
    pub fn v0(dsn: &Dsn, options: Options) -> Self {
        let layout = Layout::text(TimeZone::system(), options.cleanup_age);
        Self::with(dsn, options, layout, OldRecords::known())
    }

    fn with(dsn: &Dsn, options: Options, layout: Layout, old: OldRecords) -> Self {
        Self {
            exchange: options.exchange,
            used: Tick::default(),
            link: ConnectionManager::new(dsn.name()),
            dial: Dial::new(dsn.info.clone(), options.connect),
            layout,
            steps: Merger::default(),
            of_steps: Vec::new(),
            request: Request::default(),
            replies: Vec::new(),
            unreadable: LogLimiter::default(),
            refused: LogLimiter::default(),
            cursor: Cursor::default(),
            old,
        }
    }

    /// Takes the calls to the server and appends their answers. `None` is a connection that is not there or was lost.
    fn batch(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) -> Option<()> {
        let deadline = Deadline::after(self.exchange);
        self.request.clear();
        self.layout.stamp(now.wall);
        let mut steps = std::mem::take(&mut self.steps);
        let merged = steps.merge(calls);
        for MergedCall { digest, op, times } in merged {
            match op {
                StoreOp::Read => self.layout.read(*digest, &mut self.request),
                StoreOp::Report => self.layout.count("r", *digest, *times, &mut self.request),
                StoreOp::Whitelist => self.layout.count("wl", *digest, *times, &mut self.request),
            }
        }
        self.trip(now, deadline)?;
        self.of_steps.clear();
        let replies = std::mem::take(&mut self.replies);
        for (step, reply) in merged.iter().zip(&replies) {
            let answer = match self.answer(*step, reply) {
                Ok(record) => Ok(record),
                Err(problem) => Err(self.complain(now, step.digest, problem)?),
            };
            self.of_steps.push(answer);
        }
        steps.answers(&self.of_steps, answers);
        (self.steps, self.replies) = (steps, replies);
        Some(())
    }

    /// Sends the request and reads its replies, or tells the link why that cannot be.
    fn trip(&mut self, now: Now, deadline: Deadline) -> Option<()> {
        self.replies.clear();
        if now.tick.since(std::mem::replace(&mut self.used, now.tick)) >= IDLE {
            self.link.refresh(now.tick, |client| client.is_open(deadline));
        }
        let client = self.link.connection(now.tick, || self.dial.connect())?;
        let outcome = client.exchange(&self.request, deadline, &mut self.replies);
        outcome.map_err(|cause| self.link.lost(now.tick, &cause)).ok()
    }

    fn answer(&self, step: MergedCall, reply: &Value) -> Result<Record, Problem> {
        match step.op {
            StoreOp::Read => self.layout.record(reply).map(Option::unwrap_or_default),
            StoreOp::Report | StoreOp::Whitelist => layout::counted(reply).map(|()| Record::default()),
        }
    }

    /// What a problem is for the client, told to the log; `None` when the connection is of no more use.
    fn complain(&mut self, now: Now, digest: Digest, problem: Problem) -> Option<StoreError> {
        let name = self.link.name();
        match problem {
            Problem::Unreadable(why) => {
                if let Some(more) = self.unreadable.due(now.tick) {
                    log::warn!("{name}: the record of {digest} is left as it is, unreadable: {why}{more}");
                }
                Some(StoreError::Unreadable)
            }
            Problem::Refused(why) => {
                if let Some(more) = self.refused.due(now.tick) {
                    log::error!("{name}: {why}{more}");
                }
                Some(StoreError::Unavailable)
            }
            Problem::Away(why) => {
                self.link.lost(now.tick, &why);
                None
            }
        }
    }
}

impl Store for Redis {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if calls.is_empty() {
            return;
        }
        if self.batch(now, calls, answers).is_none() {
            answers.extend(calls.iter().map(|_| Err(StoreError::Unavailable)));
        }
    }

    /// All keys of the database, which is ours alone as a rule; redis knows their number.
    fn record_count(&mut self, now: Now) -> Option<u64> {
        self.request.clear();
        self.request.command(&[b"DBSIZE"]);
        self.trip(now, Deadline::after(self.exchange))?;
        match self.replies.first() {
            Some(Value::Int(keys)) => u64::try_from(*keys).ok(),
            _ => None,
        }
    }

    /// Redis keeps its data on stable storage as it was told to, and removes what has expired by itself. What is
    /// left to do is to look, once, for records of the old layout.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        let slices = if task == Task::Sync { SLICES_OF_SYNC } else { 1 };
        let done = (0..slices).any(|_| self.look_for_old_records(now) == Progress::Done);
        // The next sync is due in a minute, whatever this one says.
        Ok(if done || task == Task::Sync { Progress::Done } else { Progress::More })
    }
}
