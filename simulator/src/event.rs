//! The events of a run.

use std::net::SocketAddr;
use std::sync::Arc;

use pyzord_core::{Now, StoreCall};

use crate::checker::BatchEntry;
use crate::payload::Datagram;

/// An event of the run.
#[derive(Debug)]
pub(crate) enum Event {
    /// A datagram reaches the server's machine.
    Arrival(Datagram),
    /// A reply with this code reaches a client.
    Reply { client: SocketAddr, code: u16 },
    /// A client sends, for the first time or again.
    Send { client: SocketAddr },
    /// An attacker sends.
    Attack,
    /// A flood begins.
    Flood,
    /// A worker of this server takes its next step.
    Worker { generation: u32, index: usize },
    /// A thread with a remote store takes its next step.
    Connection { generation: u32, index: usize },
    /// The upkeep takes its next step.
    Upkeep { generation: u32 },
    /// A remote database executes calls.
    RemoteCalls(RemoteCalls),
    /// An incident begins or ends.
    Incident(Incident),
    /// The next phase begins.
    Phase,
}

/// An action of the operator, or a change outside the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incident {
    Health(Health),
    Reload { fails: bool },
    Clock { correct: bool },
    Crash { power: bool },
    Stop,
    Start,
}

/// The state of the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    Healthy,
    /// Some calls fail, some connections break.
    Flaky,
    /// No call returns.
    Hanging,
    /// No connection can be made.
    Down,
}

/// A connection to a remote database. A restart of the database ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    /// The number of restarts before it.
    pub(crate) epoch: u32,
}

/// Calls on their way to a remote database.
#[derive(Clone, Debug)]
pub(crate) struct RemoteCalls {
    pub(crate) session: Session,
    pub(crate) now: Now,
    pub(crate) asked: Vec<BatchEntry>,
    pub(crate) calls: Arc<[StoreCall]>,
    /// The connection is lost after this many calls.
    pub(crate) most: usize,
    /// The generation of the server and the index of the connection that wait for the answers, if any do.
    pub(crate) caller: Option<(u32, usize)>,
}
