//! Wakes workers that wait in a receive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::socket::Sockets;

/// Sends empty datagrams to the sockets, so that the workers that wait there look at the stop flag. An empty datagram is
/// no request.
///
/// Chance, or the port of the sender, decides which socket an empty datagram comes to, so each is sent from a new port, and
/// calls are to be repeated until all workers have ended. A worker that no datagram can wake ends when its receive times
/// out.
///
/// A shutdown of the sockets wakes their workers, too, but systemd keeps a socket that it passed, and gives it to the
/// next server.
pub(crate) fn wake(sockets: &Sockets, count: usize) {
    let Ok(mut address) = sockets.address() else { return };
    let (loopback, any): (IpAddr, IpAddr) = if address.is_ipv4() {
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into())
    } else {
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into())
    };
    if address.ip().is_unspecified() {
        address.set_ip(loopback);
    }
    for _ in 0..count {
        if let Err(error) = UdpSocket::bind((any, 0)).and_then(|socket| socket.send_to(&[], address)) {
            log::debug!("a waiting worker could not be woken, and ends when its receive times out: {error}");
        }
    }
}
