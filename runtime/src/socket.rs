//! The UDP sockets of the server.

use std::fmt;
use std::io;
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket, sockopt,
};

use crate::datagrams::{Lanes, request_local_addresses, request_times};

/// The largest size that is requested for a receive or send buffer, in bytes: room for a burst of some 10,000 requests.
const LARGEST_BUFFER: usize = 8 << 20;
/// The smallest one. Linux doubles it, and a burst comes to many sockets if there are many.
const SMALLEST_BUFFER: usize = 512 << 10;
/// The number of spare sockets for replies.
const LANES: usize = 8;
/// A port that needs a privilege, and whose protocol (tcpmux) is not one of UDP.
const SILENT_PORT: u16 = 1;
/// What the buffers of all sockets share: the system's memory is not to grow with the number of workers.
const ALL_BUFFERS: usize = 32 << 20;

/// The server cannot listen on an address.
#[derive(Debug)]
pub struct BindError {
    address: String,
    port: u16,
    cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, cause } = self;
        write!(f, "cannot listen on {address} port {port}: {cause}")?;
        if cause.kind() == io::ErrorKind::AddrInUse {
            f.write_str(" (is another pyzord running?)")?;
        }
        Ok(())
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// The sockets that receive requests: one for each worker, all on the same port, or one for all workers.
///
/// With one for each worker, the system gives all datagrams of a sender's port to the same socket. Two workers on one
/// socket spend more CPU on a datagram, and receive smaller batches.
#[derive(Debug)]
pub struct Sockets {
    first: UdpSocket,
    others: Vec<UdpSocket>,
    lanes: Lanes,
    receive_buffer: usize,
}

impl Sockets {
    /// Listens on an address or host name. `::` serves IPv6 and IPv4, an empty address is `0.0.0.0`, and port 0 is a free
    /// port. On Linux, which divides datagrams among the sockets of one port, each worker gets a socket.
    ///
    /// # Errors
    /// When the name has no address, the address does not belong to this machine, or the port is in use. The port of
    /// another process is never shared, so a second server that is started by mistake fails here.
    pub fn bind(address: &str, port: u16, workers: usize) -> Result<Self, BindError> {
        open(address, port, workers).map_err(|cause| BindError { address: address.to_owned(), port, cause })
    }

    /// Takes over a bound socket, for all workers, and requests the same receive buffer as [`bind`](Self::bind).
    ///
    /// # Errors
    /// When the system refuses an option, or when it is no IP socket.
    pub fn adopt(socket: UdpSocket) -> io::Result<Self> {
        // A service manager passes it in either mode; workers wait in the receive.
        socket.set_nonblocking(false)?;
        request_local_addresses(&socket, socket.local_addr()?)?;
        request_times(&socket)?;
        enlarge(&socket, 1);
        Self::new(socket, Vec::new(), Lanes::default())
    }

    fn new(first: UdpSocket, others: Vec<UdpSocket>, lanes: Lanes) -> io::Result<Self> {
        let receive_buffer = getsockopt(&first, sockopt::RcvBuf)?;
        Ok(Self { first, others, lanes, receive_buffer })
    }

    /// Returns the address that all of them listen on.
    ///
    /// # Errors
    /// When the system does not tell it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.first.local_addr()
    }

    /// Returns the size of the receive buffer of each socket, in bytes. Linux counts its own overhead too.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Iterates over the sockets.
    pub fn iter(&self) -> impl Iterator<Item = &UdpSocket> + Clone {
        iter::once(&self.first).chain(&self.others)
    }

    /// Iterates over the sockets of the workers, without an end: more workers than sockets share them.
    pub(crate) fn for_workers(&self) -> impl Iterator<Item = &UdpSocket> {
        self.iter().cycle()
    }

    /// Returns the spare sockets for replies.
    pub(crate) fn lanes(&self) -> Lanes {
        self.lanes.clone()
    }

    /// Returns a socket to send from.
    pub(crate) fn first(&self) -> &UdpSocket {
        &self.first
    }
}

fn open(address: &str, port: u16, workers: usize) -> io::Result<Sockets> {
    let address = resolve(address, port)?;
    #[cfg(target_os = "linux")]
    if let Some(sockets) = open_with_lanes(address, workers)? {
        return Ok(sockets);
    }
    // Without SO_REUSEPORT, so that this fails when another process has the port.
    let first = create(address, workers)?;
    bind(first.as_raw_fd(), &SockaddrStorage::from(address))?;
    let others =
        if cfg!(target_os = "linux") { share(&first, workers.saturating_sub(1)) } else { Ok(Vec::new()) };
    // One for all serves, too.
    Sockets::new(first, others.unwrap_or_default(), Lanes::default())
}

