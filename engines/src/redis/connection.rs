//! One connection to redis.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{ConnectionAddr, ConnectionInfo};
use rustls::{ClientConfig, RootCertStore};

use super::reply::Refusal;
use super::request::Request;
use super::resp::{Malformed, Replies, Reply};
use super::role::{Description, Identity, IsSentinel, Role};
use super::validity::Validity;
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
    #[error("the server does not know the command AUTH (its answer repeats the password, and is not shown)")]
    NoLogin,
    #[error(transparent)]
    Io(io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Sentinel(#[from] IsSentinel),
    #[error("the server sends what was not asked for")]
    OutOfStep,
    /// The server closed the connection before it said anything.
    #[error(
        "the server closes the connection at once: {0} (does it expect TLS? Then the URL begins with rediss://)"
    )]
    HungUp(io::Error),
    #[error("the server does not speak TLS (without, the URL begins with redis://); it says: {0}")]
    NoTls(String),
    #[error("no answer to TLS in time (does the server speak it? Without, the URL begins with redis://)")]
    NoTlsInTime,
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
            _ => Self::Io(error),
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
    /// The server learns a script with its text, and then knows it by its hash. Behind some proxies each key
    /// has a server of its own.
    pub(super) knows_scripts: bool,
    /// Signed counts have marks. Not if the user lacks the right to their keys.
    pub(super) keeps_marks: bool,
    /// Ends when the server is not the one to ask any more.
    pub(super) validity: Validity,
    /// The server has said that it copies another one.
    pub(super) is_replica: bool,
    /// What the server has said of itself since this was looked at.
    pub(super) description: Option<Description>,
    /// The user may ask the server for its role.
    tells_role: bool,
}

impl Connection {
    /// Connects. Waits for the answer to one command, as a server that is stopped or loads its data still
    /// accepts connections.
    pub(super) fn open(info: &ConnectionInfo, limit: Duration) -> Result<Self, ConnectionError> {
        Self::open_as(info, None, limit)
    }

    /// As [`open`](Self::open), with a server whose certificate may have another name than its host.
    pub(super) fn open_as(
        info: &ConnectionInfo,
        certified: Option<&str>,
        limit: Duration,
    ) -> Result<Self, ConnectionError> {
        let limits = greeting_limits(limit);
        let mut stream = stream(info.addr(), certified, limits)?;
        match stream.greet() {
            Ok(None) => (),
            Ok(Some(said)) => return Err(ConnectionError::NoTls(said)),
            Err(error) if error.kind() == ErrorKind::TimedOut => return Err(ConnectionError::NoTlsInTime),
            Err(error) => return Err(error.into()),
        }
        let mut connection = Self {
            stream,
            knows_scripts: true,
            keeps_marks: true,
            validity: Validity::default(),
            is_replica: false,
            description: None,
            tells_role: true,
        };
        match connection.log_in(info, limits) {
            Err(ConnectionError::Closed(error)) if matches!(info.addr(), ConnectionAddr::Tcp(..)) => {
                Err(ConnectionError::HungUp(error))
            }
            logged_in => logged_in.map(|()| connection),
        }
    }

    /// Says who logs in and which database is meant, and waits for an answer.
    fn log_in(&mut self, info: &ConnectionInfo, limits: Limits) -> Result<(), ConnectionError> {
        let settings = info.redis_settings();
        if let Some(password) = settings.password() {
            let (user, password) = (settings.username().map(str::as_bytes), password.as_bytes());
            let auth = user.map_or_else(
                || vec![b"AUTH".as_slice(), password],
                |user| vec![b"AUTH".as_slice(), user, password],
            );
            match self.command(&auth, limits) {
                // Servers before version 6 know no users.
                Err(ConnectionError::Refused(refusal)) if user.is_some() && refusal.is_wrong_arity() => {
                    self.command(&[b"AUTH", password], limits)?;
                }
                // A server without this command repeats its arguments.
                Err(ConnectionError::Refused(refusal)) if refusal.repeats(password) => {
                    return Err(ConnectionError::NoLogin);
                }
                other => other?,
            }
        }
        if settings.db() != 0 {
            let selected = self.command(&[b"SELECT", settings.db().to_string().as_bytes()], limits);
            match selected {
                Err(ConnectionError::Refused(refusal)) if refusal.is_unknown_command() => {
                    return Err(match self.role(limits) {
                        Ok(Role::Sentinel { services }) => IsSentinel { services }.into(),
                        _ => ConnectionError::Refused(refusal),
                    });
                }
                other => other?,
            }
        }
        self.command(&[b"PING"], limits)
    }

    /// Sends a request and reads its replies: all of them, or some if it fails. After a failure the connection
    /// must be closed, as the other replies could still arrive.
    pub(super) fn exchange(
        &mut self,
        request: &Request,
        limits: Limits,
        replies: &mut Replies,
    ) -> Result<(), ExchangeError> {
        replies.begin(request.replies(), limits.reply);
        self.send(request, limits)?;
        self.read(replies).map_err(|cause| ExchangeError { cause, sent: self.stream.socket().has_sent() })
    }

    /// Sends a request, whose replies are to be [received](Self::receive) next.
    pub(super) fn send(&mut self, request: &Request, limits: Limits) -> Result<(), ExchangeError> {
        self.stream.begin(limits);
        let sent = self.stream.write_all(request.bytes()).and_then(|()| self.stream.flush());
        sent.map_err(|error| ExchangeError { cause: error.into(), sent: self.stream.socket().has_sent() })
    }

