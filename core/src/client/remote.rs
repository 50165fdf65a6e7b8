//! A client's servers and its credentials for each.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use crate::client::accounts;
use crate::client::credentials::Credentials;
use crate::client::host::{client_lines, parse_host, parse_port};
use crate::user_file::{UserFile, Warning, has_content};

/// The public server: the default of a client that names no server.
const PUBLIC: (&str, u16) = ("public.pyzor.org", 24441);

/// A server that requests are sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Remote {
    /// Its address or name, in lower case.
    pub host: Box<str>,
    /// Its UDP port.
    pub port: u16,
    /// The user and key that sign requests to it.
    pub credentials: Credentials,
}

impl Remote {
    /// Returns a server that is asked anonymously.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_lowercase().into(), port, credentials: Credentials::anonymous() }
    }

    /// Parses a client's files `servers`, one `host:port` per line, and `accounts`, one `host : port : user : salt,key`
    /// per line; `None` for an absent one. A server without an account is asked anonymously.
    ///
    /// Parsing never fails: a line that is not understood is skipped with a warning. A file without lines means the public
    /// server. If it has lines and none is understood, there is no server: a misspelling must not send everything to
    /// strangers. IPv6 addresses may stand in brackets.
    #[must_use]
    pub fn parse(servers: Option<&[u8]>, accounts: Option<&[u8]>) -> (Vec<Self>, Vec<Warning>) {
        let mut warnings = Vec::new();
        let mut remotes = parse_servers(servers.unwrap_or_default(), &mut warnings);
        if remotes.is_empty() && !has_content(UserFile::Servers, servers.unwrap_or_default()) {
            let (host, port) = PUBLIC;
            let text = alloc::format!("it names no server: the public one, {host}:{port}, is used");
            warnings.push(Warning::on_file(UserFile::Servers, text));
            remotes.push(Self::new(host, port));
        }
        for account in accounts::parse(accounts.unwrap_or_default(), &mut warnings) {
            let same = |remote: &&mut Self| (&remote.host, remote.port) == (&account.host, account.port);
            let Some(remote) = remotes.iter_mut().find(same) else {
                let text = "the servers file does not name this host and port";
                warnings.push(Warning::on_line(UserFile::ClientAccounts, account.line, text));
                continue;
            };
            if !remote.credentials.are_anonymous() {
                let text = "the server has an earlier line: this one counts";
                warnings.push(Warning::on_line(UserFile::ClientAccounts, account.line, text));
            }
            remote.credentials = account.credentials;
        }
        (remotes, warnings)
    }

    /// Returns its address; `None` if the host is a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

fn parse_servers(text: &[u8], warnings: &mut Vec<Warning>) -> Vec<Remote> {
    let mut remotes: Vec<Remote> = Vec::new();
    for (number, line) in client_lines(UserFile::Servers, text, warnings) {
        let mut warn = |text: &'static str| warnings.push(Warning::on_line(UserFile::Servers, number, text));
        let Some((host, port)) = line.rsplit_once(':') else {
            warn("skipped: a line is `host:port`");
            continue;
        };
        let (Some(host), Some(port)) = (parse_host(host), parse_port(port)) else {
            warn("skipped: this is not a host and a port");
            continue;
        };
        if remotes.iter().any(|remote| *remote.host == *host && remote.port == port) {
            warn("skipped: an earlier line names the same server");
            continue;
        }
        remotes.push(Remote::new(&host, port));
    }
    remotes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    fn names(servers: &str) -> Vec<String> {
        Remote::parse(Some(servers.as_bytes()), None).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_read_as_python_reads_them_and_ipv6_too() {
        for (text, expected) in [
            ("", &["public.pyzor.org:24441"][..]),
            ("# a:1\n\n", &["public.pyzor.org:24441"]),
            ("a.example:1\r\n  B.example:2  \n", &["a.example:1", "b.example:2"]),
            ("192.0.2.1:24441\n[2001:DB8::1]:5\n::1:7", &["192.0.2.1:24441", "[2001:db8::1]:5", "[::1]:7"]),
        ] {
            assert_eq!(names(text), expected, "{text:?}");
        }
    }

    /// A port that was forgotten sent everything to the public server.
    #[test]
    fn lines_that_are_not_understood_do_not_mean_the_public_server() {
        for text in [
            "pyzor.example.org",
            "pyzor.example.org 24441",
            "pyzor.example.org:24441 # ours",
            "# ours\npyzor.example.org:0",
            "\u{feff}pyzor.example.org",
        ] {
            let (remotes, warnings) = Remote::parse(Some(text.as_bytes()), None);
            assert_eq!(remotes, [], "{text:?}");
            assert!(warnings.iter().any(|warning| warning.line.is_some()), "{text:?}");
        }
        let (remotes, warnings) = Remote::parse(Some(b"\xff\xfea\0:\x001\0"), None);
        assert_eq!((remotes.len(), warnings.len()), (0, 1), "UTF-16");
        assert_eq!(names("\u{feff}pyzor.example.org:24441"), ["pyzor.example.org:24441"]);
    }

    #[test]
    fn bad_lines_are_skipped_with_their_number() {
        let text = "a:1\nb\nc:0\nd:65536\ne f:1\na:1\n[g]:1\n:5\n1:2:3";
        let (remotes, warnings) = Remote::parse(Some(text.as_bytes()), None);
        assert_eq!(remotes, [Remote::new("a", 1)]);
        let lines: Vec<usize> = warnings.iter().filter_map(|warning| warning.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(warnings.iter().all(|warning| warning.file == UserFile::Servers));
    }

    #[test]
    fn an_account_belongs_to_the_server_of_its_host_and_port() {
        let servers = b"a:1\na:2\n[::1]:3";
        let accounts = "A : 2 : bob : ,KEY\n::1:3:eve:s,KEY\nb : 1 : mallory : ,KEY\na:2:carol:,KEY";
        let accounts = accounts.replace("KEY", "d6598b6de54bf3a52dc173579fa39af046eaac1b");
        let (remotes, warnings) = Remote::parse(Some(servers), Some(accounts.as_bytes()));
        let users: Vec<&[u8]> = remotes.iter().map(|remote| remote.credentials.user()).collect();
        assert_eq!(users, [&b"anonymous"[..], b"carol", b"eve"]);
        let lines: Vec<usize> = warnings.iter().filter_map(|warning| warning.line).collect();
        assert_eq!(lines, [3, 4]);
    }

    proptest! {
        #[test]
        fn any_files_have_servers_or_a_warning(servers: Vec<u8>, accounts: Vec<u8>) {
            let (remotes, warnings) = Remote::parse(Some(&servers), Some(&accounts));
            prop_assert!(!remotes.is_empty() || !warnings.is_empty());
        }

        #[test]
        fn what_was_written_is_read_back(
            servers in proptest::collection::btree_set(("[a-z0-9][a-z0-9.-]{0,20}|::[1-9]", 1..u16::MAX), 1..8)
        ) {
            let remotes: Vec<Remote> = servers.iter().map(|(host, port)| Remote::new(host, *port)).collect();
            let lines: Vec<String> = remotes.iter().map(ToString::to_string).collect();
            let (read, warnings) = Remote::parse(Some(lines.join("\n").as_bytes()), None);
            prop_assert!(warnings.is_empty());
            prop_assert_eq!(read, remotes);
        }
    }
}
