//! Connects to one host.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mysql::Error;

use super::client::Client;
use super::dsn::{Host, PORT};
use super::error::ClientError;
use super::handshake::log_in;
use super::servers::Servers;
use super::table::TableError;
use super::timeouts::Timeouts;
use super::trust;
use crate::wire::{Deadline, Limits, connect_tcp, connect_unix};

/// Where servers put their unix socket: Debian and Fedora, and the server's own default.
const SOCKETS: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];
/// The largest reply in bytes: many times that of the longest list of records.
const LARGEST_REPLY: usize = 16 << 20;

/// Why there is no connection to the table.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Socket(io::Error),
    #[error("{0}")]
    Tls(trust::TrustError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Table(#[from] TableError),
    /// The causes of all hosts.
    #[error("no host can be used: {0}")]
    Hosts(String),
}

impl ConnectError {
    /// Returns whether the server, or the network, was silent for too long.
    pub(super) fn is_timeout(&self) -> bool {
        match self {
            Self::Socket(error) => {
                matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
            }
            Self::Client(error) | Self::Table(TableError::Client(error)) => error.is_timeout(),
            Self::Tls(_) | Self::Table(_) | Self::Hosts(_) => false,
        }
    }

    /// Returns whether the server is there and does not let the user in: it does not at its other addresses, either.
    pub(super) fn is_no_access(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_no_access())
    }
}

/// One of the places where a host may be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Address<'a> {
    Socket(PathBuf),
    /// With the name that its certificate has.
    Tcp(SocketAddr, &'a str),
}

/// Returns the places where a host may be reached.
pub(super) fn addresses_of<'a>(
    servers: &'a Servers,
    number: usize,
    host: &'a Host,
    deadline: Deadline,
) -> Result<Vec<Address<'a>>, ConnectError> {
    let (name, port, socket) = match host {
        Host::Socket(path) => return Ok(vec![Address::Socket(path.clone())]),
        Host::Tcp(name, port) => (name.as_str(), *port, None),
        Host::Local => ("localhost", PORT, SOCKETS.map(Path::new).into_iter().find(|path| path.exists())),
    };
    let socket = socket.filter(|_| servers.dsn.tls.is_none()).map(|path| Address::Socket(path.to_owned()));
    let found = servers.look_up(number, name, port, deadline).map_err(ConnectError::Socket)?;
    let over_tcp = found.into_iter().map(|address| Address::Tcp(address, name));
    Ok(socket.into_iter().chain(over_tcp).collect())
}

/// Connects to an address, and logs in.
pub(super) fn connect(
    servers: &Servers,
    address: &Address<'_>,
    limits: Limits,
) -> Result<Client, ConnectError> {
    let dsn = &servers.dsn;
    let (socket, tls) = match address {
        Address::Socket(path) => (connect_unix(path, limits), None),
        Address::Tcp(address, name) => {
            let tls = dsn.tls.as_ref().map(trust::config).transpose().map_err(ConnectError::Tls)?;
            (connect_tcp(*address, limits), tls.map(|config| (config, *name)))
        }
    };
    let socket = socket.map_err(ConnectError::Socket)?;
    log_in(socket, dsn, tls, limits).map_err(|error: Error| ClientError::from(error).into())
}

/// Returns the limits of an exchange with this deadline.
pub(super) fn limits(deadline: Deadline, timeouts: Timeouts) -> Limits {
    Limits { deadline, pause: timeouts.pause, reply: LARGEST_REPLY }
}