    /// Reads the replies to a request that was sent: all of them, or some if it fails.
    pub(super) fn receive(
        &mut self,
        request: &Request,
        limits: Limits,
        replies: &mut Replies,
    ) -> Result<(), ExchangeError> {
        replies.begin(request.replies(), limits.reply);
        self.stream.begin(limits);
        self.read(replies).map_err(|cause| ExchangeError { cause, sent: true })
    }

    fn read(&mut self, replies: &mut Replies) -> Result<(), ConnectionError> {
        while !replies.are_complete() {
            match self.stream.read(replies.room()?)? {
                0 => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                length => replies.arrived(length)?,
            }
        }
        if replies.have_surplus() { Err(ConnectionError::OutOfStep) } else { Ok(()) }
    }

    /// Returns whether the server still has the connection open, as far as it has told.
    pub(super) fn is_idle(&mut self) -> bool {
        self.validity.lasts() && self.stream.is_idle()
    }

    /// Returns whether the server still has the connection open, which it is asked for, as well as for its role if
    /// `role` is set. Fails if the server does not answer in time.
    pub(super) fn answers(&mut self, role: bool, limits: Limits) -> Result<bool, ConnectionError> {
        if !self.validity.lasts() {
            return Ok(false);
        }
        let answered = if role && self.tells_role {
            self.describe(limits).map(|description| self.description = Some(description))
        } else {
            self.command(&[b"PING"], limits)
        };
        match answered {
            Ok(()) | Err(ConnectionError::Refused(_)) => Ok(true),
            Err(ConnectionError::TimedOut) => Err(ConnectionError::TimedOut),
            Err(_) => Ok(false),
        }
    }

    /// Asks the server for its role, its replicas and its identity, in one round trip. A user without a right gets what the
    /// others tell.
    pub(super) fn describe(&mut self, limits: Limits) -> Result<Description, ConnectionError> {
        let (mut request, mut replies) = (Request::default(), Replies::default());
        request.command(&[b"ROLE"]);
        request.command(&[b"INFO", b"replication"]);
        // Servers before version 7 take one section.
        request.command(&[b"INFO", b"server"]);
        self.exchange(&request, limits, &mut replies).map_err(|error| error.cause)?;
        let role = Role::read(replies.first());
        let mut infos = replies.iter().skip(1);
        let identity = infos.next().and_then(|replication| Identity::read(replication, infos.next()));
        // Each refusal is a line in the server's log of refused commands.
        self.tells_role = !replies.iter().all(|reply| matches!(reply, Reply::Error(_)));
        self.is_replica = matches!(role, Role::Replica { .. });
        Ok(Description { role, identity })
    }

    /// Asks the server for its role.
    pub(super) fn role(&mut self, limits: Limits) -> Result<Role, ConnectionError> {
        self.ask(&[b"ROLE"], limits).map(|replies| Role::read(replies.first()))
    }

    fn command(&mut self, parts: &[&[u8]], limits: Limits) -> Result<(), ConnectionError> {
        self.ask(parts, limits).map(drop)
    }

    /// Sends a command, and returns its reply, which is no error.
    pub(super) fn ask(&mut self, parts: &[&[u8]], limits: Limits) -> Result<Replies, ConnectionError> {
        let (mut command, mut replies) = (Request::default(), Replies::default());
        command.command(parts);
        // One deadline for all commands that open a connection.
        self.exchange(&command, limits, &mut replies).map_err(|error| error.cause)?;
        match replies.first().and_then(Refusal::read) {
            Some(refusal) => Err(ConnectionError::Refused(refusal)),
            None => Ok(replies),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Returns the limits of an exchange that is not about records.
pub(super) fn greeting_limits(limit: Duration) -> Limits {
    Limits { deadline: Deadline::after(limit), pause: limit, reply: LARGEST_GREETING }
}

fn stream(
    address: &ConnectionAddr,
    certified: Option<&str>,
    limits: Limits,
) -> Result<Stream, ConnectionError> {
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
            Stream::tls(tcp(host, *port)?, certified.unwrap_or(host), config)?
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::super::dsn::Dsn;
    use super::*;

    /// Connects to a server that says this to the first bytes that it hears, and then hangs up.
    fn failure(scheme: &str, says: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dsn = format!("{scheme}://:hunter2@{}/0", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            assert!(peer.read(&mut [0; 4096]).unwrap() > 0);
            peer.write_all(says).unwrap();
        });
        let opened = Dsn::parse(&dsn).unwrap().target.dial(Duration::from_secs(20), false);
        server.join().unwrap();
        opened.unwrap_err().to_string()
    }

    /// It was said that a message is corrupt, or that the connection is closed.
    #[test]
    fn a_server_without_or_with_tls_is_told_with_its_words() {
        let alert = b"\x15\x03\x03\x00\x02\x02\x46";
        for (scheme, says, expected) in [
            ("rediss", &b"-ERR unknown command\r\nFAKE\r\n"[..], "it says: -ERR unknown command  FAKE"),
            ("redis", alert, "the server speaks TLS: the DSN must be a URL that begins with rediss://"),
            ("redis", b"", "Then the URL begins with rediss://"),
            ("redis", b"-WRONGPASS invalid pair\r\n", "WRONGPASS invalid pair"),
            (
                "redis",
                b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n",
                "is not shown",
            ),
        ] {
            let error = failure(scheme, says);
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }
}
