//! The connections that are open, of which there is a limited number.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 8;
/// The time after which a connection without any traffic is closed. An operator can read an export page by page.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Vec<(u64, UnixStream)>>);

/// Why a connection is refused.
#[derive(Debug, Error)]
pub(super) enum RefusedConnection {
    #[error("{MAX_CONNECTIONS} others are connected already")]
    TooMany,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Connections {
    /// Registers a connection, unless there are too many; the client is told so.
    pub(super) fn add(&self, stream: UnixStream) -> Result<ConnectionGuard<'_>, RefusedConnection> {
        let mut open = self.lock();
        if open.len() >= MAX_CONNECTIONS {
            // The client has a new connection's whole buffer for this line; one that hung up needs none.
            let _ = writeln!(&stream, "failed {}", RefusedConnection::TooMany);
            return Err(RefusedConnection::TooMany);
        }
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
        stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
        let id = open.last().map_or(0, |(id, _)| id + 1);
        open.push((id, stream.try_clone()?));
        Ok(ConnectionGuard { connections: self, id, stream })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, UnixStream)>> {
        // No code panics while the list is half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is registered until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard<'a> {
    connections: &'a Connections,
    id: u64,
    stream: UnixStream,
}

impl ConnectionGuard<'_> {
    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

impl Drop for ConnectionGuard<'_> {
    fn drop(&mut self) {
        self.connections.lock().retain(|(id, _)| *id != self.id);
    }
}

/// Closes all connections when it is dropped, so that none of them keeps the server from stopping.
#[derive(Debug)]
pub(super) struct DisconnectOnDrop<'a>(pub(super) &'a Connections);

impl Drop for DisconnectOnDrop<'_> {
    fn drop(&mut self) {
        for (_, stream) in &*self.0.lock() {
            // The client can have closed its side already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
