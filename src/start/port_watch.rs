//! Warns of other processes that take a part of the requests.
//!
//! The workers' sockets share their port (`SO_REUSEPORT`), and the system lets any process of the same account join them.
//! To take the option back after the sockets are bound would send every datagram to one worker, so the only remedy is to
//! say it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid;
use pyzord_runtime::Sockets;
use rustix::fs::fstat;

use crate::pidfile::is_pyzord;
use crate::socket_table::{parse, udp_sockets};

/// The pause between two looks, in milliseconds.
const PERIOD: u16 = 10_000;

/// Looks for other sockets on the port of `sockets` until the peer of `end` is closed, and logs each of them once.
pub(super) fn watch(sockets: &Sockets, end: &UnixStream) {
    let Ok(own) = inodes(sockets) else {
        return log::error!(
            "the system does not tell which sockets are this server's: another process on the port goes unnoticed"
        );
    };
    let mut known = BTreeSet::new();
    loop {
        for (address, inode) in sockets.addresses().flat_map(|address| strangers(address, &own)) {
            if known.insert(inode) {
                log::warn!(
                    "{} has a socket on {address}, too, and takes a part of the requests, which pyzord does not \
                     answer: end that process",
                    owner(inode)
                );
            }
        }
        match poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], PERIOD) {
            Ok(0) | Err(Errno::EINTR) => (),
            Ok(_) | Err(_) => return,
        }
    }
}

fn inodes(sockets: &Sockets) -> io::Result<BTreeSet<u64>> {
    sockets.iter().map(|socket| Ok(fstat(socket)?.st_ino)).collect()
}

/// Returns the inodes of the other sockets that get datagrams to `address`, each with this address.
fn strangers(address: SocketAddr, own: &BTreeSet<u64>) -> Vec<(SocketAddr, u64)> {
    let others = udp_sockets()
        .into_iter()
        .filter(|other| !other.is_connected && shares(address, other.address) && !own.contains(&other.inode));
    others.map(|other| (address, other.inode)).collect()
}

/// Whether a socket on `other` gets datagrams that are sent to `own`. IPv4 datagrams go to a socket of that family first,
/// so one for both families gets none that an IPv4 socket waits for.
fn shares(own: SocketAddr, other: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip == Ipv4Addr::UNSPECIFIED || ip == Ipv6Addr::UNSPECIFIED;
    let (one, two) = (own.ip().to_canonical(), other.ip().to_canonical());
    let same_family = own.is_ipv4() == other.is_ipv4();
    own.port() == other.port()
        && (one == two
            || same_family && (any(one) || any(two))
            || one == Ipv6Addr::UNSPECIFIED && two.is_ipv4())
}

/// Returns the words for the process that has a socket.
fn owner(inode: u64) -> String {
    let Some(process) = process(inode) else { return "another process".to_owned() };
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    format!("process {process} ({})", name.trim().escape_debug())
}

/// Returns whether a port is in use by a pyzord, or by the service manager for one. Of other accounts the system does not
/// tell which sockets they have: then it is enough that one of them runs a pyzord.
pub(crate) fn is_held_for_pyzord(tables: [&str; 2], port: u16) -> bool {
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let mut sockets = tables.iter().flat_map(|table| parse(table));
    sockets.any(|socket| {
        !socket.is_connected
            && socket.address.port() == port
            && match process(socket.inode) {
                Some(pid) => pid == Pid::from_raw(1) || is_pyzord(pid),
                None => processes().any(|pid| is_pyzord(pid) && hides_sockets(pid)),
            }
    })
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw)
}

fn descriptors(pid: Pid) -> Option<fs::ReadDir> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok()
}

/// Returns whether the system does not tell which sockets a process has. The list of descriptors of a process of the same
/// account in a user namespace of its own (`PrivateUsers=` of systemd) can be read, and the descriptors cannot.
fn hides_sockets(pid: Pid) -> bool {
    let is_hidden = |descriptor: fs::DirEntry| {
        fs::read_link(descriptor.path()).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    descriptors(pid).is_none_or(|descriptors| descriptors.flatten().any(is_hidden))
}

/// Returns the process that has a socket, if the system tells it.
fn process(inode: u64) -> Option<Pid> {
    let link = format!("socket:[{inode}]");
    let has_it = |pid: &Pid| {
        let descriptors = descriptors(*pid).into_iter().flatten().flatten();
        descriptors
            .map(|descriptor| fs::read_link(descriptor.path()))
            .any(|to| to.is_ok_and(|to| to == *link))
    };
    processes().find(has_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_on_another_address_takes_nothing() {
        for (own, other, expected) in [
            ("127.0.0.1:5", "127.0.0.1:5", true),
            ("127.0.0.1:5", "127.0.0.1:6", false),
            ("127.0.0.1:5", "127.0.0.2:5", false),
            ("127.0.0.1:5", "0.0.0.0:5", true),
            ("0.0.0.0:5", "127.0.0.1:5", true),
            ("0.0.0.0:5", "[::]:5", false),
            ("[::]:5", "0.0.0.0:5", true),
            ("[::]:5", "[::1]:5", true),
            ("[::1]:5", "127.0.0.1:5", false),
        ] {
            assert_eq!(shares(own.parse().unwrap(), other.parse().unwrap()), expected, "{own} {other}");
        }
    }
}
