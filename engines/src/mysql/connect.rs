//! Connects to the server.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mysql::Error;
use rustls::ClientConfig;

use super::client::Client;
use super::dsn::{Dsn, Host, PORT};
use super::error::ClientError;
use super::handshake::log_in;
use super::table::TableError;
use super::timeouts::Timeouts;
use super::trust;
use crate::wire::{Deadline, Limits, Socket, addresses, connect_tcp, connect_unix};

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
}

/// Connects to the first address that accepts, and logs in. Each address has an equal share of the time.
pub(super) fn connect(dsn: &Dsn, timeouts: Timeouts) -> Result<Client, ConnectError> {
    // A busy server is slow to greet.
    let timeouts = timeouts.for_handshake();
    let (name, port, socket) = match &dsn.host {
        Host::Socket(path) => return local(path, dsn, limits(Deadline::after(timeouts.handshake), timeouts)),
        Host::Tcp(name, port) => (name.as_str(), *port, None),
        Host::Local => ("localhost", PORT, SOCKETS.map(Path::new).into_iter().find(|path| path.exists())),
    };
    let tls = dsn.tls.as_ref().map(trust::config).transpose().map_err(ConnectError::Tls)?;
    let addresses = addresses(name, port).map_err(ConnectError::Socket)?;
    let share = timeouts.handshake / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let over_tcp = addresses.into_iter().map(|address| {
        let limits = limits(Deadline::after(share), timeouts);
        over(connect_tcp(address, limits), dsn, tls.clone().map(|config| (config, name)), limits)
    });
    let over_socket = socket.filter(|_| tls.is_none()).map(|path| {
        let limits = limits(Deadline::after(share), timeouts);
        local(path, dsn, limits)
    });
    let mut last = None;
    for connected in over_socket.into_iter().chain(over_tcp) {
        match connected {
            // The server is there and refuses the client; it does so at its other addresses, too.
            Err(ConnectError::Client(error)) if error.is_refusal() => return Err(error.into()),
            Err(error) => last = Some(error),
            connected => return connected,
        }
    }
    Err(last.unwrap_or_else(|| ConnectError::Socket(io::ErrorKind::NotFound.into())))
}

/// Returns the limits of an exchange with this deadline.
pub(super) fn limits(deadline: Deadline, timeouts: Timeouts) -> Limits {
    Limits { deadline, pause: timeouts.pause, reply: LARGEST_REPLY }
}

fn local(path: &Path, dsn: &Dsn, limits: Limits) -> Result<Client, ConnectError> {
    over(connect_unix(path, limits), dsn, None, limits)
}

fn over(
    socket: io::Result<Socket>,
    dsn: &Dsn,
    tls: Option<(Arc<ClientConfig>, &str)>,
    limits: Limits,
) -> Result<Client, ConnectError> {
    let socket = socket.map_err(ConnectError::Socket)?;
    log_in(socket, dsn, tls, limits).map_err(|error: Error| ClientError::from(error).into())
}
