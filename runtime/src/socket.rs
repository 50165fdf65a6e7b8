//! The UDP sockets of the server.

use std::fmt;
use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};

use nix::sys::socket::{getsockopt, sockopt};

use crate::datagrams::Lanes;
use crate::listener::{Listener, Plan};
use crate::worker_sockets::{Place, Senders};

/// How often a free port is looked for that all addresses have.
const PORTS: usize = 16;

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

/// The sockets that receive requests: at each address one for each worker, all on the same port, or one for all workers.
///
/// With one for each worker, the system gives all datagrams of a sender's port to the same socket. Two workers on one
/// socket spend more CPU on a datagram, and receive smaller batches.
///
/// Every worker serves every address. With one address, it waits in the receive; with several, in a poll before.
#[derive(Debug)]
pub struct Sockets {
    first: Listener,
    others: Vec<Listener>,
    lanes: Lanes,
    receive_buffer: usize,
    covered: Vec<Covered>,
}

/// An address that is not listened on, as another one that is given comprises it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Covered {
    /// The address or host name.
    pub address: String,
    /// The address that comprises it.
    pub by: IpAddr,
}

impl Sockets {
    /// Listens on an address or host name. `::` serves IPv6 and IPv4, an empty address is `0.0.0.0`, and port 0 is a free
    /// port. On Linux, which divides datagrams among the sockets of one port, each worker gets a socket.
    ///
    /// # Errors
    /// When the name has no address, the address does not belong to this machine, or the port is in use. The port of
    /// another process is never shared, so a second server that is started by mistake fails here.
    pub fn bind(address: &str, port: u16, workers: usize) -> Result<Self, BindError> {
        Self::bind_all(&[address], port, workers)
    }

    /// Listens on several addresses or host names, as [`bind`](Self::bind) does on one. One that another comprises is left
    /// out: see [`covered`](Self::covered).
    ///
    /// # Errors
    /// When one of them cannot be listened on, or there is none. Only Linux tells which address a reply has to leave from:
    /// elsewhere several are refused.
    pub fn bind_all(addresses: &[impl AsRef<str>], port: u16, workers: usize) -> Result<Self, BindError> {
        let (wanted, covered) = distinct(addresses, port)?;
        if let ([_, (name, _), ..], false) = (wanted.as_slice(), cfg!(target_os = "linux")) {
            let cause = io::Error::new(
                io::ErrorKind::Unsupported,
                "this system has one address, 0.0.0.0 or :: for all",
            );
            return Err(BindError { address: name.clone(), port, cause });
        }
        let mut attempts = 1;
        loop {
            match open(&wanted, port, workers) {
                // Port 0: what is free at the first address is in use at another one.
                Err(error)
                    if port == 0 && attempts < PORTS && error.cause.kind() == io::ErrorKind::AddrInUse =>
                {
                    attempts += 1;
                }
                opened => return opened.map(|sockets| Self { covered, ..sockets }),
            }
        }
    }

    /// Takes over a bound socket, for all workers, and requests the same receive buffer as [`bind`](Self::bind).
    ///
    /// # Errors
    /// When the system refuses an option, or when it is no IP socket.
    pub fn adopt(socket: UdpSocket) -> io::Result<Self> {
        Self::adopt_all(socket, Vec::new())
    }

    /// Takes over bound sockets as [`adopt`](Self::adopt) does one. They must be bound to one port.
    ///
    /// # Errors
    /// When the system refuses an option, one of them is no IP socket, or they have several ports.
    pub fn adopt_all(first: UdpSocket, others: Vec<UdpSocket>) -> io::Result<Self> {
        let count = others.len() + 1;
        if count > 1 && !cfg!(target_os = "linux") {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this system has one socket for all addresses",
            ));
        }
        let first = Listener::adopt(first, count)?;
        let others = others
            .into_iter()
            .map(|socket| Listener::adopt(socket, count))
            .collect::<io::Result<Vec<_>>>()?;
        if others.iter().any(|other| other.address.port() != first.address.port()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the sockets have different ports"));
        }
        Self::new(first, others, Lanes::default())
    }

    fn new(first: Listener, others: Vec<Listener>, lanes: Lanes) -> io::Result<Self> {
        let receive_buffer = getsockopt(first.first(), sockopt::RcvBuf)?;
        Ok(Self { first, others, lanes, receive_buffer, covered: Vec::new() })
    }

    /// Returns the first address that is listened on.
    ///
    /// # Errors
    /// When the system does not tell it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.first.first().local_addr()
    }

    /// Iterates over the addresses that are listened on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners().map(|listener| listener.address)
    }

    /// Returns the addresses that are not listened on, as others comprise them.
    #[must_use]
    pub fn covered(&self) -> &[Covered] {
        &self.covered
    }

    /// Returns the size of the receive buffer of each socket, in bytes. Linux counts its own overhead too.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Iterates over the sockets.
    pub fn iter(&self) -> impl Iterator<Item = &UdpSocket> + Clone {
        self.listeners().flat_map(Listener::sockets)
    }

    /// Iterates over the sockets of the workers, without an end: more workers than sockets share them.
    pub(crate) fn for_workers(&self) -> impl Iterator<Item = Place<'_>> {
        (0..).map(|worker| Place {
            first: self.first.of_worker(worker),
            others: self.others.iter().map(|listener| listener.of_worker(worker)).collect(),
            senders: self.senders_of(worker),
        })
    }

    /// Returns the spare sockets for replies.
    pub(crate) fn lanes(&self) -> Lanes {
        self.lanes.clone()
    }

    /// Returns sockets to send from.
    pub(crate) fn senders(&self) -> Senders<'_> {
        self.senders_of(0)
    }

    fn senders_of(&self, worker: usize) -> Senders<'_> {
        let first_is_v4 = self.first.address.is_ipv4();
        let other = self.others.iter().find(|listener| listener.address.is_ipv4() != first_is_v4);
        Senders {
            first: self.first.of_worker(worker),
            first_is_v4,
            other: other.map(|listener| listener.of_worker(worker)),
        }
    }

    fn listeners(&self) -> impl Iterator<Item = &Listener> + Clone {
        iter::once(&self.first).chain(&self.others)
    }
}

