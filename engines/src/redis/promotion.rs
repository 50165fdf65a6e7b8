//! A replica that is promoted while its master is gone, for a DSN that names one server.
//!
//! While the server is a master, it names its copies and the id of its data (INFO). When it cannot be reached, or has
//! become a replica, those copies are asked. One is used only if it calls itself a master, and has the id of the lost
//! master as that of its own past, which a promoted copy keeps. One that had not copied anything yet has no such id; it is
//! used if it is the process that called itself a copy while the master lived. So neither a copy that was detached before,
//! nor another redis that has the announced address by now, gets a record. The configured server is used again as soon as it
//! is a master and the other one is not.
//!
//! What is known is lost when the process ends. Sentinels, in the DSN, know it for good.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};

use super::connection::{Connection, ConnectionError, greeting_limits};
use super::role::{Description, Identity, Role};
use super::validity::Epoch;
use crate::hosts::Host;
use crate::wire::Deadline;

/// How long a copy has to greet, and to say what it is.
const GREETING: Duration = Duration::from_secs(1);
/// How old the list of copies may be when the master is lost. With any load it is some seconds old.
const FRESH: Duration = Duration::from_secs(120);
/// How many copies are asked.
const MOST_ASKED: usize = 8;
/// Some proxies close a connection on a command that they do not know: after so many losses they are not asked.
const MOST_HUNG_UP: u8 = 3;

/// One server, and its copies. All engines of a DSN share it.
pub(super) struct Configured {
    pub(super) info: ConnectionInfo,
    state: Mutex<State>,
    epoch: Epoch,
    /// How many times in a row a connection was lost by the question for its role.
    hung_up: AtomicU8,
}

#[derive(Default)]
struct State {
    /// The last master, as it described itself.
    known: Option<Master>,
    /// The promoted copy that is used.
    followed: Option<Host>,
}

/// A master, as it described itself.
struct Master {
    identity: Identity,
    /// The processes of copies, as they were while it lived.
    witnessed: Vec<(Host, String)>,
    /// Until when the list of copies is fresh; `None` once the master was lost.
    fresh: Option<Deadline>,
}

impl Master {
    /// Returns whether this server, which calls itself a master, was promoted in the place of this one.
    fn is_succeeded_by(&self, host: &Host, identity: &Identity) -> bool {
        let is_witnessed =
            |process: &String| self.witnessed.iter().any(|(other, known)| other == host && known == process);
        identity.succeeds(&self.identity) || identity.process.as_ref().is_some_and(is_witnessed)
    }
}

impl Configured {
    pub(super) fn new(info: ConnectionInfo) -> Self {
        let (state, epoch, hung_up) = (Mutex::default(), Epoch::default(), AtomicU8::new(0));
        Self { info, state, epoch, hung_up }
    }

    /// Connects to the server, whatever it is.
    pub(super) fn dial(&self, limit: Duration) -> Result<Connection, ConnectionError> {
        Connection::open(&self.info, limit)
    }

    /// Connects to the server, or to the copy that was promoted in its place.
    pub(super) fn dial_master(self: &Arc<Self>, limit: Duration) -> Result<Connection, ConnectionError> {
        let end = Deadline::after(limit);
        let followed = self.state().followed.clone();
        if let Some(connection) = followed.and_then(|host| self.open_successor(&host)) {
            return Ok(connection);
        }
        let left = end.left().ok_or(ConnectionError::TimedOut)?;
        // Half of the time is the copies', if there are some.
        let has_copies = self.state().known.as_ref().is_some_and(|master| !master.identity.copies.is_empty());
        match self.open(if has_copies { left / 2 } else { left }) {
            Ok(connection) if connection.is_replica => {
                Ok(self.follow("the server has become a replica").unwrap_or(connection))
            }
            Ok(connection) => {
                self.came_back();
                self.witness();
                Ok(connection)
            }
            Err(error) => self.follow(&error).ok_or(error),
        }
    }

    /// Remembers a master and its copies.
    pub(super) fn learn(&self, description: Description) {
        if let Description { role: Role::Master, identity: Some(identity) } = description {
            let mut state = self.state();
            let mut witnessed = state.known.take().map(|known| known.witnessed).unwrap_or_default();
            witnessed.retain(|(host, _)| identity.copies.contains(host));
            state.known = Some(Master { identity, witnessed, fresh: Some(Deadline::after(FRESH)) });
        }
    }

    /// Connects to the configured server, and learns what it is.
    fn open(&self, limit: Duration) -> Result<Connection, ConnectionError> {
        let end = Deadline::after(limit);
        let validity = self.epoch.validity();
        let mut connection = Connection::open(&self.info, limit)?;
        if self.hung_up.load(Ordering::Relaxed) < MOST_HUNG_UP {
            match connection.describe(greeting_limits(end.left().unwrap_or_default())) {
                Ok(description) => {
                    self.hung_up.store(0, Ordering::Relaxed);
                    self.learn(description);
                }
                Err(ConnectionError::Closed(_)) => {
                    self.hung_up.fetch_add(1, Ordering::Relaxed);
                    connection = Connection::open(&self.info, end.left().unwrap_or_default())?;
                }
                Err(error) => return Err(error),
            }
        }
        connection.validity = validity;
        Ok(connection)
    }