/// Opens the sockets of the workers, and spare ones that send only: each is connected, to a port that sends nothing, so
/// the system gives it no request. `None` if the system has no way to that port, as without a loopback interface.
///
/// The spare ones are bound first, since the system looks for a socket among the latest first. They do not belong to the
/// group of `SO_REUSEPORT`, in which they would take a share of the requests: to share the port, all have `SO_REUSEADDR`
/// until the last one is bound.
#[cfg(target_os = "linux")]
fn open_with_lanes(address: SocketAddr, workers: usize) -> io::Result<Option<Sockets>> {
    let probe = create(address, LANES)?;
    // Without any option, so that this fails when another process has the port.
    bind(probe.as_raw_fd(), &SockaddrStorage::from(address))?;
    let address = probe.local_addr()?;
    let mut silent = address;
    silent.set_port(SILENT_PORT);
    if address.ip().is_unspecified() {
        silent.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let lane = || {
        let socket = create(address, LANES)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(socket)
    };
    setsockopt(&probe, sockopt::ReuseAddr, &true)?;
    let more = (1..LANES).map(|_| lane()).collect::<io::Result<Vec<_>>>()?;
    let lanes: Vec<_> = iter::once(probe).chain(more).collect();
    if lanes.iter().any(|socket| socket.connect(silent).is_err()) {
        return Ok(None);
    }
    let first = create(address, workers)?;
    setsockopt(&first, sockopt::ReuseAddr, &true)?;
    bind(first.as_raw_fd(), &SockaddrStorage::from(address))?;
    // One for all serves, too.
    let others = share(&first, workers.saturating_sub(1)).unwrap_or_default();
    for socket in lanes.iter().chain([&first]).chain(&others) {
        setsockopt(socket, sockopt::ReuseAddr, &false)?;
    }
    let lanes = Lanes::new(lanes, address.ip().is_unspecified());
    Sockets::new(first, others, lanes).map(Some)
}

/// Creates one of `sockets` sockets with the options for an address, and leaves it unbound.
fn create(address: SocketAddr, sockets: usize) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = UdpSocket::from(socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?);
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    }
    request_local_addresses(&socket, address)?;
    request_times(&socket)?;
    enlarge(&socket, sockets);
    Ok(socket)
}

/// More sockets for the address of this one.
fn share(first: &UdpSocket, more: usize) -> io::Result<Vec<UdpSocket>> {
    if more == 0 {
        return Ok(Vec::new());
    }
    setsockopt(first, sockopt::ReusePort, &true)?;
    let (address, reuse_address) = (first.local_addr()?, getsockopt(first, sockopt::ReuseAddr)?);
    let open = || {
        let socket = create(address, more + 1)?;
        setsockopt(&socket, sockopt::ReusePort, &true)?;
        setsockopt(&socket, sockopt::ReuseAddr, &reuse_address)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(socket)
    };
    (0..more).map(|_| open()).collect()
}

/// Requests large buffers for one of `sockets` sockets.
///
/// The first call of each may exceed the system's limit and wants a privilege; the second is cut to the limit. Without
/// either, a smaller buffer serves as well: it only loses bursts, or replies while a slow client has filled it.
fn enlarge(socket: &UdpSocket, sockets: usize) {
    let size = buffer_size(sockets);
    let _ = setsockopt(socket, sockopt::RcvBufForce, &size)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &size));
    let _ = setsockopt(socket, sockopt::SndBufForce, &size)
        .or_else(|_| setsockopt(socket, sockopt::SndBuf, &size));
}

/// Returns the size that is requested for a buffer of one of `sockets` sockets, in bytes.
fn buffer_size(sockets: usize) -> usize {
    (ALL_BUFFERS / sockets.max(1)).clamp(SMALLEST_BUFFER, LARGEST_BUFFER)
}

