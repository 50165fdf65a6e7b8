//! Whether an address that requests are sent to is this server's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use pyzord_core::client::Remote;
use pyzord_runtime::Clock;

/// The time for all lookups. What is found later, or is hidden by an address translation, is found by the mark of
/// forwarded requests.
const LOOKUP: Duration = Duration::from_secs(2);

/// Returns those of the servers that are this one, which listens on the addresses `own`.
pub(crate) fn own_servers(servers: &[Remote], own: &[SocketAddr]) -> Vec<Remote> {
    let same_port = |server: &&Remote| own.iter().any(|own| own.port() == server.port);
    let (mut found, mut names) = (Vec::new(), Vec::new());
    for server in servers.iter().filter(same_port) {
        match server.ip() {
            Some(ip) if is_own(SocketAddr::new(ip, server.port), own) => found.push(server.clone()),
            Some(_) => (),
            None => names.push(server.clone()),
        }
    }
    if !names.is_empty() {
        found.extend(look_up(names, own));
    }
    found
}

/// Looks up names on a thread of its own, which may take any time, and returns those of this server.
fn look_up(names: Vec<Remote>, own: &[SocketAddr]) -> Vec<Remote> {
    let (results, found) = channel();
    let lookup = move || {
        for name in names {
            let addresses = (&*name.host, name.port).to_socket_addrs();
            let addresses: Vec<SocketAddr> = addresses.map(Iterator::collect).unwrap_or_default();
            if results.send((name, addresses)).is_err() {
                return;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("lookup".into()).spawn(lookup) {
        log::warn!("no thread to look up the names of the servers that are forwarded to: {error}");
    }
    let clock = Clock::start();
    let end = clock.tick().after(LOOKUP);
    let mut servers = Vec::new();
    while let Ok((name, addresses)) = found.recv_timeout(end.since(clock.tick())) {
        if addresses.iter().any(|address| is_own(*address, own)) {
            servers.push(name);
        }
    }
    servers
}

/// Whether a datagram to this address comes to a socket on one of the addresses `own`.
fn is_own(to: SocketAddr, own: &[SocketAddr]) -> bool {
    // The system takes a destination without an address for the loopback one.
    let ip = match to.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    own.iter().filter(|own| own.port() == to.port()).any(|own| match own.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => ip.is_ipv4() && is_local(ip),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => is_local(ip),
        own => own.to_canonical() == ip,
    })
}

/// Whether an address is one of this machine. The system sends from it what is sent to it; to bind it would prove
/// nothing where `ip_nonlocal_bind` is set.
fn is_local(ip: IpAddr) -> bool {
    let source = || {
        let any: IpAddr =
            if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        // No datagram is sent, whatever the port.
        socket.connect((ip, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    ip.is_loopback() || source() == Some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_datagram_comes_back_to_the_sockets_that_cover_its_address() {
        for (own, to, expected) in [
            ("0.0.0.0:5", "127.0.0.1:5", true),
            ("0.0.0.0:5", "127.0.0.2:5", true),
            ("0.0.0.0:5", "0.0.0.0:5", true),
            ("0.0.0.0:5", "[::ffff:127.0.0.1]:5", true),
            ("0.0.0.0:5", "127.0.0.1:6", false),
            ("0.0.0.0:5", "[::1]:5", false),
            ("0.0.0.0:5", "192.0.2.1:5", false),
            ("[::]:5", "127.0.0.1:5", true),
            ("[::]:5", "[::1]:5", true),
            ("[::]:5", "[::]:5", true),
            ("[::]:5", "[2001:db8::1]:5", false),
            ("127.0.0.1:5", "127.0.0.1:5", true),
            ("127.0.0.1:5", "0.0.0.0:5", true),
            ("127.0.0.1:5", "127.0.0.2:5", false),
            ("[::1]:5", "[::1]:5", true),
            ("[::1]:5", "127.0.0.1:5", false),
            ("192.0.2.1:5", "192.0.2.1:5", true),
            ("192.0.2.1:5", "127.0.0.1:5", false),
        ] {
            assert_eq!(is_own(address(to), &[address(own)]), expected, "{own} <- {to}");
        }
        let several = [address("192.0.2.1:5"), address("127.0.0.1:6")];
        assert!(is_own(address("127.0.0.1:6"), &several) && !is_own(address("127.0.0.1:5"), &several));
    }

    #[test]
    fn names_are_looked_up() {
        let servers = [
            ("localhost", 5),
            ("localhost", 6),
            ("192.0.2.7", 5),
            ("no-such-name.invalid", 5),
            ("127.0.0.1", 5),
        ]
        .map(|(host, port)| Remote::new(host, port));
        let found = own_servers(&servers, &[address("0.0.0.0:5")]);
        assert_eq!(found, [servers[4].clone(), servers[0].clone()]);
        assert_eq!(own_servers(&servers, &[]), []);
    }
}
