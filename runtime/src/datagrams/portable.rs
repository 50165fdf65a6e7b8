//! The same with what every system has: one call a datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::{BATCH, Buffer, Sent, Wait};

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
            self.receive_one(socket, &mut each)?;
            received += 1;
        }
        // Other workers may read the same socket: what one of them finds in between, another does not wait for.
        socket.set_nonblocking(true)?;
        let mut result = Ok(());
        while result.is_ok() && received < BATCH {
            result = self.receive_one(socket, &mut each);
            received += usize::from(result.is_ok());
        }
        socket.set_nonblocking(false)?;
        if received > 0 { Ok(()) } else { result }
    }

    fn receive_one(
        &mut self,
        socket: &UdpSocket,
        each: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<()> {
        let (length, peer) = socket.recv_from(&mut self.buffer[..])?;
        each(peer, self.buffer.get(..length).unwrap_or_default());
        Ok(())
    }
}

/// Sends the replies. One that cannot be sent is given up; the others are sent all the same.
pub(crate) fn send<'a>(socket: &UdpSocket, replies: impl Iterator<Item = (SocketAddr, &'a [u8])>) -> Sent {
    let mut sent = Sent::default();
    for (peer, reply) in replies {
        match socket.send_to(reply, peer) {
            Ok(_) => sent.accepted += 1,
            Err(_) => sent.failed += 1,
        }
    }
    sent
}
