//! The server's side of the control socket: accepts connections and serves each on a thread of its own.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyzord_engines::RecordStore;
use pyzord_runtime::Clock;

use super::commands::OperatorCommands;
use super::connections::{ConnectionGuard, Connections};
use super::listener::{Accepted, ControlListener};
use super::operator::{Operator, OwnAccount};
use super::session::Session;

/// Opens another handle on the server's database.
pub(crate) type OpenHandle = Box<dyn Fn() -> Box<dyn RecordStore> + Send + Sync>;
/// Writes the status document on one line. It must not wait for the database.
pub(crate) type WriteDocument = Box<dyn Fn() -> serde_json::Result<String> + Send + Sync>;

/// How long the end of the server waits for its connections.
const END: Duration = Duration::from_secs(1);

/// What the server does for operators.
pub(crate) struct ControlHost {
    /// `None` if `pyzorctl` opens the database itself, beside the server.
    pub(crate) open_handle: Option<OpenHandle>,
    /// The file of that database.
    pub(crate) database: PathBuf,
    pub(crate) commands: Arc<OperatorCommands>,
    pub(crate) clock: Clock,
    pub(crate) document: WriteDocument,
}

/// A control socket that is served. Neither a thread that waits for the database nor a client keeps it from its end.
#[derive(Debug)]
pub(crate) struct ControlServer {
    accepting: JoinHandle<()>,
    connections: Connections,
    clock: Clock,
    running: UnixStream,
}

impl ControlServer {
    /// Starts to serve.
    pub(crate) fn start(listener: ControlListener, host: ControlHost) -> io::Result<Self> {
        let (running, ended) = UnixStream::pair()?;
        let (connections, clock) = (Connections::default(), host.clock);
        let acceptor = Acceptor { listener, connections: connections.clone(), host: Arc::new(host) };
        let thread = thread::Builder::new().name("control".into());
        let accepting = thread.spawn(move || acceptor.serve(&ended))?;
        Ok(Self { accepting, connections, clock, running })
    }

    /// Closes the socket and all connections. Returns whether all threads have ended: one that waits for the database is
    /// left alone, and ends with the process.
    pub(crate) fn end(self) -> bool {
        let Self { accepting, connections, clock, running } = self;
        drop(running);
        let end = clock.tick().after(END);
        let has_ended = || accepting.is_finished() && connections.have_ended();
        while !has_ended() && clock.tick() < end {
            thread::sleep(Duration::from_millis(1));
        }
        has_ended()
    }
}

/// Accepts connections.
struct Acceptor {
    listener: ControlListener,
    connections: Connections,
    host: Arc<ControlHost>,
}

impl Acceptor {
    /// Serves until the peer of `end` is closed.
    fn serve(self, end: &UnixStream) {
        let account = OwnAccount::find();
        loop {
            match self.listener.accept(end) {
                Accepted::Connection(stream) => self.admit(stream, &account),
                Accepted::Nothing => (),
                Accepted::Stop => break,
            }
        }
        self.connections.close();
    }

    fn admit(&self, stream: UnixStream, account: &OwnAccount) {
        let path = self.listener.path().display();
        let operator = match Operator::of(&stream, account) {
            Ok(Some(operator)) => operator,
            Ok(None) => return refuse(&stream),
            Err(error) => return log::debug!("control socket {path}: {error}"),
        };
        let connection = match self.connections.add(stream, self.host.clock.tick()) {
            Ok(connection) => connection,
            Err(error) => return log::debug!("control socket {path}: {error}"),
        };
        let host = Arc::clone(&self.host);
        // If the thread cannot be spawned, the closure is dropped, and the connection with it.
        let session = move || run_session(&host, connection, operator);
        if let Err(error) = thread::Builder::new().name("control".into()).spawn(session) {
            log::warn!(
                "control socket {path}: a connection is closed, as there is no thread for it: {error}"
            );
        }
    }
}

impl fmt::Debug for ControlHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlHost").field("database", &self.database).finish_non_exhaustive()
    }
}

fn run_session(host: &ControlHost, connection: ConnectionGuard, operator: Operator) {
    // A bug in a session must not end the server.
    let served = catch_unwind(AssertUnwindSafe(|| Session::new(host, connection, operator).run()));
    if served.is_err() {
        log::error!("control socket: a connection is closed after an internal error");
    }
}

fn refuse(stream: &UnixStream) {
    use std::io::Write as _;
    // The client has a new connection's whole buffer for this line; one that hung up needs none.
    let _ = writeln!(&*stream, "failed only root and the account of the server may use this socket");
}