fn resolve(address: &str, port: u16) -> io::Result<SocketAddr> {
    let address = if address.is_empty() { "0.0.0.0" } else { address };
    let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    (address, port).to_socket_addrs()?.next().ok_or_else(no_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_said_to_be() {
        for workers in [1, 3] {
            let sockets = Sockets::bind("127.0.0.1", 0, workers).unwrap();
            assert!(sockets.receive_buffer() > 0);
            let error = Sockets::bind("127.0.0.1", sockets.address().unwrap().port(), workers).unwrap_err();
            assert!(error.to_string().contains("another pyzord"), "{error}");
        }
    }

    /// Not even one of a thousand clients may come to a socket that sends only.
    #[cfg(target_os = "linux")]
    #[test]
    fn spare_sockets_are_closed_to_others_and_get_nothing() {
        for (address, workers) in [("127.0.0.1", 1), ("0.0.0.0", 1), ("::", 2), ("::1", 1)] {
            let sockets = Sockets::bind(address, 0, workers).unwrap();
            assert_eq!(format!("{:?}", sockets.lanes).matches("UdpSocket").count(), LANES, "{address}");
            let port = sockets.address().unwrap().port();
            let to = if address == "::1" { "::1" } else { "127.0.0.1" };
            for _ in 0..1000 {
                let client = UdpSocket::bind((to, 0)).unwrap();
                assert_eq!(client.send_to(b"datagram", (to, port)).unwrap(), 8);
            }
            let mut heard = 0;
            for socket in sockets.iter() {
                socket.set_nonblocking(true).unwrap();
                while socket.recv(&mut [0; 10]).is_ok() {
                    heard += 1;
                }
            }
            assert_eq!(heard, 1000, "{address}");
            let thief = socket(
                if address.contains(':') { AddressFamily::Inet6 } else { AddressFamily::Inet },
                SockType::Datagram,
                SockFlag::empty(),
                None,
            )
            .unwrap();
            setsockopt(&thief, sockopt::ReuseAddr, &true).unwrap();
            let stolen = bind(thief.as_raw_fd(), &SockaddrStorage::from(sockets.address().unwrap()));
            assert_eq!(stolen, Err(nix::errno::Errno::EADDRINUSE), "{address}");
        }
    }

    #[test]
    fn buffers_are_divided_among_many_sockets() {
        for (sockets, size) in
            [(0, 8 << 20), (1, 8 << 20), (4, 8 << 20), (16, 2 << 20), (64, 512 << 10), (1000, 512 << 10)]
        {
            assert_eq!(buffer_size(sockets), size, "{sockets}");
        }
        let buffers = |workers: usize| {
            let sockets = Sockets::bind("127.0.0.1", 0, workers).unwrap();
            let sizes = |socket: &UdpSocket| {
                [getsockopt(socket, sockopt::RcvBuf).unwrap(), getsockopt(socket, sockopt::SndBuf).unwrap()]
            };
            sockets.iter().map(sizes).collect::<Vec<_>>()
        };
        let (one, many) = (buffers(1), buffers(64));
        // A limit of the system may make them equal; each socket of many is asked for the same.
        assert!(many.iter().all(|sizes| sizes == &many[0] && sizes[0] <= one[0][0] && sizes[1] <= one[0][1]));
        let all: usize = many.iter().map(|sizes| sizes[0]).sum();
        assert!(all <= 4 * ALL_BUFFERS, "{all}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sockets_of_a_wildcard_address_tell_which_address_was_asked() {
        for (address, expected) in [
            ("0.0.0.0", [true, false]),
            ("127.0.0.1", [false; 2]),
            ("::", [false, true]),
            ("::1", [false; 2]),
        ] {
            let bound = Sockets::bind(address, 0, 2).unwrap();
            let adopted = Sockets::adopt(UdpSocket::bind((address, 0)).unwrap()).unwrap();
            for socket in bound.iter().chain(adopted.iter()) {
                let v4 = getsockopt(socket, sockopt::Ipv4PacketInfo).unwrap();
                let v6 = getsockopt(socket, sockopt::Ipv6RecvPacketInfo).is_ok_and(|on| on);
                assert_eq!([v4, v6], expected, "{address}");
            }
        }
    }

    #[test]
    fn every_worker_has_a_socket_and_each_datagram_comes_to_one_of_them() {
        for address in ["127.0.0.1", "::"] {
            let sockets = Sockets::bind(address, 0, 3).unwrap();
            let expected = if cfg!(target_os = "linux") { 3 } else { 1 };
            assert_eq!(sockets.iter().count(), expected);
            assert_eq!(sockets.for_workers().take(5).count(), 5);
            let to = ("127.0.0.1", sockets.address().unwrap().port());
            let mut sent = 0;
            let mut heard = [0; 3];
            // Which one is chosen depends on the sender's port.
            while sent < 10_000 && heard.iter().take(expected).any(|count| *count == 0) {
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                assert_eq!(sender.send_to(b"datagram", to).unwrap(), 8);
                sent += 1;
                for (socket, heard) in sockets.iter().zip(&mut heard) {
                    socket.set_nonblocking(true).unwrap();
                    while socket.recv(&mut [0; 10]).is_ok() {
                        *heard += 1;
                    }
                }
            }
            assert_eq!(heard.iter().sum::<u32>(), sent);
            assert!(heard.iter().take(expected).all(|count| *count > 0), "{heard:?}");
        }
    }
}
