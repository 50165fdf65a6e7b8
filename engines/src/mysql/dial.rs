//! How a connection is made: on a thread of its own, as names may be slow to resolve, and connecting to a unix
//! socket may wait without end while the server hangs.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::tz::TimeZone;
use mysql::{Conn, Error, Opts, OptsBuilder, SslOpts};

use super::Timeouts;
use super::dsn::{Dsn, Host, PORT, Tls, Verify};
use super::fault::cause;
use super::session::Session;

/// How long one address may take. Nobody waits that long, see [`Dial::call`].
const ONE_ADDRESS: Duration = Duration::from_secs(1);
/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;
/// Where servers put their unix socket: Debian and Fedora, the server's own default.
const SOCKETS: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];
/// A statement for each number of rows, of each kind, and some more.
const STATEMENTS: usize = 64;
/// More than any of our statements needs.
const LARGEST_PACKET: usize = 1 << 20;

/// Makes connections, one at a time.
#[derive(Debug)]
pub(super) struct Dial {
    dsn: Arc<Dsn>,
    timeouts: Timeouts,
    zone: TimeZone,
    under_way: Option<Receiver<Result<Session, String>>>,
}

impl Dial {
    pub(super) fn new(dsn: Arc<Dsn>, timeouts: Timeouts, zone: TimeZone) -> Self {
        Self { dsn, timeouts, zone, under_way: None }
    }

    /// A connection, when it is made soon enough. One that takes longer goes on, and a later call gets it: so there
    /// is never more than one thread, and a server that is slow to let us in is reached in the end.
    pub(super) fn call(&mut self) -> Result<Session, String> {
        let (receiver, wait) = match self.under_way.take() {
            Some(receiver) => (receiver, Duration::ZERO),
            None => (self.start()?, self.timeouts.connect),
        };
        match receiver.recv_timeout(wait) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                self.under_way = Some(receiver);
                Err("connecting takes too long".to_owned())
            }
            Err(RecvTimeoutError::Disconnected) => Err("connecting failed for no known cause".to_owned()),
        }
    }

    fn start(&self) -> Result<Receiver<Result<Session, String>>, String> {
        let (sender, receiver) = sync_channel(1);
        let (dsn, timeouts, zone) = (Arc::clone(&self.dsn), self.timeouts, self.zone.clone());
        let work = move || {
            let session = connect(&dsn, timeouts).and_then(|conn| Session::new(conn, &dsn, zone));
            // Nobody receives it when the engine is gone.
            let _ = sender.send(session);
        };
        let started = thread::Builder::new().name("mysql-connect".to_owned()).spawn(work);
        started.map(|_| receiver).map_err(|error| format!("no thread to connect with: {error}"))
    }
}

/// Connects to the first place that accepts.
pub(super) fn connect(dsn: &Dsn, timeouts: Timeouts) -> Result<Conn, String> {
    if dsn.tls.is_some() {
        // Fails when it was chosen before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut last = "its name has no address".to_owned();
    for place in places(dsn)? {
        match Conn::new(opts(dsn, place, timeouts)) {
            Ok(conn) => return Ok(conn),
            // The server is there and does not want us; it would not at its other addresses.
            Err(error @ Error::MySqlError(_)) => return Err(cause(&error)),
            Err(error) => last = cause(&error),
        }
    }
    Err(last)
}

/// Where a server may listen.
enum Place {
    Socket(PathBuf),
    Tcp(String, u16),
}

/// Where to try, in this order. The client library would give up at the first address of a name that refuses.
fn places(dsn: &Dsn) -> Result<Vec<Place>, String> {
    let (name, port, socket) = match &dsn.host {
        Host::Socket(path) => return Ok(vec![Place::Socket(path.clone())]),
        Host::Tcp(name, port) => (name.as_str(), *port, None),
        Host::Local => ("localhost", PORT, SOCKETS.map(Path::new).into_iter().find(|path| path.exists())),
    };
    if dsn.tls.is_some() {
        // The certificate is for the name.
        return Ok(vec![Place::Tcp(name.to_owned(), port)]);
    }
    let addresses = (name, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let tcp = |address: SocketAddr| Place::Tcp(address.ip().to_string(), port);
    let socket = socket.map(|path| Place::Socket(path.to_owned()));
    Ok(socket.into_iter().chain(addresses.take(MOST_ADDRESSES).map(tcp)).collect())
}

/// Every read and write of the connection has a time-out, the last words to a server that hangs included.
fn opts(dsn: &Dsn, place: Place, timeouts: Timeouts) -> Opts {
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
    match place {
        Place::Socket(path) => builder.socket(Some(path.to_string_lossy())),
        Place::Tcp(name, port) => builder.ip_or_hostname(Some(name)).tcp_port(port),
    }
    .into()
}

fn ssl_opts(tls: &Tls) -> SslOpts {
    SslOpts::default()
        .with_root_cert_path(tls.authorities.clone())
        .with_danger_accept_invalid_certs(tls.verify == Verify::Nothing)
        .with_danger_skip_domain_validation(tls.verify != Verify::Identity)
}
