//! A master of the cluster: its connection, and the request that it has at hand.

use std::fmt::Display;
use std::mem;
use std::time::Duration;

use ::redis::ConnectionInfo;
use pyzord_core::Tick;

use super::super::connection::{Connection, ConnectionError, ExchangeError};
use super::super::options::Options;
use super::super::request::Request;
use super::super::resp::Replies;
use super::topology::at;
use crate::connection_manager::{ConnectionManager, Wait};
use crate::connector::{AttemptError, Connector};
use crate::hosts::Host;
use crate::wire::Limits;

/// A firewall may have dropped a connection that was idle for longer than this, without a word: the node is asked before
/// calls could be lost on it.
const IDLE: Duration = Duration::from_secs(10);

/// What a reply answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// `ASKING`, which lets the next command pass.
    Asking,
    /// The call of this index.
    Call(usize),
    /// `WAIT`, for all calls before it.
    Wait,
}

/// A master.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: Host,
    info: ConnectionInfo,
    options: Options,
    pub(super) connection: ConnectionManager<Connection>,
    connector: Connector<Connection, ConnectionError>,
    /// The last attempt to connect failed, or the last connection broke: no call waits for the next attempt.
    failing: bool,
    used: Tick,
    /// The call that made the last connection.
    fresh: Option<Tick>,
    /// Why the last connection was dropped, or was not made.
    pub(super) cause: Option<String>,
    /// The next request has the text of every script.
    pub(super) spelled: bool,
    question: Request,
    pub(super) request: Request,
    /// What the replies to the request answer.
    pub(super) asked: Vec<Asked>,
    /// How many of them have arrived.
    pub(super) answered: usize,
    pub(super) replies: Replies,
}

/// How a trip to a node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trip {
    Done,
    /// The node may have received commands. What has no reply may have been executed.
    Lost {
        sent: bool,
        /// A fresh connection may do better at once.
        closed: bool,
    },
}

impl Node {
    pub(super) fn new(host: Host, info: &ConnectionInfo, options: Options, cluster: &str) -> Self {
        Self {
            info: at(info, &host),
            options,
            connection: ConnectionManager::new(format!("{cluster}, node {host}")),
            connector: Connector::new("redis-connect", options.connect),
            host,
            failing: false,
            used: Tick::default(),
            fresh: None,
            cause: None,
            spelled: false,
            question: Request::default(),
            request: Request::default(),
            asked: Vec::new(),
            answered: 0,
            replies: Replies::default(),
        }
    }

    /// Removes the request.
    pub(super) fn clear(&mut self) {
        self.request.clear();
        self.asked.clear();
        self.replies.begin(0, 0);
        self.answered = 0;
    }

    pub(super) fn is_connected(&mut self) -> bool {
        self.connection.current().is_some()
    }

    /// Begins to connect if there is no connection, without a wait.
    pub(super) fn begin_connection(&mut self, now: Tick) -> bool {
        let Self { connector, info, options, .. } = self;
        let prepared =
            self.connection.prepare(now, |_| poll(connector, info, options.handshake, Duration::ZERO));
        if prepared && self.failing {
            (self.failing, self.fresh) = (false, Some(now));
        }
        prepared
    }

    /// Returns whether there is a connection for calls. One that is being made has the time `wait`, or none if the node
    /// has just failed.
    pub(super) fn connect(&mut self, now: Tick, wait: Duration) -> bool {
        self.connection.refresh(now, |connection| Ok::<_, ConnectionError>(connection.is_idle()));
        let Self { connector, info, options, failing, fresh, .. } = self;
        let connected = self.connection.connection(now, |patience| {
            let wait = if *failing || patience == Wait::Nothing { Duration::ZERO } else { wait };
            let connected = poll(connector, info, options.handshake, wait);
            if matches!(connected, Ok(Some(_))) {
                *fresh = Some(now);
            }
            connected
        });
        *failing = connected.is_none();
        !*failing
    }

