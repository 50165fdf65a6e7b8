//! Where a server listens.

use std::fmt;
use std::path::PathBuf;

use super::error::DsnError;
use crate::address::host_and_port;

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
        let (name, port) = host_and_port(text).ok_or(DsnError::Host)?;
        Ok(Self::Tcp(name.to_owned(), port.unwrap_or(PORT)))
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
