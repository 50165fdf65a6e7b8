//! An echo server: the lower bound of the cost of a datagram server.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::thread;

use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, recvmmsg,
    sendmmsg, setsockopt, socket, sockopt,
};

const BATCH: usize = 64;
/// Bytes of a reply: the length of a reply to pong. A ping has its `Thread` within these bytes, so that replies match
/// their requests.
const REPLY: usize =
    b"Code: 200\nDiag: OK\nPV: 2.1\nThread: 12345\nCount: 9223372036854775807\nWL-Count: 0\n\n".len();
const REQUEST: usize = 8193;

/// The threads and sockets of the echo.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct EchoOptions {
    /// Number of threads
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// Use a socket per thread, with `SO_REUSEPORT`, instead of one for all
    #[arg(long)]
    pub(crate) own_sockets: bool,
}

/// Prints its address, and answers until it is killed.
pub(crate) fn run(options: EchoOptions) -> io::Result<()> {
    let first = UdpSocket::bind("127.0.0.1:0")?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..options.workers {
        sockets.push(match sockets.first() {
            Some(first) if options.own_sockets => share(first)?,
            Some(first) => first.try_clone()?,
            None => break,
        });
    }
    sockets.iter().for_each(enlarge);
    writeln!(io::stdout(), "{address}")?;
    thread::scope(|scope| {
        let threads: Vec<_> = sockets.iter().map(|socket| scope.spawn(|| answer(socket))).collect();
        let mut ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.try_for_each(|end| end.unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
    })
}

#[expect(clippy::indexing_slicing, reason = "`length` is at most REPLY, and `count` at most BATCH")]
fn answer(socket: &UdpSocket) -> io::Result<()> {
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
        let slices: Vec<_> = replies_of.map(|(buffer, length)| [IoSlice::new(&buffer[..*length])]).collect();
        // A reply that cannot be sent is lost, as in any network.
        let _ = sendmmsg(socket.as_raw_fd(), &mut replies, &slices, &peers[..count], [], MsgFlags::empty());
    }
}

/// Opens another socket on the address of `first`. The kernel distributes the senders over the sockets by a hash.
fn share(first: &UdpSocket) -> io::Result<UdpSocket> {
    setsockopt(first, sockopt::ReusePort, &true)?;
    let other = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&other, sockopt::ReusePort, &true)?;
    bind(other.as_raw_fd(), &SockaddrStorage::from(first.local_addr()?))?;
    Ok(other.into())
}

/// Enlarges the receive buffer to that of the server.
fn enlarge(socket: &UdpSocket) {
    // A smaller buffer works too; datagrams that it drops are counted as lost.
    let _ = setsockopt(socket, sockopt::RcvBufForce, &(8 << 20));
}
