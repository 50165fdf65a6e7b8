//! Another server, asked as the client that the server forwards as.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use pyzord_core::client::{Message, Remote, Reply, Thread};
use pyzord_core::{Digest, MAX_REQUEST, Operation};
use pyzord_runtime::Clock;
use thiserror::Error;

use super::filters::Counts;

/// How often a request that counts nothing is sent, as datagrams can get lost.
const ATTEMPTS: u32 = 2;

/// A server that answers.
pub(super) struct Peer<'a> {
    remote: &'a Remote,
    socket: UdpSocket,
    timeout: Duration,
    clock: Clock,
}

/// Why another server has not done what it was asked for.
#[derive(Debug, Error)]
pub(super) enum PeerError {
    #[error("its name has no address")]
    NoAddress,
    #[error("{}", refused(.0))]
    Io(#[from] io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// As a time-out, of a request that must not be sent again.
    #[error("no answer within {} s; this whitelisting may be counted or not", .0.as_secs())]
    Doubtful(Duration),
    /// It answers with another code than 200; the words are escaped.
    #[error("{code} {diag}")]
    Refused { code: u16, diag: String },
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl<'a> Peer<'a> {
    /// Finds the first address of the server that answers a ping, with whatever code.
    pub(super) fn find(remote: &'a Remote, timeout: Duration, clock: Clock) -> Result<Self, PeerError> {
        let addresses = (&*remote.host, remote.port).to_socket_addrs().map_err(|_| PeerError::NoAddress)?;
        let mut last = PeerError::NoAddress;
        for address in addresses {
            match Self::connect(remote, address, timeout, clock) {
                Ok(peer) => match peer.ask(Operation::Ping, None) {
                    Ok(_) | Err(PeerError::Refused { .. }) => return Ok(peer),
                    Err(error) => last = error,
                },
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    fn connect(remote: &'a Remote, to: SocketAddr, timeout: Duration, clock: Clock) -> io::Result<Self> {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        Ok(Self { remote, socket, timeout, clock })
    }

    /// Returns the counts of a digest there.
    pub(super) fn check(&self, digest: Digest) -> Result<Counts, PeerError> {
        let counts = self.ask(Operation::Check, Some(digest))?;
        Ok(counts.unwrap_or_default())
    }

    /// Has the server count a whitelisting. Sent once: a request without a reply can be counted.
    pub(super) fn whitelist(&self, digest: Digest) -> Result<(), PeerError> {
        self.exchange(Operation::Whitelist, Some(digest)).map(drop).map_err(|error| match error {
            PeerError::Timeout(time) => PeerError::Doubtful(time),
            error => error,
        })
    }

    /// Sends a request that counts nothing, again if there is no reply.
    fn ask(&self, operation: Operation, digest: Option<Digest>) -> Result<Option<Counts>, PeerError> {
        let mut attempt = 1;
        loop {
            match self.exchange(operation, digest) {
                Err(PeerError::Timeout(_)) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn exchange(&self, operation: Operation, digest: Option<Digest>) -> Result<Option<Counts>, PeerError> {
        // Each request has another mark, and so another signature: no server counts a signed request twice.
        let thread = Thread::from_random(getrandom::u64()?);
        // Not marked as forwarded: a server that forwards shall pass it on.
        let message = Message { operation, digests: digest.as_slice(), thread, forwarded: None };
        let mut datagram = Vec::new();
        message.write(&self.remote.credentials, self.clock.now().wall, &mut datagram);
        let sent_at = self.clock.tick();
        self.socket.send(&datagram)?;
        let mut buffer = [0; MAX_REQUEST];
        loop {
            let left = self.timeout.saturating_sub(self.clock.tick().since(sent_at));
            if left.is_zero() {
                return Err(PeerError::Timeout(self.timeout));
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(PeerError::Timeout(self.timeout));
                }
                Err(error) => return Err(error.into()),
            };
            let Ok(reply) = Reply::parse(buffer.get(..length).unwrap_or_default()) else { continue };
            // A late reply to an earlier request has another mark.
            if reply.thread != thread {
                continue;
            }
            if !reply.is_ok() {
                let diag = reply.diag.get(..80).unwrap_or(reply.diag).escape_ascii().to_string();
                return Err(PeerError::Refused { code: reply.code, diag });
            }
            return Ok(reply.counts.map(|(reports, whitelistings)| Counts { reports, whitelistings }));
        }
    }
}

fn refused(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "no program listens on its port".to_owned(),
        _ => error.to_string(),
    }
}
