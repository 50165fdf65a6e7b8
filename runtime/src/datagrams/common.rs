//! The parts that all implementations share.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::SockaddrStorage;

/// How long replies wait for room in a full send buffer, in milliseconds.
const SEND_TIMEOUT: u8 = 100;

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

/// How many replies of a batch the system accepted and refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) accepted: u64,
    pub(crate) failed: u64,
}

/// Waits until the socket accepts more, if the socket itself does not wait. `false` after the time-out: the replies are
/// given up then, as a network does.
pub(super) fn wait_for_room(socket: &UdpSocket) -> bool {
    let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut sockets, SEND_TIMEOUT), Ok(1..))
}

/// Returns the address of a peer; `None` if it is of no IP socket.
pub(super) fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}