    /// Asks the copies of the configured master what they are, on a thread: one may be away, and the connection is ready.
    fn witness(self: &Arc<Self>) {
        let copies =
            self.state().known.as_ref().map(|known| known.identity.copies.clone()).unwrap_or_default();
        let (ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. }) = self.info.addr() else {
            return;
        };
        let port = *port;
        if copies.is_empty() {
            return;
        }
        let server = Arc::clone(self);
        let work = move || {
            for host in copies.into_iter().take(MOST_ASKED) {
                let Ok((_, description)) = server.open_copy(&host) else { continue };
                let Description { role: Role::Replica { .. }, identity: Some(copy) } = description else {
                    continue;
                };
                let mut state = server.state();
                let Some(known) = state.known.as_mut() else { continue };
                if let Some(process) = copy.process.filter(|_| copy.source == Some(port)) {
                    known.witnessed.retain(|(other, _)| *other != host);
                    known.witnessed.push((host, process));
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("redis-replicas".into()).spawn(work) {
            log::debug!("{}: no thread to ask the replicas: {error}", name(&self.info));
        }
    }

    /// Forgets the copy that was used, as the configured server takes writes.
    fn came_back(&self) {
        if let Some(followed) = self.state().followed.take() {
            log::info!("{}: the server is used again, in place of {followed}", name(&self.info));
            self.epoch.end();
        }
    }

    /// Connects to a copy that was promoted when the master was lost.
    fn follow(&self, cause: &(impl fmt::Display + ?Sized)) -> Option<Connection> {
        let copies = self.copies_of_lost()?;
        let mut successors = copies.iter().filter_map(|host| Some((host, self.open_successor(host)?)));
        let (host, connection) = successors.next()?;
        if self.state().followed.replace(host.clone()).as_ref() != Some(host) {
            log::warn!(
                "{}: {cause}; its replica {host} has been promoted, and is used until this server is a master and that \
                 one is not. A restart of pyzord forgets it: a DSN redis+sentinel:// does not",
                name(&self.info)
            );
            self.epoch.end();
        }
        Some(connection)
    }

    /// Returns the copies that the master had when it was lost.
    fn copies_of_lost(&self) -> Option<Vec<Host>> {
        let mut state = self.state();
        let known = state.known.as_mut()?;
        // Once it was lost, the copies stay the same, however long the promotion takes.
        if known.fresh.take().is_some_and(|fresh| fresh.left().is_none()) {
            state.known = None;
            return None;
        }
        Some(known.identity.copies.iter().take(MOST_ASKED).cloned().collect())
    }

    /// Connects to a copy, if it is the successor of the last master.
    fn open_successor(&self, host: &Host) -> Option<Connection> {
        let opened = self.open_promoted(host);
        opened.inspect_err(|cause| log::debug!("{}: {host} is not used: {cause}", name(&self.info))).ok()
    }

    fn open_promoted(&self, host: &Host) -> Result<Connection, NoSuccessor> {
        let validity = self.epoch.validity();
        let (mut connection, description) = self.open_copy(host)?;
        let Description { role: Role::Master, identity: Some(identity) } = &description else {
            return Err(NoSuccessor::Role(description.role));
        };
        if !self.state().known.as_ref().is_some_and(|known| known.is_succeeded_by(host, identity)) {
            return Err(NoSuccessor::Stranger);
        }
        self.learn(description);
        connection.validity = validity;
        Ok(connection)
    }

    /// Connects to a copy, and asks it what it is.
    fn open_copy(&self, host: &Host) -> Result<(Connection, Description), NoSuccessor> {
        let end = Deadline::after(GREETING);
        let (name, port) = (host.name.clone(), host.port);
        let (address, certified) = match self.info.addr() {
            ConnectionAddr::Tcp(..) => (ConnectionAddr::Tcp(name, port), None),
            ConnectionAddr::TcpTls { host: certified, .. } => {
                let address = ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None };
                (address, Some(certified.as_str()))
            }
            // The password of a local socket does not go over a network.
            _ => return Err(NoSuccessor::Local),
        };
        let info =
            address.into_connection_info().map_err(|error| ConnectionError::from(io::Error::other(error)))?;
        let info = info.set_redis_settings(self.info.redis_settings().clone());
        let mut connection = Connection::open_as(&info, certified, GREETING)?;
        let description = connection.describe(greeting_limits(end.left().unwrap_or_default()))?;
        Ok((connection, description))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a copy is not used.
#[derive(Debug, thiserror::Error)]
enum NoSuccessor {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("it {0}")]
    Role(Role),
    #[error("it is a master that was no copy of the last one when that was lost")]
    Stranger,
    #[error("the server is behind a local socket")]
    Local,
}

/// Returns how logs name a server, without a password.
pub(super) fn name(info: &ConnectionInfo) -> String {
    let db = info.redis_settings().db();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => format!("redis {host}:{port}/{db}"),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss {host}:{port}/{db}"),
        other => format!("redis {other}, database {db}"),
    }
}
