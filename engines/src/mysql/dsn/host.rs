//! Where a server listens.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::error::DsnError;

/// The port of MariaDB and MySQL.
pub(in super::super) const PORT: u16 = 3306;

/// Where the server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) enum Host {
    /// The unix socket where MySQL's clients look for it, or TCP if there is none.
    Local,
    Tcp(String, u16),
    Socket(PathBuf),
}

impl Host {
    /// Parses a name, an address or a path.
    pub(in super::super) fn parse(text: &str) -> Result<Self, DsnError> {
        if text.starts_with('/') {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        if text.is_empty() || text == "localhost" {
            return Ok(Self::Local);
        }
        let (name, port) = split_port(text).ok_or(DsnError::Host)?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || !(name.parse::<IpAddr>().is_ok() || name.bytes().all(known)) {
            return Err(DsnError::Host);
        }
        Ok(Self::Tcp(name.to_owned(), port))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("localhost"),
            Self::Tcp(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp(name, port) => write!(f, "{name}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Splits `name`, `name:port`, `[address]`, `[address]:port`, or an IPv6 address alone into the name and the
/// port.
fn split_port(text: &str) -> Option<(&str, u16)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, PORT));
    }
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':')?)),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let number = |digits: &str| {
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok().filter(|port| *port != 0))?
    };
    Some((name, port.map_or(Some(PORT), number)?))
}
