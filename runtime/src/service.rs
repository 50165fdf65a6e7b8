//! What a server is made of, whatever runtime drives it.

use std::fmt;

use pyzord_core::{Answered, Expiry, Limits, Policy};

use crate::counters::Counters;
use crate::datagrams::Path;
use crate::guard::SharedServer;
use crate::socket::Sockets;
use crate::supervisor::Supervisor;

/// A command to a running server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Read what can be changed while the server runs: its policy and limits.
    Reload,
    /// Answer what was received, sync the store, and return.
    Stop,
}

/// The log's words for a command.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload => "Reloading configuration.",
            Self::Stop => "Shutting down.",
        })
    }
}

/// The stores of a server, by how long they may keep a request waiting.
#[derive(Clone, Debug)]
pub enum Stores<S> {
    /// Stores that answer at once, from memory or a file.
    Local {
        /// One store for each worker, which asks it itself.
        workers: Vec<S>,
        /// The store of the thread that executes large requests.
        large: S,
    },
    /// Stores that wait for a network. Each has a thread of its own, so that a database that hangs delays no request
    /// that needs none.
    Remote {
        /// The number of workers.
        workers: usize,
        /// One store for each connection.
        stores: Vec<S>,
    },
    /// Stores that read at once, and may wait for a disk or for each other when they count.
    Split {
        /// One store for each worker, which reads from it itself.
        readers: Vec<S>,
        /// The stores that count, and execute what has to come before or after a count. Each has a thread of its own, so
        /// that a count delays no read of another digest.
        writers: Vec<S>,
    },
}

impl<S> Stores<S> {
    /// Returns the number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self {
            Self::Local { workers, .. } | Self::Split { readers: workers, .. } => workers.len(),
            Self::Remote { workers, .. } => *workers,
        }
    }
}

/// A server, ready to be driven by a runtime.
pub struct Service<'a, S> {
    /// Where requests come in: one socket for each worker, or one for all. No more sockets than workers: datagrams to a
    /// socket without a worker are lost.
    pub sockets: &'a Sockets,
    /// The policy, and the guard that the server's threads share.
    pub server: SharedServer,
    /// What has happened to datagrams so far.
    pub counters: &'a Counters,
    /// The stores, and with them the number of workers.
    pub stores: Stores<S>,
    /// The store for upkeep.
    pub upkeep: S,
    /// When records expire; `None` for never.
    pub cleanup: Option<Expiry>,
    /// Called for a reload while requests are served: returns the new rules, or `None` to keep the current ones.
    pub reload: &'a mut (dyn FnMut() -> Option<NewRules> + Send),
    /// Called for each answered batch, after its replies were sent: logs its usage, and forwards what it counted.
    pub on_answered: &'a (dyn Fn(&Answered<Path>) + Sync),
    /// The service manager.
    pub supervisor: Option<Supervisor<'a>>,
}

/// What a reload replaces, as one step for each thread.
#[derive(Debug)]
pub struct NewRules {
    /// Accounts and access rules.
    pub policy: Policy,
    /// Networks and rates; `None` keeps them. The number of signed counts that are remembered stays in any case.
    pub limits: Option<Limits>,
}

impl From<Policy> for NewRules {
    fn from(policy: Policy) -> Self {
        Self { policy, limits: None }
    }
}

impl<S> fmt::Debug for Service<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("sockets", self.sockets).finish_non_exhaustive()
    }
}
