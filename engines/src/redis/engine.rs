//! The engine as workers use it.

use std::mem;
use std::time::Duration;

use pyzord_core::{Now, Progress, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, Task, Tick};

use super::batch::{AskedCall, CallBatch};
use super::connection::{Connection, ConnectionError, ExchangeError};
use super::dsn::Dsn;
use super::layout::Layout;
use super::old::OldRecords;
use super::options::Options;
use super::replicas::{NotReplicated, Replicas};
use super::reply::{self, ReplyError};
use super::request::Request;
use super::resp::{Replies, Reply};
use super::scan::{Cursor, Page};
use super::target::{DialError, Target};
use super::trial;
use crate::connection_manager::{ConnectionManager, Wait};
use crate::connector::{AttemptError, Connector};
use crate::failure::failure;
use crate::log_limiter::LogLimiter;
use crate::wire::{Deadline, Limits};

/// How many slices of the search for old records a sync does. Without expiry a sync is the only task.
const SLICES_OF_SYNC: usize = 100;

/// A firewall may have dropped a connection that was idle for longer than this, without a word: the server is
/// asked before a batch could be lost on it.
const IDLE: Duration = Duration::from_secs(10);

/// How often a server is asked whether it is a replica by now. A replica answers checks, with counts that may be old.
const LOOK: Duration = Duration::from_secs(2);

/// Some proxies close a connection on a command that they do not know: after so many losses, the role is not asked for.
const MOST_HUNG_UP: u8 = 3;

/// How often a batch is sent at most: as usual; again because the connection was closed; again because the user
/// lacks the right to marks; again because the server does not know the script.
const ROUNDS: usize = 4;

/// How long a call without a batch waits for a connection that is being made.
const MOMENT: Duration = Duration::from_millis(5);

/// A redis server. Each worker has an engine of its own, with a connection of its own.
#[derive(Debug)]
pub(super) struct Single {
    target: Target,
    options: Options,
    pub(super) connection: ConnectionManager<Connection>,
    connector: Connector<Connection, DialError>,
    /// When the connection was last used.
    used: Tick,
    /// When its server was last asked for its role.
    looked: Tick,
    /// How many times in a row the connection was lost by that question.
    hung_up: u8,
    /// The call that made the last connection.
    fresh: Option<Tick>,
    pub(super) layout: Layout,
    /// The last batch, its request and its replies; kept for their memory.
    batch: CallBatch,
    pub(super) request: Request,
    pub(super) replies: Replies,
    unreadable: LogLimiter,
    refused: LogLimiter,
    unmarked: LogLimiter,
    not_replicated: LogLimiter,
    /// Where a scan of all records is.
    pub(super) cursor: Cursor,
    old: OldRecords,
    /// Whether the log says what the server refuses.
    tried: bool,
    met_cluster: bool,
    /// The replicas that must have a count.
    pub(super) replicas: Option<Replicas>,
}

