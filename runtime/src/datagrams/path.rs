//! The two ends of a datagram's way.

use std::net::{IpAddr, SocketAddr};

use pyzord_core::Peer;

/// The way of a datagram: its sender, and the address of this machine that it was sent to. The reply takes the same way
/// back, so that it comes from the address that the client asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// The address and port of the client.
    pub peer: SocketAddr,
    /// The address that the client asked. `None` where the socket has only one address, where the system does not
    /// tell it, and for a datagram to many machines, whose address no reply can come from: then the system chooses
    /// the address of the reply.
    pub local: Option<LocalAddress>,
}

/// An address of this machine, as its socket writes it: a socket for both families has IPv4 addresses as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocalAddress {
    /// The address.
    pub ip: IpAddr,
    /// The index of the network interface of an IPv6 link-local address, which is valid on one interface only. 0 for
    /// all other addresses: the routes decide which interface a reply takes.
    pub interface: u32,
}

impl Peer for Path {
    fn network(&self) -> Option<IpAddr> {
        self.peer.network()
    }

    fn is_answerable(&self) -> bool {
        self.peer.is_answerable()
    }
}
