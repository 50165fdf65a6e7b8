//! The running server, asked over the network as any client asks it.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use crate::settings::Settings;
use pyzord_core::{Digest, HashedKey, HeaderBlock, Operation, Record, Tally, UnixTime};
use pyzord_runtime::Clock;

/// How long one answer may take: twice what the server lets a database take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a question is sent that may be asked twice: datagrams get lost.
const TRIES: u32 = 3;
/// More than the longest reply.
const LONGEST: usize = 8192;

/// A socket for one server.
pub(crate) struct Server {
    socket: UdpSocket,
    pub(crate) address: SocketAddr,
    clock: Clock,
}

/// In whose name a request is sent.
pub(crate) enum Sender<'a> {
    Anonymous,
    Account(&'a str, &'a HashedKey),
}

/// What the server answered.
pub(crate) struct Reply {
    text: Vec<u8>,
    pub(crate) took: Duration,
}

impl Server {
    /// A server on every address is asked on this machine's own.
    pub(crate) fn of(settings: &Settings, clock: Clock) -> Result<Self, String> {
        let (name, port) = (settings.address.as_str(), settings.port);
        let name = if name.is_empty() { "0.0.0.0" } else { name };
        let failed = |error: io::Error| format!("server {name} port {port}: {error}");
        if port == 0 {
            return Err("Port: 0 has the system choose one; give it with --port".to_owned());
        }
        let found = (name, port).to_socket_addrs().map_err(failed)?.next();
        let mut address = found.ok_or_else(|| format!("server {name}: the name has no address"))?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        if address.ip().is_unspecified() {
            let loopback = |v4| if v4 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback(address.is_ipv4()));
        }
        let socket = UdpSocket::bind(any).map_err(failed)?;
        socket.connect(address).map_err(failed)?;
        Ok(Self { socket, address, clock })
    }

    /// Asks something that counts nothing, again when there is no answer.
    pub(crate) fn ask(&self, operation: Operation, digest: Option<Digest>) -> Result<Reply, String> {
        let mut failure = String::new();
        for _ in 0..TRIES {
            match self.exchange(operation, digest, &Sender::Anonymous) {
                Ok(reply) => return Ok(reply),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Sends one request and waits for its reply.
    pub(crate) fn exchange(
        &self,
        operation: Operation,
        digest: Option<Digest>,
        sender: &Sender<'_>,
    ) -> Result<Reply, String> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("server {}: no answer within {} s", self.address, PATIENCE.as_secs())
            }
            _ => format!("server {}: {error}", self.address),
        };
        // Another one each time, and so another signature: the server counts no signed request twice.
        let thread = RandomState::new().hash_one(0) % 60_000 + 1024;
        let request = request(operation, digest, sender, thread, self.clock.now().wall);
        let began = self.clock.tick();
        self.socket.send(&request).map_err(failed)?;
        let mut buffer = [0; LONGEST];
        loop {
            let left = PATIENCE.saturating_sub(self.clock.tick().since(began));
            if left.is_zero() {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            self.socket.set_read_timeout(Some(left)).map_err(failed)?;
            let length = self.socket.recv(&mut buffer).map_err(failed)?;
            let text = buffer.get(..length).unwrap_or_default().to_vec();
            let reply = Reply { text, took: self.clock.tick().since(began) };
            // A late answer to an earlier request is not this one's.
            if reply.number("Thread") == Some(thread) {
                return Ok(reply);
            }
        }
    }
}

/// A request as Python's client writes it.
fn request(
    operation: Operation,
    digest: Option<Digest>,
    sender: &Sender<'_>,
    thread: u64,
    now: UnixTime,
) -> Vec<u8> {
    let digest = digest.map_or_else(String::new, |digest| format!("Op-Digest: {digest}\n"));
    let mut text = format!("Op: {operation}\n{digest}Thread: {thread}\nPV: 2.1\n");
    match sender {
        Sender::Anonymous => text += "User: anonymous\n",
        Sender::Account(user, key) => {
            text += &format!("User: {user}\nTime: {}\n", now.seconds());
            let signature = key.sign(HeaderBlock::new(text.as_bytes()), now.seconds());
            text += &format!("Sig: {}\n", String::from_utf8_lossy(&signature));
        }
    }
    text += "\n";
    text.into_bytes()
}

impl Reply {
    fn field(&self, name: &str) -> Option<&[u8]> {
        HeaderBlock::new(&self.text).iter().find(|header| header.is(name)).map(|header| header.value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.field(name)?).ok()?.trim().parse().ok()
    }

    /// Whether the request was granted.
    pub(crate) fn is_ok(&self) -> bool {
        self.number("Code") == Some(200)
    }

    /// The record in the reply to an info.
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

/// Code and words.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [code, diag] = ["Code", "Diag"].map(|name| self.field(name).unwrap_or_default());
        write!(f, "{} {}", code.escape_ascii(), diag.escape_ascii())
    }
}
