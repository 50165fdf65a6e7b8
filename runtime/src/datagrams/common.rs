//! The parts that all implementations share.

use std::net::SocketAddr;

use nix::errno::Errno;
use nix::sys::socket::SockaddrStorage;
use pyzord_core::UnixTime;

use super::path::Path;

/// The most datagrams that are received or sent in one call.
pub(super) const BATCH: usize = 64;

/// One byte more than the largest request, so that a longer one is recognized.
pub(super) type Buffer = [u8; pyzord_core::MAX_REQUEST + 1];

/// Whether a receive waits when no datagram is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ReceiveMode {
    /// Waits for the first datagram, until the socket's time-out; never for a second one.
    WaitForFirst,
    /// Never waits.
    NonBlocking,
}

/// Where a datagram came from, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arrival {
    pub(crate) path: Path,
    /// When the system received it; `None` if the system does not tell it.
    pub(crate) at: Option<UnixTime>,
}

/// How many replies of a batch the system accepted and refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) accepted: u64,
    /// No room in the send buffer or in a queue of the system: dropped, since a wait would keep other clients waiting.
    pub(crate) no_room: u64,
    /// Any other error.
    pub(crate) failed: u64,
}

impl Sent {
    /// Counts a reply that the system refused.
    pub(super) fn refused(&mut self, error: Errno) {
        if matches!(error, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) {
            self.no_room += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// Returns the address of a peer; `None` if it is of no IP socket.
pub(super) fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}
