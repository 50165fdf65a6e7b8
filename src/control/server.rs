//! The server's side of the control socket: accepts connections and serves each on a thread of its own.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

use pyzord_engines::RecordStore;
use pyzord_runtime::Clock;

use super::connections::{ConnectionGuard, Connections, DisconnectOnDrop};
use super::listener::{Accepted, ControlListener};
use super::protocol::socket_path;
use super::session::Session;

/// Opens another handle on the server's database.
pub(crate) type OpenHandle = Box<dyn Fn() -> Box<dyn RecordStore> + Send + Sync>;

/// A control socket that accepts connections.
pub(crate) struct ControlServer {
    listener: ControlListener,
    open_handle: OpenHandle,
}

impl ControlServer {
    /// Listens beside a database that this process has open. If that fails, it logs a warning: the server can do
    /// without.
    pub(crate) fn bind(database: &Path, open_handle: OpenHandle) -> Option<Self> {
        let path = socket_path(database);
        match ControlListener::bind(path.clone()) {
            Ok(listener) => Some(Self { listener, open_handle }),
            Err(error) => {
                log::warn!(
                    "control socket {}: {error}; pyzorctl cannot use the database while this server runs",
                    path.display()
                );
                None
            }
        }
    }

    /// Serves until the peer of `end` is closed.
    pub(crate) fn serve(&self, end: &UnixStream, clock: Clock) {
        let connections = &Connections::default();
        thread::scope(|scope| {
            // The scope ends when all sessions have ended, so they must end even if this thread panics.
            let _disconnect = DisconnectOnDrop(connections);
            loop {
                let stream = match self.listener.accept(end) {
                    Accepted::Connection(stream) => stream,
                    Accepted::Nothing => continue,
                    Accepted::Stop => return,
                };
                let connection = match connections.add(stream) {
                    Ok(connection) => connection,
                    Err(error) => {
                        log::debug!("control socket {}: {error}", self.listener.path().display());
                        continue;
                    }
                };
                let session = move || self.run_session(&connection, clock);
                // If the thread cannot be spawned, the closure is dropped, and the connection with it.
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, session) {
                    log::warn!(
                        "control socket {}: a connection is closed, as there is no thread for it: {error}",
                        self.listener.path().display()
                    );
                }
            }
        });
    }

    fn run_session(&self, connection: &ConnectionGuard<'_>, clock: Clock) {
        let session = Session::new((self.open_handle)(), clock);
        // A bug in a session must not end the server.
        if catch_unwind(AssertUnwindSafe(|| session.run(connection.stream()))).is_err() {
            log::error!(
                "control socket {}: a connection is closed after an internal error",
                self.listener.path().display()
            );
        }
    }
}

impl fmt::Debug for ControlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlServer").field("listener", &self.listener).finish_non_exhaustive()
    }
}
