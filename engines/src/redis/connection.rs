//! One connection to redis.

use std::fmt;
use std::io;
use std::time::Duration;

use ::redis::{Client, ConnectionAddr, ConnectionInfo, RedisError, Value};

use super::deadline::Deadline;
use super::reply::Refusal;
use super::request::Request;
use crate::tls;

/// How much longer than its deadline a wait may take: the time-out of the socket is not set again for less.
const GRAIN: Duration = Duration::from_millis(20);

/// Why there is no connection, or why it cannot be used further.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("no answer in time")]
    TimedOut,
    /// The server accepted the connection and refused the first command.
    #[error(transparent)]
    Refused(Refusal),
    /// The crate keeps passwords out of its messages.
    #[error("{}", one_line(.0))]
    Redis(RedisError),
}

impl From<RedisError> for ConnectionError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::TimedOut } else { Self::Redis(error) }
    }
}

/// A connection, ready for requests.
pub(super) struct Connection(::redis::Connection);

impl Connection {
    /// Connects. Waits for the answer to one command, as a server that is stopped or loads its data still
    /// accepts connections.
    pub(super) fn open(info: ConnectionInfo, limit: Duration) -> Result<Self, ConnectionError> {
        let deadline = Deadline::after(limit);
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            tls::choose_provider();
        }
        let mut connection = Self(Client::open(info)?.get_connection_with_timeout(limit)?);
        match connection.ping(deadline)? {
            Some(Value::ServerError(error)) => Err(ConnectionError::Refused(Refusal(error))),
            _ => Ok(connection),
        }
    }

    /// Sends a request and appends its replies: all of them, or some if it fails. After a failure the
    /// connection must be closed, as the other replies could still arrive.
    pub(super) fn exchange(
        &mut self,
        request: &Request,
        deadline: Deadline,
        replies: &mut Vec<Value>,
    ) -> Result<(), ConnectionError> {
        let mut wait = left(deadline)?;
        self.0.set_write_timeout(Some(wait))?;
        self.0.set_read_timeout(Some(wait))?;
        self.0.send_packed_command(request.bytes())?;
        for _ in 0..request.replies() {
            // The socket's time-out starts again with each wait. Without this, a slow server could take the
            // whole time for each reply.
            let left = left(deadline)?;
            if left + GRAIN < wait {
                self.0.set_read_timeout(Some(left))?;
                wait = left;
            }
            replies.push(self.0.recv_response()?);
        }
        Ok(())
    }

    /// Returns whether the server still has the connection open. Fails if the server does not answer in time.
    pub(super) fn is_open(&mut self, deadline: Deadline) -> Result<bool, ConnectionError> {
        match self.ping(deadline) {
            Ok(_) => Ok(true),
            Err(ConnectionError::TimedOut) => Err(ConnectionError::TimedOut),
            Err(_) => Ok(false),
        }
    }

    fn ping(&mut self, deadline: Deadline) -> Result<Option<Value>, ConnectionError> {
        let (mut ping, mut replies) = (Request::default(), Vec::new());
        ping.command(&[b"PING"]);
        self.exchange(&ping, deadline, &mut replies)?;
        Ok(replies.pop())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

fn one_line(error: &RedisError) -> String {
    error.to_string().replace(['\r', '\n'], " ")
}

fn left(deadline: Deadline) -> Result<Duration, RedisError> {
    deadline.left().ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut).into())
}
