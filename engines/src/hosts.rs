//! Lists of database servers in a DSN, such as `db1:3306,db2,[::1]:3307`.

use std::fmt;

use crate::address::host_and_port;

/// The most hosts that a list may have.
pub(crate) const MOST: usize = 32;

/// A server of a list. Its `Display` is `name:port`, with brackets around an IPv6 address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Host {
    /// A name or an IP address, without brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl Host {
    /// Returns whether both are the same, as names have no upper case.
    fn is(&self, other: &Self) -> bool {
        self.port == other.port && self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// Why a text is not a list of hosts. Its message is about the list, such as "its second ...", and repeats nothing of the
/// text, as any part of it may be a misplaced password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostsError {
    /// There is no host.
    #[error("it names no host")]
    Empty,
    /// A host is missing between two commas, or before the first, or after the last.
    #[error("host {0} of its list is empty: hosts are separated by one comma each")]
    Missing(usize),
    /// A host has another form.
    #[error(
        "host {0} of its list is not host, host:port, [address] or [address]:port with a port from 1 to 65535"
    )]
    Malformed(usize),
    /// A host is there already.
    #[error("host {1} of its list is the same as host {0}")]
    Doubled(usize, usize),
    /// There are too many.
    #[error("its list has more than {MOST} hosts")]
    TooMany,
}

/// Parses hosts with commas between them, in their order. One without a port has the default one.
pub(crate) fn parse(text: &str, default_port: u16) -> Result<Vec<Host>, HostsError> {
    if text.trim().is_empty() {
        return Err(HostsError::Empty);
    }
    let mut hosts: Vec<Host> = Vec::new();
    for (number, entry) in (1..).zip(text.split(',').map(str::trim)) {
        if number > MOST {
            return Err(HostsError::TooMany);
        }
        if entry.is_empty() {
            return Err(HostsError::Missing(number));
        }
        let (name, port) = host_and_port(entry).ok_or(HostsError::Malformed(number))?;
        // A number is a port or a database of another form of DSN, and what stands beside it may be a password.
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostsError::Malformed(number));
        }
        let host = Host { name: name.to_owned(), port: port.unwrap_or(default_port) };
        if let Some(first) = hosts.iter().position(|other| other.is(&host)) {
            return Err(HostsError::Doubled(first + 1, number));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let hosts = parse(text, 7).map_err(|error| format!("{text}: {error}")).unwrap();
        hosts.iter().map(Host::to_string).collect()
    }

    #[test]
    fn hosts_keep_their_order_and_have_a_port() {
        let table: &[(&str, &[&str])] = &[
            ("h", &["h:7"]),
            ("h1:1,h2:2,[::1]:3", &["h1:1", "h2:2", "[::1]:3"]),
            ("b,a", &["b:7", "a:7"]),
            (" h1 , h2:9 ", &["h1:7", "h2:9"]),
            ("::1,[::1]:8,192.0.2.1", &["[::1]:7", "[::1]:8", "192.0.2.1:7"]),
            ("[fe80::1%eth0]:9", &["[fe80::1%eth0]:9"]),
            ("h:1,h:2,h", &["h:1", "h:2", "h:7"]),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), *expected, "{text}");
        }
        assert_eq!(parse("[::1]:3", 7).unwrap(), [Host { name: "::1".into(), port: 3 }]);
    }

    #[test]
    fn another_list_is_refused_by_its_position_and_not_shown() {
        let table = [
            ("", HostsError::Empty),
            (" ", HostsError::Empty),
            (",", HostsError::Missing(1)),
            ("h,", HostsError::Missing(2)),
            ("h,,i", HostsError::Missing(2)),
            ("h,:secret@i", HostsError::Malformed(2)),
            ("h:secret", HostsError::Malformed(1)),
            ("h:0", HostsError::Malformed(1)),
            ("h,i:65536", HostsError::Malformed(2)),
            ("h;secret", HostsError::Malformed(1)),
            ("h i", HostsError::Malformed(1)),
            ("[::1,h", HostsError::Malformed(1)),
            ("h,i/0", HostsError::Malformed(2)),
            ("h,6379,secret,0", HostsError::Malformed(2)),
            ("h,i,h", HostsError::Doubled(1, 3)),
            ("i,h:7,H", HostsError::Doubled(2, 3)),
            ("::1,[::1]:7", HostsError::Doubled(1, 2)),
        ];
        for (text, cause) in table {
            let error = parse(text, 7).expect_err(text);
            assert_eq!(error, cause, "{text}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let list = |count: usize| (1..=count).map(|port| format!("h:{port}")).collect::<Vec<_>>().join(",");
        assert_eq!(parse(&list(MOST), 7).unwrap().len(), MOST);
        assert_eq!(parse(&list(MOST + 1), 7).unwrap_err(), HostsError::TooMany);
        assert_eq!(parse(&list(1_000_000), 7).unwrap_err(), HostsError::TooMany);
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(any in any::<String>(), near in "[a-c0-9:,.\\[\\]% -]{0,40}") {
            for text in [any, near] {
                if let Ok(hosts) = parse(&text, 7) {
                    let again = hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(",");
                    prop_assert_eq!(parse(&again, 1).unwrap(), hosts);
                }
            }
        }
    }
}
