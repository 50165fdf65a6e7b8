//! The system's tables of sockets.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// A socket of any process.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "only Linux looks for other processes on a port")
)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SocketRow {
    /// The local address.
    pub(crate) address: SocketAddr,
    /// Whether it gets datagrams of one peer only.
    pub(crate) is_connected: bool,
    pub(crate) inode: u64,
    /// Datagrams that found no room in its receive buffer: a number of 32 bits, which begins anew behind the largest one. 0
    /// in a table of TCP sockets.
    pub(crate) drops: u32,
}

/// Returns the UDP sockets of this network namespace; none if the system has no such table.
pub(crate) fn udp_sockets() -> Vec<SocketRow> {
    // These names are there for a service that sees no other process, too. A kernel without IPv6 has no second table.
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| parse(table)).collect()
}

/// Parses a table of the system.
pub(crate) fn parse(table: &str) -> impl Iterator<Item = SocketRow> {
    table.lines().skip(1).filter_map(parse_line)
}

fn parse_line(line: &str) -> Option<SocketRow> {
    let mut fields = line.split_ascii_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    let is_connected = !fields.next()?.ends_with(":0000");
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits, each in the order of this machine.
    let word = |index: usize| u32::from_str_radix(ip.get(8 * index..8 * index + 8)?, 16).ok();
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?.to_ne_bytes()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].map(u32::to_ne_bytes);
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    let inode = fields.nth(6)?.parse().ok()?;
    let drops = fields.nth(2).and_then(|drops| drops.parse().ok()).unwrap_or(0);
    Some(SocketRow { address: SocketAddr::new(ip, port), is_connected, inode, drops })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_a_socket() {
        let line = |ip: &str, peer: &str| {
            format!(
                " 9: {ip}:5F79 00000000:{peer} 07 00000000:00000000 00:00000000 00000000  1000  0 4711 2 0 815"
            )
        };
        for (ip, expected) in [
            ("00000000", "0.0.0.0:24441"),
            #[cfg(target_endian = "little")]
            ("0100007F", "127.0.0.1:24441"),
            ("00000000000000000000000000000000", "[::]:24441"),
            #[cfg(target_endian = "little")]
            ("00000000000000000000000001000000", "[::1]:24441"),
        ] {
            let address = expected.parse().unwrap();
            let row = SocketRow { address, is_connected: false, inode: 4711, drops: 815 };
            assert_eq!(parse_line(&line(ip, "0000")), Some(row), "{ip}");
            assert_eq!(parse_line(&line(ip, "0001")), Some(SocketRow { is_connected: true, ..row }), "{ip}");
        }
        for line in ["", "9:", " 9: 0:5F79 0 0 0 0 0 0 0 1", "9: x:5F79", &line("éééé", "0000")] {
            assert_eq!(parse_line(line), None, "{line}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_table_has_the_sockets_of_this_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert!(udp_sockets().iter().any(|row| row.address == address && row.drops == 0));
    }
}
