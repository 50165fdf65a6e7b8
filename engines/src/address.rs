//! The address of a database server in a DSN.
//!
//! Logs show it, so it has no character but those of names, addresses and ports: a DSN with other separators than its
//! form has is refused, and no password is taken for a part of the address.

use std::net::{IpAddr, Ipv6Addr};

/// Splits `name`, `name:port`, `[address]`, `[address]:port`, or an IPv6 address alone into host and port. `None` if the
/// text is none of them, or if the port is not from 1 to 65535.
pub(crate) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    if is_ip(text) {
        return Some((text, None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').filter(|(address, _)| is_ip(address))?;
            (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => {
            let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            (Some(name).filter(|name| is_name(name))?, port)
        }
    };
    Some((host, port.map(|port| parse_port(port).ok_or(())).transpose().ok()?))
}

/// Parses a port from 1 to 65535.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Returns whether a text is the absolute path of a socket, without the characters that separate the fields of a DSN.
#[cfg(feature = "redis")]
pub(crate) fn is_plain_path(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    text.starts_with('/') && text.bytes().all(known)
}

/// Returns whether a DSN is the name of a file, such as the default of the setting, and not the address of a server.
pub(crate) fn is_file(dsn: &str) -> bool {
    dsn.trim_end().ends_with(".db") && !dsn.contains([',', '@'])
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Returns whether a text is an IP address; an IPv6 address may have the zone of a link.
fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || text
            .split_once('%')
            .is_some_and(|(address, zone)| address.parse::<Ipv6Addr>().is_ok() && is_name(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_an_optional_port_and_nothing_else() {
        for (text, expected) in [
            ("localhost", Some(("localhost", None))),
            ("db-1.example_x.org:1", Some(("db-1.example_x.org", Some(1)))),
            ("192.0.2.1:65535", Some(("192.0.2.1", Some(65535)))),
            ("::1", Some(("::1", None))),
            ("[::1]", Some(("::1", None))),
            ("[fe80::1%eth0]:7", Some(("fe80::1%eth0", Some(7)))),
        ] {
            assert_eq!(host_and_port(text), expected, "{text}");
        }
        for text in [
            "",
            ":1",
            "h:",
            "h:0",
            "h:65536",
            "h:+1",
            "h:1:secret",
            "h;1",
            "h 1",
            "h\t1",
            "u@h",
            "h/0",
            "h?db=1",
            "h%20x",
            "h|1",
            "[::1",
            "[::1]1",
            "[h]:1",
            "[::1]:x",
            "fe80::1%a@b",
            "höst",
        ] {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }
}
