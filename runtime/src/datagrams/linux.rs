//! One system call receives up to 64 datagrams, one sends their replies.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use arrayvec::ArrayVec;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use super::{BATCH, Buffer, Sent, Wait, room_to_send};

/// Buffers to receive into.
pub(crate) struct Inbox {
    buffers: Box<[Buffer]>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; size_of::<Buffer>()]; BATCH].into_boxed_slice(),
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Receives what is there, and hands over each datagram and who sent it.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        wait: Wait,
        mut each: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<()> {
        let flags = match wait {
            Wait::ForOne => MsgFlags::MSG_WAITFORONE,
            Wait::No => MsgFlags::MSG_DONTWAIT,
        };
        let mut buffers = self.buffers.iter_mut();
        let mut slices: [_; BATCH] = std::array::from_fn(|_| {
            [IoSliceMut::new(buffers.next().map_or(&mut [][..], |buffer| &mut buffer[..]))]
        });
        let messages = recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None)?;
        for message in messages {
            if let Some(peer) = message.address.as_ref().and_then(to_std) {
                each(peer, message.iovs().next().unwrap_or_default());
            }
        }
        Ok(())
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

/// Sends the replies. One that cannot be sent is given up; the others are sent all the same.
pub(crate) fn send<'a>(
    socket: &UdpSocket,
    mut replies: impl Iterator<Item = (SocketAddr, &'a [u8])>,
) -> Sent {
    let mut sent = Sent::default();
    loop {
        let some = replies.by_ref().take(BATCH);
        let messages: Messages<'_> =
            some.map(|(peer, reply)| (peer.as_any(), [IoSlice::new(reply)])).collect();
        send_together(socket, &messages, &mut sent);
        if messages.len() < BATCH {
            return sent;
        }
    }
}

/// On the stack, and no more of it is touched than there are replies.
type Messages<'a> = ArrayVec<(SocketAddrAny, [IoSlice<'a>; 1]), BATCH>;

fn send_together(socket: &UdpSocket, messages: &Messages<'_>, sent: &mut Sent) {
    let mut controls: ArrayVec<_, BATCH> = messages.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: ArrayVec<_, BATCH> = messages
        .iter()
        .zip(&mut controls)
        .map(|((peer, reply), control)| MMsgHdr::new_with_addr(peer, reply, control))
        .collect();
    let mut rest = headers.as_mut_slice();
    while !rest.is_empty() {
        let accepted = match sendmmsg(socket, rest, SendFlags::empty()) {
            Ok(accepted) => accepted,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) if room_to_send(socket) => continue,
            // The first one's own error: a network that is gone, a firewall that forbids it.
            Err(_) => {
                sent.failed += 1;
                rest = rest.get_mut(1..).unwrap_or_default();
                continue;
            }
        };
        sent.accepted += accepted as u64;
        rest = rest.get_mut(accepted..).unwrap_or_default();
    }
}
