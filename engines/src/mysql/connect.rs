//! Connects to the server.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql::{Conn, Opts, OptsBuilder, SslOpts};

use super::dsn::{Dsn, Host, PORT, Tls, Verify};
use super::error::ClientError;
use super::table::TableError;
use super::timeouts::Timeouts;
use crate::tls;

/// How long one address may take. The engine's connector waits for less.
const ONE_ADDRESS: Duration = Duration::from_secs(1);
/// How many addresses of one name are tried.
const MOST_ADDRESSES: usize = 4;
/// Where servers put their unix socket: Debian and Fedora, and the server's own default.
const SOCKETS: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];
/// How many prepared statements a connection keeps: more than there are kinds and numbers of rows.
const STATEMENTS: usize = 64;
/// The largest packet in bytes, larger than any statement of the engine.
const LARGEST_PACKET: usize = 1 << 20;

/// Why there is no connection to the table.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Lookup(io::Error),
    #[error("its name has no address")]
    NoAddress,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Connects to the first address that accepts.
pub(super) fn connect(dsn: &Dsn, timeouts: Timeouts) -> Result<Conn, ConnectError> {
    if dsn.tls.is_some() {
        tls::choose_provider();
    }
    let mut last = ConnectError::NoAddress;
    for address in addresses(dsn)? {
        match Conn::new(opts(dsn, address, timeouts)).map_err(ClientError::from) {
            Ok(conn) => return Ok(conn),
            // The server is there and refuses the client; it does so at its other addresses, too.
            Err(error) if error.is_refusal() => return Err(error.into()),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Where a server may listen.
enum Address {
    Socket(PathBuf),
    Tcp(String, u16),
}

/// Returns the addresses to try, in this order. The client library stops at the first address of a name that
/// refuses.
fn addresses(dsn: &Dsn) -> Result<Vec<Address>, ConnectError> {
    let (name, port, socket) = match &dsn.host {
        Host::Socket(path) => return Ok(vec![Address::Socket(path.clone())]),
        Host::Tcp(name, port) => (name.as_str(), *port, None),
        Host::Local => ("localhost", PORT, SOCKETS.map(Path::new).into_iter().find(|path| path.exists())),
    };
    if dsn.tls.is_some() {
        // The certificate is for the name.
        return Ok(vec![Address::Tcp(name.to_owned(), port)]);
    }
    let addresses = (name, port).to_socket_addrs().map_err(ConnectError::Lookup)?;
    let tcp = |address: SocketAddr| Address::Tcp(address.ip().to_string(), port);
    let socket = socket.map(|path| Address::Socket(path.to_owned()));
    Ok(socket.into_iter().chain(addresses.take(MOST_ADDRESSES).map(tcp)).collect())
}

/// Returns the library's options. Every read and write of the connection has a time-out, also those that
/// close it.
fn opts(dsn: &Dsn, address: Address, timeouts: Timeouts) -> Opts {
    let builder = OptsBuilder::new()
        .user(Some(&dsn.user))
        .pass(Some(&dsn.password))
        .db_name(Some(&dsn.database))
        .prefer_socket(false)
        .tcp_nodelay(true)
        .tcp_connect_timeout(Some(ONE_ADDRESS))
        .read_timeout(Some(timeouts.answer))
        .write_timeout(Some(timeouts.answer))
        .stmt_cache_size(STATEMENTS)
        .max_allowed_packet(Some(LARGEST_PACKET))
        .ssl_opts(dsn.tls.as_ref().map(ssl_opts));
    match address {
        Address::Socket(path) => builder.socket(Some(path.to_string_lossy())),
        Address::Tcp(name, port) => builder.ip_or_hostname(Some(name)).tcp_port(port),
    }
    .into()
}

fn ssl_opts(tls: &Tls) -> SslOpts {
    SslOpts::default()
        .with_root_cert_path(tls.authorities.clone())
        .with_danger_accept_invalid_certs(tls.verify == Verify::Nothing)
        .with_danger_skip_domain_validation(tls.verify != Verify::Identity)
}