    /// Connects now, for callers that can wait.
    pub(super) fn wait_for_connection(&mut self) -> bool {
        self.connection.refresh(Tick::default(), |connection| Ok::<_, ConnectionError>(connection.is_idle()));
        let Self { connector, info, options, connection, .. } = self;
        let (info, limit) = (info.clone(), options.handshake);
        let connected = connection.wait(|| connector.connect(move || Connection::open(&info, limit)));
        let cause = connected.err().map(|error| error.to_string());
        let connected = cause.is_none();
        self.cause = cause.or(self.cause.take());
        connected
    }

    /// Sends a `PING` if the connection was idle for long. Returns whether an answer is to be
    /// [awaited](Self::answers).
    pub(super) fn ping(&mut self, now: Tick, limits: Limits) -> bool {
        let idle = now.since(mem::replace(&mut self.used, now)) >= IDLE;
        if !idle || self.fresh == Some(now) {
            return false;
        }
        let Some(connection) = self.connection.current() else { return false };
        self.question.clear();
        self.question.command(&[b"PING"]);
        let sent = connection.send(&self.question, limits);
        sent.map_err(|error| self.lost(Some(now), &error)).is_ok()
    }

    /// Awaits the answer to the `PING`; without one the connection ends.
    pub(super) fn answers(&mut self, now: Tick, limits: Limits) {
        let Some(connection) = self.connection.current() else { return };
        let received = connection.receive(&self.question, limits, &mut self.replies);
        self.replies.begin(0, 0);
        if let Err(error) = received {
            self.lost(Some(now), &error);
        }
    }

    /// Sends the request. Without a time there are no clients that wait, and the caller reports a failure.
    pub(super) fn send(&mut self, now: Option<Tick>, limits: Limits) -> Trip {
        // A healthy node takes a batch at once. One that does not must leave time for the others.
        let limits = Limits { pause: limits.pause / 4, ..limits };
        let Some(connection) = self.connection.current() else {
            return Trip::Lost { sent: false, closed: false };
        };
        let sent = connection.send(&self.request, limits);
        self.ended(now, sent)
    }

    /// Reads the replies to the request: all of them, or some if it fails.
    pub(super) fn receive(&mut self, now: Option<Tick>, limits: Limits) -> Trip {
        let Some(connection) = self.connection.current() else {
            return Trip::Lost { sent: true, closed: false };
        };
        let received = connection.receive(&self.request, limits, &mut self.replies);
        self.ended(now, received)
    }

    fn ended(&mut self, now: Option<Tick>, result: Result<(), ExchangeError>) -> Trip {
        let Err(error) = result else { return Trip::Done };
        let closed = self.lost(now, &error);
        Trip::Lost { sent: error.sent, closed }
    }

    /// Drops the connection. Returns whether another one may be made at once: the node has closed one that was older.
    fn lost(&mut self, now: Option<Tick>, error: &ExchangeError) -> bool {
        let closed =
            matches!(error.cause, ConnectionError::Closed(_)) && (now.is_none() || self.fresh != now);
        if closed {
            log::debug!("{}: {error}; it is made again", self.connection.name());
            self.connection.close();
        } else {
            self.abandon(now, error);
        }
        closed
    }

    /// Drops a connection that cannot be used further.
    pub(super) fn abandon(&mut self, now: Option<Tick>, cause: &impl Display) {
        self.cause = Some(cause.to_string());
        if let Some(now) = now {
            self.failing = true;
            self.connection.lost(now, cause);
        } else {
            self.connection.close();
        }
    }
}

/// Looks at the attempt to connect that is under way, or begins one.
fn poll(
    connector: &mut Connector<Connection, ConnectionError>,
    info: &ConnectionInfo,
    limit: Duration,
    wait: Duration,
) -> Result<Option<Connection>, AttemptError<ConnectionError>> {
    let info = info.clone();
    connector.poll(wait, move || Connection::open(&info, limit))
}
