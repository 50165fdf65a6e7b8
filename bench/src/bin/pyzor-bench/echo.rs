//! The least that a server of datagrams can do: the yardstick.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

const BATCH: usize = 64;
/// Bytes of a reply: as many as the reply to a pong has. The thread of a ping is among its first bytes, so replies find
/// their requests.
const REPLY: usize =
    b"Code: 200\nDiag: OK\nPV: 2.1\nThread: 12345\nCount: 9223372036854775807\nWL-Count: 0\n\n".len();
const REQUEST: usize = 8193;

/// Says where it listens, and answers until it is killed.
pub(crate) fn run() -> io::Result<()> {
    let socket = bind()?;
    writeln!(io::stdout(), "{}", socket.local_addr()?)?;
    let mut buffers = vec![[0; REQUEST]; BATCH];
    let mut received = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut replies = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    loop {
        let mut peers = [None; BATCH];
        let mut lengths = [0; BATCH];
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let messages = recvmmsg(socket.as_raw_fd(), &mut received, &mut slices, flags, None)?;
        let mut count = 0;
        for ((message, peer), length) in messages.zip(&mut peers).zip(&mut lengths) {
            (*peer, *length) = (message.address, message.bytes.min(REPLY));
            count += 1;
        }
        let replies_of = buffers.iter().zip(&lengths).take(count);
        let slices: Vec<_> = replies_of
            .map(|(buffer, length)| [IoSlice::new(buffer.get(..*length).unwrap_or_default())])
            .collect();
        let peers = peers.get(..count).unwrap_or_default();
        // What cannot be sent is lost, as in any network.
        let _ = sendmmsg(socket.as_raw_fd(), &mut replies, &slices, peers, [], MsgFlags::empty());
    }
}

/// A socket with as much room as the server's.
fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20);
    Ok(socket)
}
