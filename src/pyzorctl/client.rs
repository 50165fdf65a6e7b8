//! The running server, asked over the network as a client asks it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use pyzord_core::{Digest, HashedKey, HeaderBlock, Operation, Record, Tally, UnixTime};
use pyzord_runtime::Clock;
use thiserror::Error;

use crate::settings::Settings;

/// The time that a reply may take: twice what the server allows its database.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a request that counts nothing is sent, as datagrams can get lost.
const ATTEMPTS: u32 = 3;
/// More bytes than the longest reply has.
const MAX_REPLY: usize = 8192;

/// A UDP client of one server.
pub(crate) struct UdpClient {
    socket: UdpSocket,
    pub(crate) address: SocketAddr,
    clock: Clock,
}

/// The user in whose name a request is sent.
pub(crate) enum Sender<'a> {
    Anonymous,
    Account(&'a str, &'a HashedKey),
}

/// Why a server was not asked, or its reply not received.
#[derive(Debug, Error)]
pub(crate) enum QueryError {
    #[error("Port: 0 lets the system choose the server's port; give it with --port")]
    UnknownPort,
    #[error("server {name}: the name has no address")]
    NoAddress { name: String },
    #[error("server {name} port {port}: {error}")]
    Connect { name: String, port: u16, error: io::Error },
    #[error("server {address}: {error}")]
    Io { address: SocketAddr, error: io::Error },
    #[error("server {address}: no answer within {} s", REPLY_TIMEOUT.as_secs())]
    Timeout { address: SocketAddr },
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl UdpClient {
    /// Makes a client of the server that has these settings. A server that listens on every address is asked at the
    /// loopback address.
    pub(crate) fn new(settings: &Settings, clock: Clock) -> Result<Self, QueryError> {
        let (name, port) = (settings.first_address(), settings.port);
        let failed = |error| QueryError::Connect { name: name.to_owned(), port, error };
        if port == 0 {
            return Err(QueryError::UnknownPort);
        }
        let found = (name, port).to_socket_addrs().map_err(failed)?.next();
        let address = found.ok_or_else(|| QueryError::NoAddress { name: name.to_owned() })?;
        Self::at(address, clock)
    }

    /// Makes a client of the server that listens on this address.
    pub(crate) fn at(mut address: SocketAddr, clock: Clock) -> Result<Self, QueryError> {
        let (any, loopback): (IpAddr, IpAddr) = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
        };
        if address.ip().is_unspecified() {
            address.set_ip(loopback);
        }
        let failed = |error| QueryError::Io { address, error };
        let socket = UdpSocket::bind((any, 0)).map_err(failed)?;
        socket.connect(address).map_err(failed)?;
        Ok(Self { socket, address, clock })
    }

    /// Sends a request that counts nothing, as `anonymous`; sends it again if there is no reply.
    pub(crate) fn query(
        &self,
        operation: Operation,
        digest: Option<Digest>,
    ) -> Result<ServerReply, QueryError> {
        let mut attempt = 1;
        loop {
            match self.exchange(operation, digest, &Sender::Anonymous) {
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Sends a request once and waits for its reply.
    pub(crate) fn exchange(
        &self,
        operation: Operation,
        digest: Option<Digest>,
        sender: &Sender<'_>,
    ) -> Result<ServerReply, QueryError> {
        // Each request has another number, and so another signature: the server counts no signed request twice.
        let thread = u64::from(getrandom::u32()?) % 60_000 + 1024;
        let request = request_text(operation, digest, sender, thread, self.clock.now().wall);
        let sent_at = self.clock.tick();
        self.socket.send(request.as_bytes()).map_err(|error| self.failed(error))?;
        loop {
            let left = REPLY_TIMEOUT.saturating_sub(self.clock.tick().since(sent_at));
            if left.is_zero() {
                return Err(QueryError::Timeout { address: self.address });
            }
            let text = self.receive(left).map_err(|error| self.failed(error))?;
            let reply = ServerReply { text, took: self.clock.tick().since(sent_at) };
            // A late reply to an earlier request has another number.
            if reply.number("Thread") == Some(thread) {
                return Ok(reply);
            }
        }
    }

    fn receive(&self, timeout: Duration) -> io::Result<Vec<u8>> {
        self.socket.set_read_timeout(Some(timeout))?;
        let mut buffer = vec![0; MAX_REPLY];
        let length = self.socket.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    fn failed(&self, error: io::Error) -> QueryError {
        let address = self.address;
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => QueryError::Timeout { address },
            _ => QueryError::Io { address, error },
        }
    }
}

/// Returns a request as Python's client writes it.
fn request_text(
    operation: Operation,
    digest: Option<Digest>,
    sender: &Sender<'_>,
    thread: u64,
    now: UnixTime,
) -> String {
    let digest = digest.map_or_else(String::new, |digest| format!("Op-Digest: {digest}\n"));
    let mut text = format!("Op: {operation}\n{digest}Thread: {thread}\nPV: 2.1\n");
    match sender {
        Sender::Anonymous => text += "User: anonymous\n",
        Sender::Account(user, key) => {
            text += &format!("User: {user}\nTime: {}\n", now.seconds());
            let signature = key.sign(HeaderBlock::new(text.as_bytes()), now.seconds());
            text += &format!("Sig: {}\n", signature.escape_ascii());
        }
    }
    text + "\n"
}

/// The server's reply. It is displayed as its code and the words for it.
pub(crate) struct ServerReply {
    text: Vec<u8>,
    /// The time between the request and the reply.
    pub(crate) took: Duration,
}

impl ServerReply {
    fn field(&self, name: &str) -> Option<&[u8]> {
        HeaderBlock::new(&self.text).iter().find(|header| header.is(name)).map(|header| header.value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.field(name)?).ok()?.trim().parse().ok()
    }

    /// Returns whether the server did what was asked for.
    pub(crate) fn is_ok(&self) -> bool {
        self.number("Code") == Some(200)
    }

    /// Returns the record in the reply to an info; `None` in any other reply.
    pub(crate) fn record(&self) -> Option<Record> {
        let date = |name: &str| match self.number(name)? {
            0 => Some(None),
            seconds => Some(Some(UnixTime::from_seconds(i64::try_from(seconds).ok()?))),
        };
        let tally = |[count, entered, updated]: [&str; 3]| {
            Some(Tally { count: self.number(count)?, entered: date(entered)?, updated: date(updated)? })
        };
        let reports = tally(["Count", "Entered", "Updated"])?;
        Some(Record { reports, whitelists: tally(["WL-Count", "WL-Entered", "WL-Updated"])? })
    }
}

impl fmt::Display for ServerReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.field("Code"), self.field("Diag")) {
            (Some(code), Some(diag)) => write!(f, "{} {}", code.escape_ascii(), diag.escape_ascii()),
            (Some(code), None) => write!(f, "{}", code.escape_ascii()),
            (None, _) => f.write_str("(a reply without a code)"),
        }
    }
}
