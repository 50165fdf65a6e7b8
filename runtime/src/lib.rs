//! What the runtimes of pyzord share, so that each of them is only a way to wait.
//!
//! A [`Service`] is all that a server is made of, and [`serve`] runs it: it starts the workers and is the main loop; a
//! runtime adds its way to wait for commands. A worker receives a batch of datagrams, has the core judge it, asks the
//! store or hands the batch over to threads that own remote stores, sends the replies and logs. With a local store there
//! is no queue between a datagram and its reply, and no lock but the store's and, for limits and signed counts, the
//! guard's.

#[cfg(test)]
mod allocations;
mod backlog;
mod clock;
mod context;
mod counters;
mod datagrams;
mod desk;
mod file_limits;
mod forward;
mod guard;
mod heartbeat;
#[cfg(test)]
mod last_requests;
mod listener;
mod liveness;
mod maintenance;
mod mentions;
mod metrics;
mod order;
mod outcomes;
mod pool;
mod queue;
mod reloadable;
mod responder;
mod serve;
mod service;
mod serving_store;
mod socket;
mod stand_in;
#[cfg(target_os = "linux")]
mod steering;
mod stop;
mod supervisor;
mod undelivered;
mod under_way;
mod upkeep;
mod wake;
mod worker;
mod worker_sockets;

pub use clock::Clock;
pub use counters::{Counters, Counts};
pub use datagrams::{LocalAddress, Path};
pub use file_limits::outlive_file_limits;
pub use forward::{ForwardState, ForwardTarget, Forwarding, ForwardingView, Unsent};
pub use guard::{SharedGuard, SharedLock, SharedServer, shared_guard};
pub use liveness::StuckThread;
pub use metrics::{DeniedUser, Details, Distribution, Suspect, Suspicion, TopClient};
pub use order::Ticket;
pub use outcomes::FailingCalls;
pub use queue::{Next, Queue};
pub use serve::serve;
pub use service::{Command, NewRules, Service, Stores};
pub use socket::{BindError, Covered, Sockets};
pub use supervisor::{StatusChange, Supervisor};
pub use under_way::{CountsUnderWay, Execution, Splitter};
