//! A connected socket that sends and receives many datagrams in one system call: the generator must cost much less
//! than the server that it loads.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// How many datagrams go into one system call.
pub(crate) const BATCH: usize = 64;
/// Room for the longest reply to a request of ours.
const REPLY: usize = 2048;
/// Room for the replies to some 10,000 requests, in bytes.
const RECEIVE_BUFFER: usize = 8 << 20;

/// A socket that sends to a server, and receives from nobody else.
pub(crate) fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    // A smaller buffer works as well; what it loses is counted as lost.
    let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
        .or_else(|_| set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER));
    Ok(socket)
}

pub(crate) struct Wire {
    socket: UdpSocket,
    buffers: Box<[[u8; REPLY]]>,
    headers: MultiHeaders<()>,
}

impl Wire {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        let buffers = vec![[0; REPLY]; BATCH].into_boxed_slice();
        Self { socket, buffers, headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Sends up to [`BATCH`] requests, and waits for room where there is none. Returns how many the network refused: they
    /// are lost, as a timeout will tell.
    pub(crate) fn send(&self, requests: &[Vec<u8>]) -> io::Result<u64> {
        let mut refused = 0;
        let slices: [_; BATCH] =
            std::array::from_fn(|index| [IoSlice::new(requests.get(index).map_or(&[], Vec::as_slice))]);
        let mut controls: [_; BATCH] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut slices = slices.iter();
        let mut messages = controls
            .each_mut()
            .map(|control| MMsgHdr::new(slices.next().map_or(&[][..], |slice| slice), control));
        let mut rest = messages.get_mut(..requests.len()).unwrap_or_default();
        while !rest.is_empty() {
            let sent = match sendmmsg(&self.socket, rest, SendFlags::empty()) {
                Ok(sent) => sent,
                Err(Errno::INTR) => 0,
                // The answer to an earlier datagram: nobody listened, or a firewall forbids it. This one was not sent.
                Err(
                    Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::PERM | Errno::NOBUFS,
                ) => {
                    refused += 1;
                    1
                }
                Err(error) => return Err(error.into()),
            };
            rest = rest.get_mut(sent..).unwrap_or_default();
        }
        Ok(refused)
    }

    /// Hands over the replies that are there, and says how many there were.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut buffers = self.buffers.iter_mut();
        let mut slices: [_; BATCH] = std::array::from_fn(|_| {
            [IoSliceMut::new(buffers.next().map_or(&mut [][..], |buffer| &mut buffer[..]))]
        });
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(self.socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None) {
            Ok(messages) => {
                Ok(messages.map(|message| each(message.iovs().next().unwrap_or_default())).count())
            }
            // An error message for an earlier request: that one will time out.
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ECONNREFUSED) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until there is something to receive, for so many nanoseconds at most.
    pub(crate) fn wait(&self, nanos: u64) -> io::Result<()> {
        let part = |nanos: u64| i64::try_from(nanos).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: part(nanos / 1_000_000_000), tv_nsec: part(nanos % 1_000_000_000) };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