/// Names with their addresses.
type Named = Vec<(String, SocketAddr)>;

/// Looks up the addresses, and leaves out those that others comprise.
fn distinct(addresses: &[impl AsRef<str>], port: u16) -> Result<(Named, Vec<Covered>), BindError> {
    let look_up = |address: &str| {
        let found =
            resolve(address, port).map_err(|cause| BindError { address: address.to_owned(), port, cause });
        found.map(|found| (address.to_owned(), found))
    };
    let all = addresses.iter().map(|address| look_up(address.as_ref())).collect::<Result<Named, _>>()?;
    let (mut wanted, mut covered) = (Named::new(), Vec::new());
    for (index, (name, address)) in all.iter().enumerate() {
        // Of equal ones, the first stays.
        let by = all.iter().enumerate().find(|(other, (_, by))| {
            *other != index && comprises(*by, *address) && (*other < index || !comprises(*address, *by))
        });
        match by {
            Some((_, (_, by))) => covered.push(Covered { address: name.clone(), by: by.ip() }),
            None => wanted.push((name.clone(), *address)),
        }
    }
    Ok((wanted, covered))
}

/// Returns whether a socket on one address gets what is sent to another one.
fn comprises(one: SocketAddr, other: SocketAddr) -> bool {
    let (mine, its) = (one.ip().to_canonical(), other.ip().to_canonical());
    let scope = |address: SocketAddr| if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
    mine == Ipv6Addr::UNSPECIFIED
        || mine == Ipv4Addr::UNSPECIFIED && its.is_ipv4()
        || mine == its && scope(one) == scope(other)
}

