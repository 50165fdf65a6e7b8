//! The calls that every system has: one for each datagram. They do not tell which local address was asked.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg, sendto};

use super::common::{Arrival, BATCH, Buffer, ReceiveMode, Sent, to_std};
use super::lanes::Lanes;
use super::path::Path;

/// Does nothing: no portable call tells local addresses.
#[cfg(not(target_os = "linux"))]
pub(crate) fn request_local_addresses(_: &impl std::os::fd::AsFd, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

/// Does nothing: not every system tells when it received a datagram.
#[cfg(not(target_os = "linux"))]
pub(crate) fn request_times(_: &impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(())
}

/// A buffer to receive into.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: Box<Buffer>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { buffer: Box::new([0; size_of::<Buffer>()]) }
    }

    /// Receives the datagrams that are there, and hands over each of them with its path.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mode: ReceiveMode,
        mut each: impl FnMut(Arrival, &[u8]),
    ) -> io::Result<()> {
        for received in 0..BATCH {
            let flags = if mode == ReceiveMode::WaitForFirst && received == 0 {
                MsgFlags::empty()
            } else {
                MsgFlags::MSG_DONTWAIT
            };
            let mut slices = [IoSliceMut::new(&mut self.buffer[..])];
            match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, None, flags) {
                Ok(message) => {
                    let Some(peer) = message.address.as_ref().and_then(to_std) else {
                        debug_assert!(false, "a UDP socket gave a datagram without its sender's address");
                        log::error!("received a datagram without its sender's address: it gets no reply");
                        continue;
                    };
                    // No slice: the datagram is empty.
                    let arrival = Arrival { path: Path { peer, local: None }, at: None };
                    each(arrival, message.iovs().next().unwrap_or_default());
                }
                Err(error) if received == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Sends replies; without state of its own.
#[derive(Debug)]
pub(crate) struct Outbox;

impl Outbox {
    pub(crate) fn new(_: Lanes) -> Self {
        Self
    }

    /// Sends the replies. A reply that cannot be sent is given up; the others are sent all the same.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        replies: impl Iterator<Item = (Path, &'a [u8])>,
    ) -> Sent {
        let mut sent = Sent::default();
        for (path, reply) in replies {
            debug_assert!(path.local.is_none(), "the local address of a reply cannot be chosen here");
            match send_one(socket, path.peer, reply) {
                Ok(()) => sent.accepted += 1,
                Err(error) => sent.refused(error),
            }
        }
        sent
    }
}

fn send_one(socket: &UdpSocket, peer: SocketAddr, reply: &[u8]) -> nix::Result<()> {
    let peer = SockaddrStorage::from(peer);
    loop {
        match sendto(socket.as_raw_fd(), reply, &peer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EINTR) => (),
            sent => return sent.map(drop),
        }
    }
}
