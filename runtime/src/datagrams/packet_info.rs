//! Control messages of a datagram: its local address in `IP_PKTINFO` or `IPV6_PKTINFO`, and the time of its receipt in
//! `SCM_TIMESTAMPNS`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo, timespec};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, setsockopt, sockopt};
use pyzord_core::UnixTime;

use super::path::LocalAddress;

/// Requests the local address of each datagram. Without it, the datagrams of a socket that has one address come without
/// this control message.
pub(crate) fn request_local_addresses(socket: &impl AsFd, bound: SocketAddr) -> io::Result<()> {
    match bound.ip() {
        IpAddr::V4(_) => Ok(setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?),
        // IPv4 datagrams, too, come with this one.
        IpAddr::V6(_) => Ok(setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?),
    }
}

/// Requests the time at which the system received each datagram.
pub(crate) fn request_times(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
}

/// Room for the control messages of one received datagram: its local address and the time of its receipt.
pub(super) fn receive_space() -> Vec<u8> {
    cmsg_space!(in6_pktinfo, timespec)
}

/// Returns the address that a reply leaves from, and the time of the receipt.
pub(super) fn read_messages(
    messages: impl Iterator<Item = ControlMessageOwned>,
) -> (Option<LocalAddress>, Option<UnixTime>) {
    let (mut local, mut at) = (None, None);
    for message in messages {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => local = from_v4(info),
            ControlMessageOwned::Ipv6PacketInfo(info) => local = from_v6(info),
            ControlMessageOwned::ScmTimestampns(time) => {
                let micros = time.tv_sec().saturating_mul(1_000_000).saturating_add(time.tv_nsec() / 1000);
                at = Some(UnixTime::from_micros(micros));
            }
            _ => (),
        }
    }
    (local, at)
}

fn from_v4(info: in_pktinfo) -> Option<LocalAddress> {
    let [specific, destination] =
        [info.ipi_spec_dst, info.ipi_addr].map(|address| Ipv4Addr::from(address.s_addr.to_ne_bytes()));
    // A broadcast has a local address of its own to reply from. A datagram that waited in the receive buffer before the
    // option was set has only a destination.
    let ip = if specific.is_unspecified() { destination } else { specific };
    is_unicast(ip).then_some(LocalAddress { ip: ip.into(), interface: 0 })
}

fn from_v6(info: in6_pktinfo) -> Option<LocalAddress> {
    let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    let unicast = ip.to_ipv4_mapped().map_or(!ip.is_multicast(), is_unicast);
    let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
    unicast.then_some(LocalAddress { ip: ip.into(), interface })
}

fn is_unicast(ip: Ipv4Addr) -> bool {
    !(ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified())
}

/// A local address in the form that a send takes.
#[derive(Clone, Copy)]
pub(super) enum PacketInfo {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl PacketInfo {
    /// The space for the control message of an IPv4 address.
    pub(super) fn v4_space() -> Vec<u8> {
        cmsg_space!(in_pktinfo)
    }

    /// The space for the control message of an IPv6 address.
    pub(super) fn v6_space() -> Vec<u8> {
        cmsg_space!(in6_pktinfo)
    }

    pub(super) fn new(local: LocalAddress) -> Self {
        match local.ip {
            IpAddr::V4(ip) => Self::V4(in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            }),
            IpAddr::V6(ip) => Self::V6(in6_pktinfo {
                ipi6_addr: in6_addr { s6_addr: ip.octets() },
                ipi6_ifindex: local.interface,
            }),
        }
    }

    pub(super) fn message(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(specific: [u8; 4], destination: [u8; 4]) -> Option<IpAddr> {
        let [specific, destination] =
            [specific, destination].map(|ip| in_addr { s_addr: u32::from_ne_bytes(ip) });
        let info = in_pktinfo { ipi_ifindex: 7, ipi_spec_dst: specific, ipi_addr: destination };
        let local = read_messages([ControlMessageOwned::Ipv4PacketInfo(info)].into_iter()).0?;
        assert_eq!(local.interface, 0);
        Some(local.ip)
    }

    #[test]
    fn an_ipv4_reply_leaves_from_an_address_of_one_machine() {
        let (own, none) = ([192, 0, 2, 1], [0; 4]);
        for (specific, destination, expected) in [
            (own, own, Some(own)),
            (own, [255; 4], Some(own)),
            (own, [224, 0, 0, 1], Some(own)),
            (none, own, Some(own)),
            (none, [255; 4], None),
            (none, [224, 0, 0, 1], None),
            (none, none, None),
        ] {
            assert_eq!(v4(specific, destination), expected.map(IpAddr::from), "{specific:?} {destination:?}");
        }
    }

    #[test]
    fn an_ipv6_reply_names_an_interface_for_a_link_local_address_only() {
        for (destination, expected) in [
            ("2001:db8::1", Some(0)),
            ("::1", Some(0)),
            ("fe80::1", Some(7)),
            ("::ffff:192.0.2.1", Some(0)),
            ("ff02::1", None),
            ("::ffff:255.255.255.255", None),
            ("::ffff:224.0.0.1", None),
            ("::ffff:0.0.0.0", None),
        ] {
            let ip: Ipv6Addr = destination.parse().unwrap();
            let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 7 };
            let (local, _) = read_messages([ControlMessageOwned::Ipv6PacketInfo(info)].into_iter());
            let expected = expected.map(|interface| LocalAddress { ip: ip.into(), interface });
            assert_eq!(local, expected, "{destination}");
        }
    }
}
