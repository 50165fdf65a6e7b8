//! A connected socket that sends and receives many datagrams in one system call: the generator must use much less CPU
//! than the server that it loads.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// The most datagrams in one system call.
pub(crate) const BATCH: usize = 64;
/// Bytes of a receive buffer: the longest reply to a request of this generator fits.
const REPLY: usize = 2048;
/// Bytes of the kernel's receive buffer: some 10,000 replies fit.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Opens a socket that is connected to the server, and so receives from it alone.
pub(crate) fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    // A smaller buffer works too; replies that it drops are counted as lost.
    let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
        .or_else(|_| set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER));
    Ok(socket)
}

pub(crate) struct BatchSocket {
    socket: UdpSocket,
    buffers: Box<[[u8; REPLY]; BATCH]>,
    headers: MultiHeaders<()>,
}

impl BatchSocket {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            buffers: Box::new([[0; REPLY]; BATCH]),
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Sends at most [`BATCH`] requests, and blocks while the send buffer is full. Returns how many the network
    /// refused: they time out and are then counted as lost.
    #[expect(
        clippy::indexing_slicing,
        reason = "`rest` has at least as many messages as the kernel sent of it"
    )]
    pub(crate) fn send(&self, requests: &[Vec<u8>]) -> io::Result<u64> {
        assert!(requests.len() <= BATCH, "{} requests are more than a batch", requests.len());
        let mut refused = 0;
        let slices: [_; BATCH] =
            std::array::from_fn(|index| [IoSlice::new(requests.get(index).map_or(&[], Vec::as_slice))]);
        let mut controls: [_; BATCH] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut slices = slices.iter();
        let mut messages = controls
            .each_mut()
            .map(|control| MMsgHdr::new(slices.next().map_or(&[][..], |slice| slice), control));
        let mut rest = &mut messages[..requests.len()];
        while !rest.is_empty() {
            let sent = match sendmmsg(&self.socket, rest, SendFlags::empty()) {
                Ok(sent) => sent,
                Err(Errno::INTR) => 0,
                // An ICMP error for an earlier datagram (no listener, a firewall). The first of `rest` was not sent.
                Err(
                    Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::PERM | Errno::NOBUFS,
                ) => {
                    refused += 1;
                    1
                }
                Err(error) => return Err(error.into()),
            };
            rest = &mut rest[sent..];
        }
        Ok(refused)
    }

    /// Passes the replies that have arrived to `each`; returns their number.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(self.socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None) {
            Ok(messages) => {
                // An empty datagram has no slice.
                Ok(messages.map(|message| each(message.iovs().next().unwrap_or_default())).count())
            }
            // ECONNREFUSED is about an earlier request, which will time out.
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ECONNREFUSED) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a datagram, at most this many nanoseconds.
    pub(crate) fn wait(&self, nanos: u64) -> io::Result<()> {
        let part = |nanos: u64| i64::try_from(nanos).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: part(nanos / 1_000_000_000), tv_nsec: part(nanos % 1_000_000_000) };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
