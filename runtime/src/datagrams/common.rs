//! The parts that all implementations share.

use std::net::UdpSocket;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long replies wait for room in a full send buffer.
const SEND_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The most datagrams that are received or sent in one call.
pub(super) const BATCH: usize = 64;

/// One byte more than the largest request, so that a longer one is recognized.
pub(super) type Buffer = [u8; pyzord_core::MAX_REQUEST + 1];

/// Whether a receive waits when no datagram is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReceiveMode {
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
    let mut sockets = [PollFd::new(socket, PollFlags::OUT)];
    matches!(poll(&mut sockets, Some(&SEND_TIMEOUT)), Ok(1..))
}