/// Opens the sockets of all addresses.
fn open(wanted: &[(String, SocketAddr)], port: u16, workers: usize) -> Result<Sockets, BindError> {
    let mut port = port;
    let (mut listeners, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
    for (name, address) in wanted {
        let failed = |cause| BindError { address: name.clone(), port, cause };
        let mut address = *address;
        address.set_port(port);
        let plan = Plan { address, workers, addresses: wanted.len() };
        // One of each family serves for all addresses.
        let spare = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        let (listener, opened) = Listener::open(plan, spare.is_empty()).map_err(failed)?;
        spare.extend(opened);
        port = listener.address.port();
        listeners.push(listener);
    }
    let no_address = || io::Error::new(io::ErrorKind::InvalidInput, "no address is given");
    let failed = |cause| BindError { address: String::new(), port, cause };
    let mut listeners = listeners.into_iter();
    let first = listeners.next().ok_or_else(no_address).map_err(failed)?;
    let names_local = wanted.len() > 1 || first.address.ip().is_unspecified();
    Sockets::new(first, listeners.collect(), Lanes::new(v4, v6, names_local)).map_err(failed)
}

fn resolve(address: &str, port: u16) -> io::Result<SocketAddr> {
    let address = if address.is_empty() { "0.0.0.0" } else { address };
    let no_address = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    (address, port).to_socket_addrs()?.next().ok_or_else(no_address)
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::os::fd::AsRawFd as _;

    #[cfg(target_os = "linux")]
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket};

    use super::*;
    #[cfg(target_os = "linux")]
    use crate::datagrams::ReceiveMode;
    #[cfg(target_os = "linux")]
    use crate::listener::LANES;
    use crate::listener::{ALL_BUFFERS, buffer_size};
    #[cfg(target_os = "linux")]
    use crate::worker_sockets::WorkerSockets;

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
            // Which one is chosen depends on the sender's address.
            while sent < 10_000 && heard.iter().take(expected).any(|count| *count == 0) {
                let host = if cfg!(target_os = "linux") { u8::try_from(1 + sent % 250).unwrap() } else { 1 };
                let sender = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, host), 0)).unwrap();
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

    /// Every worker hears every address, and each reply leaves from the address that was asked, whichever socket of the
    /// family sends it.
    #[cfg(target_os = "linux")]
    #[test]
    fn every_worker_has_a_socket_of_each_address() {
        let sockets = Sockets::bind_all(&["127.0.0.1", "127.0.0.2", "::1"], 0, 2).unwrap();
        assert_eq!(sockets.iter().count(), 6);
        let addresses: Vec<_> = sockets.addresses().collect();
        let port = sockets.address().unwrap().port();
        assert_eq!(
            addresses,
            ["127.0.0.1", "127.0.0.2", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port))
        );
        assert_eq!(format!("{:?}", sockets.lanes).matches("UdpSocket").count(), 2 * LANES, "of each family");
        for socket in sockets.iter() {
            let v4 = getsockopt(socket, sockopt::Ipv4PacketInfo).unwrap();
            assert!(v4 || getsockopt(socket, sockopt::Ipv6RecvPacketInfo).is_ok_and(|on| on));
        }
        let worker = sockets.for_workers().nth(1).unwrap();
        assert_eq!(worker.iter().count(), 3);
        assert!(!worker.same(&sockets.for_workers().next().unwrap()));
        assert!(worker.same(&sockets.for_workers().nth(3).unwrap()));
        let empty = WorkerSockets::new(&worker).receive(ReceiveMode::NonBlocking, |_, _| ()).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }

    /// With two sockets that always have datagrams, a worker that asks the first one first would never ask the second.
    #[cfg(target_os = "linux")]
    #[test]
    fn addresses_take_turns() {
        let sockets = Sockets::bind_all(&["127.0.0.1", "::1"], 0, 1).unwrap();
        for address in sockets.addresses() {
            let client = UdpSocket::bind((address.ip(), 0)).unwrap();
            (0..4).for_each(|_| assert_eq!(client.send_to(b"datagram", address).unwrap(), 8));
        }
        let mut worker = WorkerSockets::new(&sockets.for_workers().next().unwrap());
        let mut heard = Vec::new();
        for _ in 0..2 {
            let received = worker.receive(ReceiveMode::WaitForFirst, |arrival, _| {
                heard.push(arrival.path.peer.is_ipv4());
                assert!(arrival.path.local.is_some_and(|local| local.ip.is_loopback()));
            });
            received.unwrap();
        }
        assert_eq!(heard, [[true; 4], [false; 4]].concat());
    }

    #[test]
    fn an_address_that_another_comprises_is_not_opened() {
        for (given, kept, covered) in [
            (&["127.0.0.1", "127.0.0.1"][..], &["127.0.0.1"][..], &["127.0.0.1"][..]),
            (&["127.0.0.1", "0.0.0.0"], &["0.0.0.0"], &["0.0.0.0"]),
            (&["0.0.0.0", ""], &["0.0.0.0"], &["0.0.0.0"]),
            (&["0.0.0.0", "::", "::1"], &["::"], &["::", "::"]),
            (&["::ffff:127.0.0.1", "127.0.0.1"], &["::ffff:127.0.0.1"], &["::ffff:127.0.0.1"]),
            #[cfg(target_os = "linux")]
            (&["0.0.0.0", "::1", "127.0.0.1"], &["0.0.0.0", "::1"], &["0.0.0.0"]),
        ] {
            let sockets = Sockets::bind_all(given, 0, 1).unwrap();
            let addresses: Vec<_> = sockets.addresses().map(|address| address.ip().to_string()).collect();
            let by: Vec<_> = sockets.covered().iter().map(|covered| covered.by.to_string()).collect();
            assert_eq!(
                (addresses, by),
                (
                    kept.iter().map(|ip| (*ip).to_owned()).collect(),
                    covered.iter().map(|ip| (*ip).to_owned()).collect()
                ),
                "{given:?}"
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_address_that_is_in_use_is_named() {
        let taken = Sockets::bind("127.0.0.2", 0, 1).unwrap();
        let port = taken.address().unwrap().port();
        let error = Sockets::bind_all(&["127.0.0.1", "127.0.0.2"], port, 1).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on 127.0.0.2 port {port}: ")), "{error}");
        assert!(Sockets::bind("127.0.0.1", port, 1).is_ok(), "what was opened is closed");
        assert!(Sockets::bind_all(&[] as &[&str], 0, 1).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn adopted_sockets_share_a_port() {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        let two = UdpSocket::bind(("127.0.0.2", port)).unwrap();
        let other = UdpSocket::bind("127.0.0.2:0").unwrap();
        let sockets = Sockets::adopt_all(one.try_clone().unwrap(), vec![two]).unwrap();
        assert_eq!(sockets.addresses().count(), 2);
        assert!(sockets.iter().all(|socket| getsockopt(socket, sockopt::Ipv4PacketInfo).unwrap()));
        let error = Sockets::adopt_all(one, vec![other]).unwrap_err();
        assert_eq!(error.to_string(), "the sockets have different ports");
    }
}
