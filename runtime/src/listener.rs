//! The sockets of one address.

use std::io;
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket, sockopt,
};

use crate::datagrams::{request_local_addresses, request_times};
#[cfg(target_os = "linux")]
use crate::steering::steer;

/// The largest size that is requested for a receive or send buffer, in bytes: room for a burst of some 10,000 requests.
const LARGEST_BUFFER: usize = 8 << 20;
/// The smallest one. Linux doubles it, and a burst comes to many sockets if there are many.
const SMALLEST_BUFFER: usize = 512 << 10;
/// The number of spare sockets for replies.
pub(crate) const LANES: usize = 8;
/// A port that needs a privilege, and whose protocol (tcpmux) is not one of UDP.
const SILENT_PORT: u16 = 1;
/// What the buffers of all sockets share: the system's memory is not to grow with the number of workers.
pub(crate) const ALL_BUFFERS: usize = 32 << 20;

/// What is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) workers: usize,
    /// The number of addresses of the server.
    pub(crate) addresses: usize,
}

impl Plan {
    /// Returns the number of sockets that share the memory for buffers.
    fn sockets(self) -> usize {
        self.workers.saturating_mul(self.addresses)
    }
}

/// The sockets that receive at one address: one for each worker, or one for all.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    first: UdpSocket,
    others: Vec<UdpSocket>,
}

impl Listener {
    /// Listens, and opens spare sockets on the same port if they are asked for and possible.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "no portable socket sends only"))]
    pub(crate) fn open(plan: Plan, spare: bool) -> io::Result<(Self, Vec<UdpSocket>)> {
        #[cfg(target_os = "linux")]
        if spare && let Some(opened) = open_with_lanes(plan)? {
            return Ok(opened);
        }
        // Without SO_REUSEPORT, so that this fails when another process has the port.
        let first = create(plan, plan.sockets())?;
        bind(first.as_raw_fd(), &SockaddrStorage::from(plan.address))?;
        let plan = Plan { address: first.local_addr()?, ..plan };
        let others = if cfg!(target_os = "linux") { share(&first, plan) } else { Ok(Vec::new()) };
        // One for all serves, too.
        Ok((Self { address: plan.address, first, others: others.unwrap_or_default() }, Vec::new()))
    }

    /// Takes over a bound socket, for all workers.
    pub(crate) fn adopt(socket: UdpSocket, addresses: usize) -> io::Result<Self> {
        let address = socket.local_addr()?;
        // A service manager passes it in either mode; workers wait in the receive.
        socket.set_nonblocking(false)?;
        prepare(&socket, Plan { address, workers: 1, addresses }, addresses)?;
        Ok(Self { address, first: socket, others: Vec::new() })
    }

    /// Iterates over the sockets.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> + Clone {
        iter::once(&self.first).chain(&self.others)
    }

    /// Returns the first socket.
    pub(crate) fn first(&self) -> &UdpSocket {
        &self.first
    }

    /// Returns the socket of a worker: more workers than sockets share them.
    pub(crate) fn of_worker(&self, worker: usize) -> &UdpSocket {
        let index = worker % (self.others.len() + 1);
        index.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first)
    }
}

/// Opens the sockets of the workers, and spare ones that send only: each is connected, to a port that sends nothing, so
/// the system gives it no request. `None` if the system has no way to that port, as without a loopback interface.
///
/// The spare ones are bound first, since the system looks for a socket among the latest first. They do not belong to the
/// group of `SO_REUSEPORT`, in which they would take a share of the requests: to share the port, all have `SO_REUSEADDR`
/// until the last one is bound.
#[cfg(target_os = "linux")]
fn open_with_lanes(plan: Plan) -> io::Result<Option<(Listener, Vec<UdpSocket>)>> {
    let probe = create(plan, LANES * plan.addresses)?;
    // Without any option, so that this fails when another process has the port.
    bind(probe.as_raw_fd(), &SockaddrStorage::from(plan.address))?;
    let address = probe.local_addr()?;
    let plan = Plan { address, ..plan };
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
        let socket = create(plan, LANES * plan.addresses)?;
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
    let first = create(plan, plan.sockets())?;
    setsockopt(&first, sockopt::ReuseAddr, &true)?;
    bind(first.as_raw_fd(), &SockaddrStorage::from(address))?;
    // One for all serves, too.
    let others = share(&first, plan).unwrap_or_default();
    for socket in lanes.iter().chain([&first]).chain(&others) {
        setsockopt(socket, sockopt::ReuseAddr, &false)?;
    }
    Ok(Some((Listener { address, first, others }, lanes)))
}

/// Creates one of `sockets` sockets with the options for an address, and leaves it unbound.
fn create(plan: Plan, sockets: usize) -> io::Result<UdpSocket> {
    let address = plan.address;
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = UdpSocket::from(socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?);
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    }
    prepare(&socket, plan, sockets)?;
    Ok(socket)
}

/// Sets the options of one of `sockets` sockets that receive.
fn prepare(socket: &UdpSocket, plan: Plan, sockets: usize) -> io::Result<()> {
    // With several addresses, any socket of a family sends the replies of all its addresses.
    if plan.addresses > 1 || plan.address.ip().to_canonical().is_unspecified() {
        request_local_addresses(socket, plan.address)?;
    }
    request_times(socket)?;
    enlarge(socket, sockets);
    Ok(())
}

/// More sockets for the address of this one.
fn share(first: &UdpSocket, plan: Plan) -> io::Result<Vec<UdpSocket>> {
    if plan.workers <= 1 {
        return Ok(Vec::new());
    }
    setsockopt(first, sockopt::ReusePort, &true)?;
    let (address, reuse_address) = (first.local_addr()?, getsockopt(first, sockopt::ReuseAddr)?);
    let open = || {
        let socket = create(plan, plan.sockets())?;
        setsockopt(&socket, sockopt::ReusePort, &true)?;
        setsockopt(&socket, sockopt::ReuseAddr, &reuse_address)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(socket)
    };
    let others = (1..plan.workers).map(|_| open()).collect::<io::Result<Vec<_>>>()?;
    // Without it, the system chooses by the sender's port as well: the requests of a sender have less order.
    #[cfg(target_os = "linux")]
    drop(steer(first, plan.workers));
    Ok(others)
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
pub(crate) fn buffer_size(sockets: usize) -> usize {
    (ALL_BUFFERS / sockets.max(1)).clamp(SMALLEST_BUFFER, LARGEST_BUFFER)
}
