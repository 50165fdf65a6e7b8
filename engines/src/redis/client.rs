//! One connection to redis, and the thread on which it is made.

use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ::redis::{
    Client as Address, Connection, ConnectionAddr, ConnectionInfo, RedisError, ServerError, Value,
};
use rustls::crypto::ring;

use super::deadline::Deadline;
use super::request::Request;

/// A wait may outlast its deadline by this much: time-outs are not set anew for less.
const GRAIN: Duration = Duration::from_millis(20);

/// A connection, ready for requests.
pub(super) struct Client(Connection);

impl Client {
    /// Sends a request and appends its replies, all of them or, with an error, some. The replies of a failed exchange
    /// could still come, so the connection must be given up.
    pub(super) fn exchange(
        &mut self,
        request: &Request,
        deadline: Deadline,
        replies: &mut Vec<Value>,
    ) -> Result<(), String> {
        self.try_exchange(request, deadline, replies)
            .map_err(|error| if error.is_timeout() { "no answer in time".into() } else { cause(&error) })
    }

    /// Whether the connection is still there. An error is a server that does not answer in time.
    pub(super) fn is_open(&mut self, deadline: Deadline) -> Result<bool, String> {
        let mut ping = Request::default();
        ping.command(&[b"PING"]);
        match self.try_exchange(&ping, deadline, &mut Vec::new()) {
            Ok(()) => Ok(true),
            Err(error) if error.is_timeout() => Err("no answer in time".into()),
            Err(_) => Ok(false),
        }
    }

    fn try_exchange(
        &mut self,
        request: &Request,
        deadline: Deadline,
        replies: &mut Vec<Value>,
    ) -> Result<(), RedisError> {
        let mut wait = left(deadline)?;
        self.0.set_write_timeout(Some(wait))?;
        self.0.set_read_timeout(Some(wait))?;
        self.0.send_packed_command(request.bytes())?;
        for _ in 0..request.replies() {
            // The time-out of the socket starts anew with each wait, and would let a slow server take its time
            // with each reply.
            let left = left(deadline)?;
            if left + GRAIN < wait {
                self.0.set_read_timeout(Some(left))?;
                wait = left;
            }
            replies.push(self.0.recv_response()?);
        }
        Ok(())
    }

    /// Connects, and returns when the server has answered a command: one that is stopped or loading its data still
    /// accepts connections.
    fn connect(info: ConnectionInfo, limit: Duration) -> Result<Self, String> {
        let deadline = Deadline::after(limit);
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // Err says that the process has chosen before, which is as good.
            let _ = ring::default_provider().install_default();
        }
        let connected = Address::open(info).and_then(|address| address.get_connection_with_timeout(limit));
        let mut client = Self(connected.map_err(|error| cause(&error))?);
        let (mut ping, mut replies) = (Request::default(), Vec::new());
        ping.command(&[b"PING"]);
        client.exchange(&ping, deadline, &mut replies)?;
        match replies.first() {
            Some(Value::ServerError(error)) => Err(complaint(error)),
            _ => Ok(client),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// Makes connections, each on a thread of its own: looking up a host name, connecting to a local socket whose queue
/// is full, and a handshake in small pieces know no time-out.
#[derive(Debug)]
pub(super) struct Dial {
    info: ConnectionInfo,
    limit: Duration,
    /// The attempt that is still under way: there is never more than one.
    pending: Option<Receiver<Result<Client, String>>>,
}

impl Dial {
    /// Will connect within `limit`.
    pub(super) fn new(info: ConnectionInfo, limit: Duration) -> Self {
        Self { info, limit, pending: None }
    }

    /// Waits for a connection at most as long as the limit. One that is made later is returned by the next call.
    pub(super) fn connect(&mut self) -> Result<Client, String> {
        let attempt = self.pending.take().map_or_else(|| self.begin(), Ok)?;
        match attempt.recv_timeout(self.limit) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                self.pending = Some(attempt);
                Err("no connection in time".into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err("the attempt to connect ended without a result".into())
            }
        }
    }

    fn begin(&self) -> Result<Receiver<Result<Client, String>>, String> {
        let (info, limit) = (self.info.clone(), self.limit);
        let (outcome, attempt) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("redis-connect".into());
        // Nobody listens any more when the engine was dropped meanwhile.
        let spawned = thread.spawn(move || drop(outcome.send(Client::connect(info, limit))));
        spawned.map(|_| attempt).map_err(|error| format!("no thread to connect on: {error}"))
    }
}

/// An error reply as one line.
pub(super) fn complaint(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

/// An error as one line. The crate keeps passwords out of its messages.
fn cause(error: &RedisError) -> String {
    error.to_string().replace(['\r', '\n'], " ")
}

fn left(deadline: Deadline) -> Result<Duration, RedisError> {
    deadline.left().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::TimedOut).into())
}
