//! The server's UDP socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use socket2::{Domain, Protocol, Socket, Type};

/// Asked for as receive buffer, in bytes: room for a burst of some 10,000 requests.
const RECEIVE_BUFFER: usize = 8 << 20;

/// The server cannot listen where it was told to.
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

/// Listens on an address or host name; `::` serves IPv6 and IPv4, an empty one is `0.0.0.0`. Port 0 is a free port.
///
/// Returns the socket and the size of its receive buffer as the system counts it, in bytes.
///
/// # Errors
/// When the name has no address, or the address or port is in use or not this machine's. The port is never shared,
/// so a second server started by mistake fails here.
pub fn bind(address: &str, port: u16) -> Result<(UdpSocket, usize), BindError> {
    open(address, port).map_err(|cause| BindError { address: address.to_owned(), port, cause })
}

/// A socket that was bound elsewhere, with as large a receive buffer as [`bind`] asks for.
///
/// # Errors
/// When the system refuses.
pub fn adopt(socket: UdpSocket) -> io::Result<(UdpSocket, usize)> {
    let socket = Socket::from(socket);
    // Whoever bound it may have waited for it otherwise; here the receiving call waits.
    socket.set_nonblocking(false)?;
    enlarge(&socket);
    let granted = socket.recv_buffer_size()?;
    Ok((socket.into(), granted))
}

fn open(address: &str, port: u16) -> io::Result<(UdpSocket, usize)> {
    let address = resolve(address, port)?;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    enlarge(&socket);
    socket.bind(&address.into())?;
    let granted = socket.recv_buffer_size()?;
    Ok((socket.into(), granted))
}

/// The first call may exceed the system's limit and wants a privilege; the second is cut to the limit. Without either,
/// a smaller buffer serves as well, it only loses bursts.
fn enlarge(socket: &Socket) {
    let _ = set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER)
        .or_else(|_| set_socket_recv_buffer_size(socket, RECEIVE_BUFFER));
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
        let (socket, granted) = bind("127.0.0.1", 0).unwrap();
        assert!(granted > 0);
        let error = bind("127.0.0.1", socket.local_addr().unwrap().port()).unwrap_err();
        assert!(error.to_string().contains("another pyzord"), "{error}");
    }
}
