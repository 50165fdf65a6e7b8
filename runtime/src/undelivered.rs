//! What the network reports of datagrams that did not arrive.
//!
//! On Linux the socket's error queue names the address that the datagram was for. Elsewhere only the errors of a send
//! itself are known.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

use pyzord_core::client::Unreachable;

/// Returns what an error says of the address that was sent to, if it says something of it.
pub(crate) fn cause(error: &io::Error) -> Option<Unreachable> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Some(Unreachable::Closed),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Some(Unreachable::NoRoute)
        }
        ErrorKind::PermissionDenied => Some(Unreachable::Forbidden),
        _ => None,
    }
}

/// Asks for reports on this socket. Without them a missing reply tells, later.
#[cfg(target_os = "linux")]
pub(crate) fn subscribe(socket: &UdpSocket) {
    use nix::sys::socket::{setsockopt, sockopt};
    let is_ipv4 = socket.local_addr().is_ok_and(|local| local.is_ipv4());
    let asked = if is_ipv4 {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    };
    if let Err(error) = asked {
        log::debug!("no reports of the network about what is forwarded: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn subscribe(_socket: &UdpSocket) {}

/// Returns the next report: the address that could not be reached, and why; `None` if there is no other one.
#[cfg(target_os = "linux")]
pub(crate) fn next(socket: &UdpSocket) -> Option<(SocketAddr, io::Error)> {
    use std::io::IoSliceMut;
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

    let mut datagram = [0; 64];
    let mut slices = [IoSliceMut::new(&mut datagram)];
    // The size of the error and of the address of the router that reports it, for either family.
    let mut space = nix::cmsg_space!([u8; 64]);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
    let to = message.address.as_ref()?;
    let v4 = to.as_sockaddr_in().map(|to| SocketAddr::from(std::net::SocketAddrV4::from(*to)));
    let v6 = to.as_sockaddr_in6().map(|to| SocketAddr::from(std::net::SocketAddrV6::from(*to)));
    let error = message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            Some(error.ee_errno)
        }
        _ => None,
    })?;
    let error = io::Error::from_raw_os_error(i32::try_from(error).unwrap_or_default());
    v4.or(v6).map(|to| (SocketAddr::new(to.ip(), to.port()), error))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn next(_socket: &UdpSocket) -> Option<(SocketAddr, io::Error)> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, poll};

    #[test]
    fn a_closed_port_is_reported_with_its_address() {
        for host in ["127.0.0.1", "::1"] {
            let socket = UdpSocket::bind((host, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            subscribe(&socket);
            // Both ports are free when the datagrams arrive.
            let closed = [(); 2].map(|()| UdpSocket::bind((host, 0)).unwrap().local_addr().unwrap());
            assert!(next(&socket).is_none());
            socket.send_to(b"x", closed[0]).unwrap();
            poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], 5000_u16).unwrap();
            let (to, error) = next(&socket).unwrap();
            assert_eq!((to, cause(&error)), (closed[0], Some(Unreachable::Closed)));
            assert!(next(&socket).is_none());
        }
    }
}
