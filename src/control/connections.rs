//! The connections that are open: a limited number, of which the idle ones give way.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::Tick;
use thiserror::Error;

/// The most connections at a time. One more closes the one that has been idle for longest.
const MAX_CONNECTIONS: usize = 32;
/// The most connections that use the database, each with a thread that can wait for it. They do not give way.
const MAX_DATABASE_USERS: usize = 8;
/// The time that a client has for each part of a request. A client connects when it has one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after which a connection that uses the database is closed without any traffic. An operator can read an export
/// page by page.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(600);

/// All open connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<Vec<Open>>,
    /// The connections whose thread has not ended.
    running: AtomicUsize,
    database_users: AtomicUsize,
}

#[derive(Debug)]
struct Open {
    id: u64,
    stream: UnixStream,
    /// Since when the server waits for a request; `None` while the connection must not be closed.
    idle_since: Option<Tick>,
}

/// Why a connection is refused.
#[derive(Debug, Error)]
pub(super) enum RefusedConnection {
    #[error("{MAX_CONNECTIONS} others are connected already")]
    TooMany,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The database has all the users that it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{MAX_DATABASE_USERS} others use the database already")]
pub(super) struct TooManyUsers;

impl Connections {
    /// Registers a connection. If there are too many, an idle one is closed for it, or the client is told so.
    pub(super) fn add(&self, stream: UnixStream, now: Tick) -> Result<ConnectionGuard, RefusedConnection> {
        let mut open = self.0.lock();
        if open.len() >= MAX_CONNECTIONS && !close_idle(&mut open) {
            // The client has a new connection's whole buffer for this line; one that hung up needs none.
            let _ = writeln!(&stream, "failed {}", RefusedConnection::TooMany);
            return Err(RefusedConnection::TooMany);
        }
        stream.set_nonblocking(false)?;
        set_timeout(&stream, REQUEST_TIMEOUT)?;
        let id = open.last().map_or(0, |last| last.id + 1);
        open.push(Open { id, stream: stream.try_clone()?, idle_since: Some(now) });
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectionGuard { connections: self.clone(), id, stream, uses_database: false })
    }

    /// Closes all of them, so that none keeps the server from stopping.
    pub(super) fn close(&self) {
        self.0.lock().iter().for_each(|open| disconnect(&open.stream));
    }

    /// Whether the threads of all connections have ended.
    pub(super) fn have_ended(&self) -> bool {
        self.0.running.load(Ordering::Relaxed) == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        // No code panics while the list is half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is registered until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    connections: Connections,
    id: u64,
    stream: UnixStream,
    uses_database: bool,
}

impl ConnectionGuard {
    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The server waits for a request from here on: the connection may be closed, unless it uses the database.
    pub(super) fn wait(&self, now: Tick) {
        self.set_idle(Some(now).filter(|_| !self.uses_database));
    }

    /// The server works on a request from here on.
    pub(super) fn work(&self) {
        self.set_idle(None);
    }

    /// Makes the connection one that uses the database.
    pub(super) fn use_database(&mut self) -> Result<(), TooManyUsers> {
        let users = &self.connections.0.database_users;
        let more = |users: usize| (users < MAX_DATABASE_USERS).then_some(users + 1);
        if !self.uses_database {
            users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| TooManyUsers)?;
            self.uses_database = true;
            // The shorter time holds if the system refuses another one.
            let _ = set_timeout(&self.stream, DATABASE_TIMEOUT);
        }
        Ok(())
    }

    /// Leaves the stream open for the end of the server: it is neither closed for another one nor by a stop.
    pub(super) fn release(&self) {
        self.connections.0.lock().retain(|open| open.id != self.id);
    }

    fn set_idle(&self, since: Option<Tick>) {
        if let Some(open) = self.connections.0.lock().iter_mut().find(|open| open.id == self.id) {
            open.idle_since = since;
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.release();
        let shared = &self.connections.0;
        if self.uses_database {
            shared.database_users.fetch_sub(1, Ordering::Relaxed);
        }
        shared.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes the connection that has been idle for longest. Returns whether there is one.
fn close_idle(open: &mut Vec<Open>) -> bool {
    let idle = open.iter().enumerate().filter_map(|(index, open)| Some((open.idle_since?, index)));
    let Some((_, index)) = idle.min() else { return false };
    disconnect(&open.remove(index).stream);
    true
}

fn disconnect(stream: &UnixStream) {
    // The client can have closed its side already.
    let _ = stream.shutdown(Shutdown::Both);
}

fn set_timeout(stream: &UnixStream, timeout: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    fn add(connections: &Connections, now: u64) -> (Result<ConnectionGuard, RefusedConnection>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (connections.add(ours, at(now)), theirs)
    }

    /// Eight idle connections kept every other client of the socket out for ten minutes.
    #[test]
    fn the_longest_idle_connection_gives_way_and_a_busy_one_stays() {
        let connections = Connections::default();
        let mut all: Vec<_> = (0..MAX_CONNECTIONS as u64).map(|now| add(&connections, now)).collect();
        all[0].0.as_ref().unwrap().work();
        all[1].0.as_mut().unwrap().use_database().unwrap();
        all[1].0.as_ref().unwrap().wait(at(0));
        all[2].0.as_ref().unwrap().wait(at(500));
        let (more, _theirs) = add(&connections, 1000);
        more.unwrap();
        // The fourth has waited since the earliest moment of those that wait.
        assert_eq!(all[3].1.read(&mut [0]).unwrap(), 0);
        for index in [0, 1, 2, 4] {
            all[index].1.set_nonblocking(true).unwrap();
            assert!(all[index].1.read(&mut [0]).is_err(), "{index}");
        }
        all.iter().for_each(|(connection, _)| connection.as_ref().unwrap().work());
        let (taken, _one) = add(&connections, 2000);
        let taken = taken.unwrap();
        taken.work();
        let (refused, mut other) = add(&connections, 2000);
        assert!(matches!(refused, Err(RefusedConnection::TooMany)));
        let mut told = String::new();
        drop(refused);
        other.read_to_string(&mut told).unwrap();
        assert_eq!(told, "failed 32 others are connected already\n");
        assert!(!connections.have_ended());
        drop((all, taken));
        assert!(connections.have_ended());
    }

    #[test]
    fn few_connections_use_the_database() {
        let connections = Connections::default();
        let mut all: Vec<_> = (0..=MAX_DATABASE_USERS).map(|_| add(&connections, 0).0.unwrap()).collect();
        let mut last = all.pop().unwrap();
        for user in &mut all {
            user.use_database().unwrap();
            user.use_database().unwrap();
        }
        assert_eq!(last.use_database(), Err(TooManyUsers));
        all.pop();
        last.use_database().unwrap();
    }
}
