//! The same with what every system has: one call a datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::net::{RecvFlags, recvfrom};

use super::{BATCH, Buffer, Sent, Wait, room_to_send};

/// A buffer to receive into.
pub(crate) struct Inbox {
    buffer: Box<Buffer>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { buffer: Box::new([0; size_of::<Buffer>()]) }
    }

    /// Receives what is there, and hands over each datagram and who sent it.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        wait: Wait,
        mut each: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<()> {
        let mut received = 0;
        if wait == Wait::ForOne {
            let (length, peer) = socket.recv_from(&mut self.buffer[..])?;
            each(peer, self.buffer.get(..length).unwrap_or_default());
            received += 1;
        }
        while received < BATCH {
            match recvfrom(socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _, peer)) => {
                    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                        each(peer, self.buffer.get(..length).unwrap_or_default());
                    }
                    received += 1;
                }
                Err(error) if received == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Sends the replies. One that cannot be sent is given up; the others are sent all the same.
pub(crate) fn send<'a>(socket: &UdpSocket, replies: impl Iterator<Item = (SocketAddr, &'a [u8])>) -> Sent {
    let mut sent = Sent::default();
    for (peer, reply) in replies {
        let mut outcome = socket.send_to(reply, peer);
        while outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            && room_to_send(socket)
        {
            outcome = socket.send_to(reply, peer);
        }
        match outcome {
            Ok(_) => sent.accepted += 1,
            Err(_) => sent.failed += 1,
        }
    }
    sent
}
