//! The sockets of one worker, one for each address of the server.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::ptr;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::datagrams::{Arrival, Inbox, Outbox, Path, ReceiveMode, Sent};

/// The longest wait of an idle worker. It then shows that it gets on, and looks at the stop flag in case nothing could
/// wake it.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// The sockets of a worker, each with an inbox: what the system tells with a datagram is different for each socket. The
/// worker waits for a datagram of one socket in the call that receives it, and for one of several in a poll before.
pub(crate) struct WorkerSockets<'a> {
    first: &'a UdpSocket,
    inbox: Inbox,
    others: Vec<(&'a UdpSocket, Inbox)>,
    /// All of them, if there are several.
    polled: Vec<PollFd<'a>>,
    /// The socket whose turn it is.
    turn: usize,
}

impl<'a> WorkerSockets<'a> {
    /// Returns the sockets of a place, with empty inboxes.
    pub(crate) fn new(place: &Place<'a>) -> Self {
        let polled = if place.others.is_empty() { Vec::new() } else { place.iter().map(poll_fd).collect() };
        let others = place.others.iter().map(|socket| (*socket, Inbox::new())).collect();
        Self { first: place.first, inbox: Inbox::new(), others, polled, turn: 0 }
    }

    /// Receives the datagrams of one socket. Of several sockets with datagrams each has its turn.
    ///
    /// # Errors
    /// When there is none, in time if it waits, or the system refuses the call.
    pub(crate) fn receive(&mut self, mode: ReceiveMode, each: impl FnMut(Arrival, &[u8])) -> io::Result<()> {
        if self.others.is_empty() {
            return self.inbox.receive(self.first, mode, each);
        }
        let Some((socket, inbox)) = self.ready(mode)? else { return Err(io::ErrorKind::WouldBlock.into()) };
        inbox.receive(socket, ReceiveMode::NonBlocking, each)
    }

    /// Returns the socket whose turn it is, and its inbox; `None` if no socket has a datagram in time.
    fn ready(&mut self, mode: ReceiveMode) -> io::Result<Option<(&'a UdpSocket, &mut Inbox)>> {
        let wait = match mode {
            ReceiveMode::WaitForFirst => PollTimeout::try_from(IDLE).map_err(io::Error::other)?,
            ReceiveMode::NonBlocking => PollTimeout::ZERO,
        };
        poll(&mut self.polled, wait)?;
        let count = self.polled.len();
        let ready = |index: &usize| self.polled.get(*index).is_some_and(|socket| socket.any() != Some(false));
        let index = (0..count).map(|step| (self.turn + step) % count).find(ready);
        let Some(index) = index else { return Ok(None) };
        self.turn = index + 1;
        let Some(other) = index.checked_sub(1) else { return Ok(Some((self.first, &mut self.inbox))) };
        Ok(self.others.get_mut(other).map(|(socket, inbox)| (*socket, inbox)))
    }
}

/// Where a worker serves: its sockets, one for each address of the server.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) first: &'a UdpSocket,
    pub(crate) others: Vec<&'a UdpSocket>,
    /// What the worker sends its replies from.
    pub(crate) senders: Senders<'a>,
}

impl<'a> Place<'a> {
    /// Iterates over the sockets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a UdpSocket> {
        [self.first].into_iter().chain(self.others.iter().copied())
    }

    /// Returns whether two workers share all their sockets.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.others.len() == other.others.len()
            && self.iter().zip(other.iter()).all(|(one, two)| ptr::eq(one, two))
    }
}

/// Returns what a poll for datagrams takes.
pub(crate) fn poll_fd(socket: &UdpSocket) -> PollFd<'_> {
    PollFd::new(socket.as_fd(), PollFlags::POLLIN)
}

/// The sockets that replies leave from: one for each family of addresses. If the server has several addresses, each reply
/// names the one that it leaves from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Senders<'a> {
    pub(crate) first: &'a UdpSocket,
    /// Whether the first socket is of IPv4.
    pub(crate) first_is_v4: bool,
    /// For the other family, if the server has addresses of both.
    pub(crate) other: Option<&'a UdpSocket>,
}

impl Senders<'_> {
    /// Sends replies, each through a socket of its client's family.
    pub(crate) fn send<'r, I: Iterator<Item = (Path, &'r [u8])>>(
        self,
        outbox: &mut Outbox,
        replies: impl Fn() -> I,
        mut sent: impl FnMut(Sent),
    ) {
        let Some(other) = self.other else { return sent(outbox.send(self.first, replies())) };
        for (socket, is_v4) in [(self.first, self.first_is_v4), (other, !self.first_is_v4)] {
            let of_family = replies().filter(|(path, _)| path.peer.is_ipv4() == is_v4);
            sent(outbox.send(socket, of_family));
        }
    }
}
