//! A connected socket that sends and receives many datagrams in one system call: the generator must use much less CPU
//! than the server that it loads.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

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
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER));
    Ok(socket)
}

pub(crate) struct BatchSocket {
    socket: UdpSocket,
    buffers: Box<[[u8; REPLY]; BATCH]>,
    requests: MultiHeaders<()>,
    replies: MultiHeaders<()>,
}

impl BatchSocket {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            buffers: Box::new([[0; REPLY]; BATCH]),
            requests: MultiHeaders::preallocate(BATCH, None),
            replies: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Sends at most [`BATCH`] requests, and blocks while the send buffer is full. Returns how many the network
    /// refused: they time out and are then counted as lost.
    pub(crate) fn send(&mut self, requests: &[Vec<u8>]) -> io::Result<u64> {
        assert!(requests.len() <= BATCH, "{} requests are more than a batch", requests.len());
        let slices: [_; BATCH] =
            std::array::from_fn(|index| [IoSlice::new(requests.get(index).map_or(&[], Vec::as_slice))]);
        let (mut done, mut refused) = (0, 0);
        while done < requests.len() {
            let rest = slices.iter().take(requests.len()).skip(done);
            // The socket is connected: no request has an address.
            let (to, flags) = ([None; BATCH], MsgFlags::empty());
            done += match sendmmsg(self.socket.as_raw_fd(), &mut self.requests, rest, to, [], flags) {
                Ok(sent) => sent.count(),
                Err(Errno::EINTR) => 0,
                // An ICMP error for an earlier datagram (no listener, a firewall). The first of the rest was not sent.
                Err(
                    Errno::ECONNREFUSED
                    | Errno::EHOSTUNREACH
                    | Errno::ENETUNREACH
                    | Errno::EPERM
                    | Errno::ENOBUFS,
                ) => {
                    refused += 1;
                    1
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(refused)
    }

    /// Passes the replies that have arrived to `each`; returns their number.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(self.socket.as_raw_fd(), &mut self.replies, &mut slices, flags, None) {
            Ok(messages) => {
                // An empty datagram has no slice.
                Ok(messages.map(|message| each(message.iovs().next().unwrap_or_default())).count())
            }
            // ECONNREFUSED is about an earlier request, which will time out.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a datagram, at most this many nanoseconds.
    pub(crate) fn wait(&self, nanos: u64) -> io::Result<()> {
        let timeout = TimeSpec::from(Duration::from_nanos(nanos));
        match ppoll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], Some(timeout), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