/// Why a round trip failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TripError {
    #[error(transparent)]
    Connect(#[from] AttemptError<DialError>),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}

/// Why a request of a server was not answered completely; the connection manager has logged the cause.
pub(super) struct Lost {
    /// The server may have received commands.
    pub(super) sent: bool,
    /// A fresh connection may do better at once.
    pub(super) closed: bool,
}

impl Single {
    /// Returns an engine for one server. It connects at the first use, and again after the connection was lost.
    pub(super) fn with(dsn: &Dsn, options: Options, layout: Layout, old: OldRecords) -> Self {
        Self {
            target: dsn.target.clone(),
            options,
            connection: ConnectionManager::new(dsn.name()),
            connector: Connector::new("redis-connect", options.connect),
            used: Tick::default(),
            looked: Tick::default(),
            hung_up: 0,
            fresh: None,
            layout,
            batch: CallBatch::default(),
            request: Request::default(),
            replies: Replies::default(),
            unreadable: LogLimiter::default(),
            refused: LogLimiter::default(),
            unmarked: LogLimiter::default(),
            not_replicated: LogLimiter::default(),
            cursor: Cursor::default(),
            old,
            tried: false,
            met_cluster: false,
            replicas: dsn.replicas.map(|count| Replicas::new(count, options)),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.connection.name()
    }

    /// Returns whether the server has refused a call since it belongs to a cluster.
    pub(super) fn met_cluster(&self) -> bool {
        self.met_cluster
    }

    /// Sends the request and reads its replies; connects at once if there is no connection. For callers that
    /// can wait.
    pub(super) fn wait_for_trip(&mut self) -> Result<(), TripError> {
        self.replies.begin(0, 0);
        self.connection.refresh(Tick::default(), |connection| Ok::<_, ConnectionError>(connection.is_idle()));
        let limits = self.limits();
        let connection = self.connection.wait(|| {
            let (target, Options { handshake, follow_promotions, .. }) = (self.target.clone(), self.options);
            self.connector.connect(move || target.dial(handshake, follow_promotions))
        })?;
        Ok(connection.exchange(&self.request, limits, &mut self.replies)?)
    }

    /// Returns the limits of a round trip that begins now.
    fn limits(&self) -> Limits {
        let Options { exchange, pause, reply, .. } = self.options;
        Limits { deadline: Deadline::after(exchange), pause, reply }
    }

    /// Sends the calls to the server and answers them. After the server has closed the connection, sends once more
    /// on a fresh one what was certainly not executed, and counts whose marks the server keeps.
    fn execute_batch(&mut self, now: Now, batch: &mut CallBatch) {
        let limits = self.limits();
        self.layout.stamp(now.wall);
        for _ in 0..ROUNDS {
            let Some(connection) = self.connection(now.tick, limits) else { break };
            let (spelled, marks) = (!connection.knows_scripts, connection.keeps_marks);
            self.request.clear();
            self.request.spell_scripts(spelled);
            batch.request(marks, &mut self.layout, &mut self.request);
            if self.request.replies() == 0 {
                break;
            }
            let replicas = self.replicas.filter(|_| batch.asks_for_counts());
            if let Some(replicas) = replicas {
                replicas.wait(&mut self.request);
            }
            let trip = self.trip(now, limits);
            let waited = replicas.filter(|_| trip.is_ok()).and_then(|replicas| self.read_wait(replicas));
            self.read_replies(now, batch);
            if let Some(cause) = waited {
                if let Some(more) = self.not_replicated.due(now.tick) {
                    log::error!("{}: {cause}; reports get 500{more}", self.connection.name());
                }
                batch.not_replicated();
            }
            let again = match trip {
                Ok(()) => true,
                Err(lost) => {
                    if lost.sent {
                        batch.may_have_counted();
                    }
                    lost.closed
                }
            };
            if !again || batch.is_answered() {
                break;
            }
        }
    }

    /// Takes the reply to the wait for replicas, which is the last one. Returns why what was written is not safe.
    pub(super) fn read_wait(&self, replicas: Replicas) -> Option<NotReplicated> {
        self.replies.iter().last().and_then(|reply| replicas.read(reply).err())
    }

    /// Answers the calls whose replies have arrived.
    fn read_replies(&mut self, now: Now, batch: &mut CallBatch) {
        let replies = mem::take(&mut self.replies);
        for reply in replies.iter() {
            let Some(call) = batch.next() else { break };
            let answer = match call.read(&self.layout, reply) {
                Ok(answer) => Some(answer),
                Err(error) => self.store_error(now, call, &error).map(Err),
            };
            if let Some(answer) = answer {
                batch.answer(call, answer);
            }
        }
        self.replies = replies;
    }

    /// Connects, sends the request and reads its replies.
    fn ask_once(&mut self, now: Now) -> Option<()> {
        let limits = self.limits();
        self.connection(now.tick, limits)?;
        self.trip(now, limits).ok()
    }

    /// Sends the request on the connection and reads its replies: all of them, or some if it fails.
    fn trip(&mut self, now: Now, limits: Limits) -> Result<(), Lost> {
        self.replies.begin(0, 0);
        let Some(connection) = self.connection.current() else {
            return Err(Lost { sent: false, closed: false });
        };
        let result = connection.exchange(&self.request, limits, &mut self.replies);
        result.map_err(|error| {
            let ExchangeError { cause, sent } = &error;
            let closed = matches!(cause, ConnectionError::Closed(_));
            if closed && self.fresh != Some(now.tick) {
                log::debug!("{}: {error}; it is made again", self.connection.name());
                self.connection.close();
            } else {
                self.connection.lost(now.tick, &error);
            }
            Lost { sent: *sent, closed }
        })
    }

    /// Returns the connection, if there is one or one can be made in time.
    fn connection(&mut self, now: Tick, limits: Limits) -> Option<&mut Connection> {
        let role = self.hung_up < MOST_HUNG_UP;
        let idle = now.since(mem::replace(&mut self.used, now)) >= IDLE;
        if self.connection.current().is_some() && (idle || role && now.since(self.looked) >= LOOK) {
            self.looked = now;
            self.connection.refresh(now, |connection| connection.answers(role, limits));
            if role {
                self.hung_up = if self.connection.current().is_some() { 0 } else { self.hung_up + 1 };
            }
            self.learn_role(now);
        } else {
            self.connection.refresh(now, |connection| Ok::<_, ConnectionError>(connection.is_idle()));
        }
        let wait = limits.deadline.left().unwrap_or_default();
        let Self { connector, target, options, fresh, .. } = self;
        self.connection.connection(now, |patience| {
            let connected = poll(
                connector,
                target,
                *options,
                if patience == Wait::Batch { wait } else { Duration::ZERO },
            );
            if matches!(connected, Ok(Some(_))) {
                *fresh = Some(now);
            }
            connected
        })
    }

    /// Leaves a server that was found to be a replica, which a check does not show.
    fn learn_role(&mut self, now: Tick) {
        let Some(connection) = self.connection.current() else { return };
        if let Some(description) = connection.description.take() {
            self.target.learn(description);
        }
        if !connection.is_replica {
            return;
        }
        if self.target.finds_masters() {
            log::info!("{}: the server has become a replica and is not used", self.connection.name());
            self.connection.close();
        } else {
            self.connection.doubt(now, "the server is a replica, whose counts may be old");
        }
    }

    /// Logs an error in a reply, and returns the error that the client gets; `None` if the call is to be sent
    /// again.
    fn store_error(&mut self, now: Now, call: AskedCall, error: &ReplyError) -> Option<StoreError> {
        let name = self.connection.name();
        match error {
            ReplyError::Unreadable(why) => {
                if let Some(more) = self.unreadable.due(now.tick) {
                    let digest = call.digest();
                    log::warn!("{name}: the record of {digest} is left as it is, unreadable: {why}{more}");
                }
                return Some(StoreError::Unreadable);
            }
            ReplyError::Refused(why) if call.is_marked() && why.is_missing_right() => {
                let connection = self.connection.current();
                let first =
                    connection.is_some_and(|connection| mem::replace(&mut connection.keeps_marks, false));
                if first && let Some(more) = self.unmarked.due(now.tick) {
                    let name = self.connection.name();
                    log::warn!(
                        "{name}: signed counts have no marks in this database, so a restart forgets which were \
                         counted: {why}; give the user the right to the keys pyzord.digest*{more}"
                    );
                }
                return None;
            }
            ReplyError::Refused(why) => {
                if let Some(more) = self.refused.due(now.tick) {
                    log::error!("{name}: {why}{more}");
                }
            }
            ReplyError::NoScript(_) => {
                if let Some(connection) = self.connection.current() {
                    connection.knows_scripts = false;
                }
                return None;
            }
            ReplyError::Away(why) if why.is_of_replica() && self.target.finds_masters() => {
                // Certainly not executed: another server may do it at once.
                if self.fresh == Some(now.tick) {
                    self.connection.lost(now.tick, error);
                } else {
                    log::info!("{name}: {error}; the server has become a replica and is not used");
                    self.connection.close();
                }
                return None;
            }
            ReplyError::Away(_) => self.connection.doubt(now.tick, error),
            ReplyError::Redirected(_) => self.met_cluster = true,
            ReplyError::Unexpected => {
                self.connection.lost(now.tick, error);
                return Some(call.in_doubt());
            }
        }
        Some(StoreError::Unavailable)
    }

    /// Logs once what serving needs and the server refuses. If the server is away, it is tried later.
    fn try_once(&mut self, now: Now) {
        trial::requests(&mut self.layout, &mut self.request);
        if self.ask_once(now).is_none() {
            return;
        }
        self.tried = true;
        let refused = trial::refusals(self.replies.iter().map(reply::refused));
        if trial::is_no_database(&refused) {
            trial::ask_role(&mut self.request);
            if self.ask_once(now).is_some()
                && let Some(sentinel) = trial::sentinel(&self.replies)
            {
                log::error!("{}: {sentinel}", self.connection.name());
                return;
            }
        }
        for refused in refused {
            log::error!("{}: {refused}", self.connection.name());
        }
    }

    /// Looks at one slice of all keys for old records. If the server is away, the search goes on another
    /// time.
    fn look_for_old_records(&mut self, now: Now) -> Progress {
        self.request.clear();
        if !self.old.look(&mut self.request) || self.ask_once(now).is_none() {
            return Progress::Done;
        }
        match Page::read(self.replies.first()) {
            Ok(page) => self.old.found(page, self.connection.name()),
            Err(error) => {
                log::debug!("{}: the search for old records failed: {error}", self.connection.name());
                Progress::Done
            }
        }
    }
}

impl Store for Single {
    fn prepare(&mut self, now: Now) -> bool {
        let Self { connector, target, options, .. } = self;
        self.connection.prepare(now.tick, |wait| {
            poll(connector, target, *options, if wait == Wait::Nothing { Duration::ZERO } else { MOMENT })
        })
    }

    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if calls.is_empty() {
            return;
        }
        let mut batch = mem::take(&mut self.batch);
        batch.begin(calls);
        self.execute_batch(now, &mut batch);
        batch.answers(answers);
        self.batch = batch;
    }

    fn probe(&mut self, now: Now) -> Result<(), StoreFailure> {
        self.request.clear();
        self.layout.probe(None, &mut self.request);
        let name = self.connection.name().to_owned();
        if self.ask_once(now).is_none() {
            return Err(failure(&name, self.connection.cause().to_owned()));
        }
        let refused = self.replies.iter().find(|reply| matches!(reply, Reply::Error(_)));
        let Some(error) = refused.map(reply::error) else { return Ok(()) };
        if let ReplyError::Away(_) = error {
            self.connection.doubt(now.tick, &error);
        }
        Err(failure(&name, error))
    }

    /// Counts all keys of the database, which redis knows; as a rule they are all records.
    fn record_count(&mut self, now: Now) -> Option<u64> {
        self.request.clear();
        self.request.command(&[b"DBSIZE"]);
        self.ask_once(now)?;
        let counted = reply::number(self.replies.first());
        counted.inspect_err(|error| log::debug!("{}: DBSIZE: {error}", self.connection.name())).ok()
    }

    /// Looks for records of the old layout, until one is found or all keys were seen. Redis syncs and expires
    /// by itself, as it is configured.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        if let Task::Survey(_) = task {
            return Ok(Progress::Done);
        }
        if !self.tried {
            self.try_once(now);
        }
        let slices = if task == Task::Sync { SLICES_OF_SYNC } else { 1 };
        let done = (0..slices).any(|_| self.look_for_old_records(now) == Progress::Done);
        // A sync is over after its slices; the next one goes on with the search.
        Ok(if done || task == Task::Sync { Progress::Done } else { Progress::More })
    }
}

/// Waits for a connection, which is made on the connector's thread.
fn poll(
    connector: &mut Connector<Connection, DialError>,
    target: &Target,
    options: Options,
    wait: Duration,
) -> Result<Option<Connection>, AttemptError<DialError>> {
    let target = target.clone();
    connector.poll(wait, move || target.dial(options.handshake, options.follow_promotions))
}
