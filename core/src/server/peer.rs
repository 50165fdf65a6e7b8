//! The other end of a transport.

use core::net::{IpAddr, SocketAddr};

/// The peer that sent a datagram, and all that a transport needs to answer it.
///
/// The core passes a peer through from the request to its reply and looks only at its network. A transport over UDP
/// uses [`SocketAddr`], or its own type that also has the address at which the server was asked. A transport without
/// addresses, such as a Unix socket, implements this trait for its own type, or uses `()`; all its peers share one
/// limit.
pub trait Peer {
    /// Returns the address that limits apply to and that logs show; `None` for a transport without addresses. An IPv4
    /// address that is mapped into IPv6 counts as the IPv4 address.
    fn network(&self) -> Option<IpAddr>;

    /// Whether a reply can reach the peer; if not, its datagrams are ignored.
    fn is_answerable(&self) -> bool {
        true
    }
}

impl Peer for SocketAddr {
    fn network(&self) -> Option<IpAddr> {
        Some(self.ip())
    }

    /// A send to port 0 fails, so a datagram from there is forged.
    fn is_answerable(&self) -> bool {
        self.port() != 0
    }
}

impl Peer for () {
    fn network(&self) -> Option<IpAddr> {
        None
    }
}
