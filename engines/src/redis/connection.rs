//! One connection to redis.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{ConnectionAddr, ConnectionInfo, Value};
use rustls::{ClientConfig, RootCertStore};

use super::reader::{ReadError, Reader};
use super::reply::Refusal;
use super::request::Request;
use crate::tls;
use crate::wire::{Deadline, Limits, Socket, Stream, addresses, connect_tcp, connect_unix};

/// The largest reply to the commands that open a connection.
const LARGEST_GREETING: usize = 64 << 10;

/// Why there is no connection, or why it cannot be used further.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("no answer in time")]
    TimedOut,
    /// The server closed the connection, or the network did.
    #[error("the connection is closed: {0}")]
    Closed(io::Error),
    /// The server accepted the connection and refused one of the first commands.
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Read(ReadError),
    #[error("the server sends what was not asked for")]
    OutOfStep,
    #[error("the system's certificates cannot be read: {0}")]
    Certificates(String),
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::WriteZero => Self::Closed(error),
            _ => Self::Read(ReadError::Io(error)),
        }
    }
}

impl From<ReadError> for ConnectionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error.into(),
            ReadError::Protocol => Self::Read(error),
        }
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct ExchangeError {
    pub(super) cause: ConnectionError,
    /// The server may have received commands, and may have executed them.
    pub(super) sent: bool,
}

/// A connection, ready for requests.
pub(super) struct Connection {
    stream: Stream,
    reader: Reader,
    /// The server learns a script with its text, and then knows it by its hash. Behind some proxies each key
    /// has a server of its own.
    pub(super) knows_scripts: bool,
    /// Signed counts have marks. Not if the user lacks the right to their keys.
    pub(super) keeps_marks: bool,
}

impl Connection {
    /// Connects. Waits for the answer to one command, as a server that is stopped or loads its data still
    /// accepts connections.
    pub(super) fn open(info: &ConnectionInfo, limit: Duration) -> Result<Self, ConnectionError> {
        let limits = Limits { deadline: Deadline::after(limit), pause: limit, reply: LARGEST_GREETING };
        let stream = stream(info.addr(), limits)?;
        let mut connection =
            Self { stream, reader: Reader::default(), knows_scripts: true, keeps_marks: true };
        let settings = info.redis_settings();
        if let Some(password) = settings.password() {
            let (user, password) = (settings.username().map(str::as_bytes), password.as_bytes());
            let auth = user.map_or_else(
                || vec![b"AUTH".as_slice(), password],
                |user| vec![b"AUTH".as_slice(), user, password],
            );
            match connection.command(&auth, limits) {
                // Servers before version 6 know no users.
                Err(ConnectionError::Refused(refusal)) if user.is_some() && refusal.is_wrong_arity() => {
                    connection.command(&[b"AUTH", password], limits)?;
                }
                other => other?,
            }
        }
        if settings.db() != 0 {
            connection.command(&[b"SELECT", settings.db().to_string().as_bytes()], limits)?;
        }
        connection.command(&[b"PING"], limits)?;
        Ok(connection)
    }

    /// Sends a request and appends its replies: all of them, or some if it fails. After a failure the
    /// connection must be closed, as the other replies could still arrive.
    pub(super) fn exchange(
        &mut self,
        request: &Request,
        limits: Limits,
        replies: &mut Vec<Value>,
    ) -> Result<(), ExchangeError> {
        self.stream.begin(limits);
        self.send_and_read(request, replies)
            .map_err(|cause| ExchangeError { cause, sent: self.stream.socket().has_sent() })
    }

    fn send_and_read(&mut self, request: &Request, replies: &mut Vec<Value>) -> Result<(), ConnectionError> {
        self.stream.write_all(request.bytes())?;
        self.stream.flush()?;
        for _ in 0..request.replies() {
            replies.push(self.reader.reply(&mut self.stream)?);
        }
        if self.reader.finish() { Ok(()) } else { Err(ConnectionError::OutOfStep) }
    }

    /// Returns whether the server still has the connection open, as far as it has told.
    pub(super) fn is_idle(&mut self) -> bool {
        self.stream.is_idle()
    }

    /// Returns whether the server still has the connection open, which it is asked for. Fails if the server
    /// does not answer in time.
    pub(super) fn answers(&mut self, limits: Limits) -> Result<bool, ConnectionError> {
        self.stream.begin(limits);
        match self.command(&[b"PING"], limits) {
            Ok(()) | Err(ConnectionError::Refused(_)) => Ok(true),
            Err(ConnectionError::TimedOut) => Err(ConnectionError::TimedOut),
            Err(_) => Ok(false),
        }
    }

    fn command(&mut self, parts: &[&[u8]], limits: Limits) -> Result<(), ConnectionError> {
        let (mut command, mut replies) = (Request::default(), Vec::new());
        command.command(parts);
        // One deadline for all commands that open a connection.
        self.exchange(&command, limits, &mut replies).map_err(|error| error.cause)?;
        match replies.pop() {
            Some(Value::ServerError(error)) => Err(ConnectionError::Refused(Refusal(error))),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

fn stream(address: &ConnectionAddr, limits: Limits) -> Result<Stream, ConnectionError> {
    let tcp = |host: &str, port| -> io::Result<Socket> {
        let mut last = io::Error::from(ErrorKind::NotFound);
        for address in addresses(host, port)? {
            match connect_tcp(address, limits) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    Ok(match address {
        ConnectionAddr::Tcp(host, port) => Stream::Plain(tcp(host, *port)?),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let config = certificates()?;
            Stream::tls(tcp(host, *port)?, host, config)?
        }
        ConnectionAddr::Unix(path) => Stream::Plain(connect_unix(path, limits)?),
        _ => return Err(io::Error::from(ErrorKind::Unsupported).into()),
    })
}

/// Returns the configuration of a client that trusts the system's certificates.
fn certificates() -> Result<Arc<ClientConfig>, ConnectionError> {
    tls::choose_provider();
    let mut found = rustls_native_certs::load_native_certs();
    if let Some(error) = found.errors.pop() {
        return Err(ConnectionError::Certificates(error.to_string()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in found.certs {
        roots.add(certificate).map_err(|error| ConnectionError::Certificates(error.to_string()))?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
