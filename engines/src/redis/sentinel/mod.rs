//! Connections to the master of a service that sentinels watch.
//!
//! Each dial asks the sentinels one after the other, beginning with the one that led to a master last, connects to the
//! address that one of them names, and asks that server for its ROLE. So a sentinel that is away, hangs, lies or lags
//! costs a bounded time, and no write goes to a server that does not call itself a master.
//!
//! A master that was cut off from the sentinels still calls itself one, and no client is told. So a thread asks the
//! sentinels once a second (`watch.rs`): when most of those that answer name another master, all connections are made
//! again before their next batch.

mod error;
mod query;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo};

use super::connection::{Connection, ConnectionError, greeting_limits};
use super::role::Role;
use super::validity::{Epoch, Validity};
use crate::hosts::Host;
use crate::wire::Deadline;

pub(super) use error::NoMaster;
use error::{Fault, FaultCause};
use query::Sentinel;

/// How long a sentinel has for its answer while others have not been asked.
const QUICK: Duration = Duration::from_millis(250);
/// How long a sentinel has when no other one leads to a master.
const PATIENT: Duration = Duration::from_secs(3);
/// How long a server that a sentinel names has to greet.
const GREETING: Duration = Duration::from_millis(2500);

/// The sentinels of a service.
pub(super) struct Sentinels {
    service: String,
    /// In the order of the DSN; at least one.
    sentinels: Vec<Sentinel>,
    /// How the servers of the service are logged in to.
    servers: Login,
    /// The sentinel that is asked first.
    first: AtomicUsize,
    /// The master to which the last dial led.
    master: Mutex<Option<Host>>,
    epoch: Epoch,
    watched: AtomicBool,
}

/// How servers are logged in to.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub(super) settings: RedisConnectionInfo,
    pub(super) tls: bool,
    /// The name in their certificates, if it is not the host that is connected to.
    pub(super) tls_name: Option<String>,
}

impl Login {
    fn open(&self, host: &Host, limit: Duration) -> Result<Connection, ConnectionError> {
        let (name, port) = (host.name.clone(), host.port);
        let address = if self.tls {
            ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(name, port)
        };
        let info = address.into_connection_info().map_err(std::io::Error::other)?;
        let info = info.set_redis_settings(self.settings.clone());
        Connection::open_as(&info, self.tls_name.as_deref(), limit)
    }
}

impl Sentinels {
    /// Returns the service that these sentinels watch.
    pub(super) fn new(hosts: Vec<Host>, login: &Login, service: String, servers: Login) -> Self {
        let sentinel = |host| Sentinel { host, login: login.clone() };
        Self {
            service,
            sentinels: hosts.into_iter().map(sentinel).collect(),
            servers,
            first: AtomicUsize::new(0),
            master: Mutex::new(None),
            epoch: Epoch::default(),
            watched: AtomicBool::new(false),
        }
    }

    /// Returns how logs name the service, without a password.
    pub(super) fn name(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|sentinel| sentinel.host.to_string()).collect();
        format!("redis+sentinel {}/{}/{}", hosts.join(","), self.service, self.servers.settings.db())
    }

    /// Returns how the servers are logged in to.
    #[cfg(test)]
    pub(super) fn servers(&self) -> &Login {
        &self.servers
    }

    /// Returns how each sentinel is logged in to.
    #[cfg(test)]
    pub(super) fn logins(&self) -> Vec<&Login> {
        self.sentinels.iter().map(|sentinel| &sentinel.login).collect()
    }

    /// Makes a connection to the master.
    pub(super) fn dial(self: &Arc<Self>, limit: Duration) -> Result<Connection, NoMaster> {
        let deadline = Deadline::after(limit);
        let mut dial = Dial { faults: self.sentinels.iter().map(|_| None).collect(), refused: Vec::new() };
        for patience in [QUICK, PATIENT] {
            let asked = dial.next_round(self.first.load(Ordering::Relaxed));
            for (done, index) in asked.iter().enumerate() {
                // An equal share of the time that is left: the last one has its turn, whatever the others do.
                let shares = u32::try_from(asked.len() - done).unwrap_or(u32::MAX);
                let Some(turn) = deadline.left().map(|left| left / shares) else { break };
                if let Some(connection) = self.take_turn(*index, patience, turn, &mut dial) {
                    self.first.store(*index, Ordering::Relaxed);
                    watch::start(self);
                    return Ok(connection);
                }
            }
        }
        Err(NoMaster { service: self.service.clone(), faults: dial.faults(&self.sentinels) })
    }

    /// Connects to the server that one sentinel names, if it is a master.
    fn take_turn(
        &self,
        index: usize,
        patience: Duration,
        turn: Duration,
        dial: &mut Dial,
    ) -> Option<Connection> {
        let end = Deadline::after(turn);
        // Before the question, as the answer may be out of date when it arrives.
        let validity = self.epoch.validity();
        let sentinel = self.sentinels.get(index)?;
        let named = sentinel.ask(&self.service, patience.min(turn));
        let connected = named.and_then(|named| {
            if dial.refused.contains(&named) {
                return Err(FaultCause::Again(named));
            }
            let limit = end.left().unwrap_or_default().min(GREETING);
            self.connect(&named, limit, validity).inspect_err(|_| dial.refused.push(named.clone())).inspect(
                |_| {
                    self.found(&named, index);
                },
            )
        });
        let slot = dial.faults.get_mut(index)?;
        connected.map_err(|cause| *slot = Some(cause)).ok()
    }

    /// Connects to a server that must be a master.
    fn connect(&self, host: &Host, limit: Duration, validity: Validity) -> Result<Connection, FaultCause> {
        let end = Deadline::after(limit);
        let failed = |cause| FaultCause::Server { host: host.clone(), cause };
        let mut connection = self.servers.open(host, limit).map_err(failed)?;
        match connection.role(greeting_limits(end.left().unwrap_or_default())).map_err(failed)? {
            Role::Master => {
                connection.validity = validity;
                Ok(connection)
            }
            role => Err(FaultCause::NoMaster { host: host.clone(), role }),
        }
    }

    /// Remembers the master, and logs that it is another one.
    fn found(&self, master: &Host, index: usize) {
        let before = self.known_master().replace(master.clone());
        let sentinel = self.sentinels.get(index);
        if let Some((before, sentinel)) = before.filter(|before| before != master).zip(sentinel) {
            log::info!("{}: the master is {master} now, not {before}, says {}", self.name(), sentinel.host);
        }
    }

    fn known_master(&self) -> MutexGuard<'_, Option<Host>> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of one dial.
struct Dial {
    /// Why each sentinel has led to no master.
    faults: Vec<Option<FaultCause>>,
    /// Servers that a sentinel has named, and that are no masters or do not answer.
    refused: Vec<Host>,
}

impl Dial {
    /// Returns the sentinels to ask, beginning with `first`: all, and after that those that had too little time.
    fn next_round(&self, first: usize) -> Vec<usize> {
        let count = self.faults.len().max(1);
        let order = (0..self.faults.len()).map(|offset| (first + offset) % count);
        order
            .filter(|index| match self.faults.get(*index) {
                Some(Some(cause)) => cause.is_slowness(),
                _ => true,
            })
            .collect()
    }

    fn faults(self, sentinels: &[Sentinel]) -> Vec<Fault> {
        let fault = |(cause, sentinel): (Option<FaultCause>, &Sentinel)| Fault {
            sentinel: sentinel.host.clone(),
            cause: cause.unwrap_or(FaultCause::NoTime),
        };
        self.faults.into_iter().zip(sentinels).map(fault).collect()
    }
}
