//! What the runtimes of pyzord share, so that each of them is only a way to wait.
//!
//! A [`Service`] is all that a server is made of. A runtime makes a [`WorkerContext`] of it and gives each [`Worker`] a
//! thread. A worker receives a batch of datagrams, has the core judge it, asks the store or hands over to the pool,
//! sends the replies and logs. The runtime decides when: the blocking one waits in the system call that receives, the
//! asynchronous one waits for the socket first. Between a datagram and its reply there is no queue and no lock but the
//! store's own.

mod clock;
mod context;
mod counters;
mod datagrams;
mod file_limits;
mod forward;
mod guard;
mod heartbeat;
mod maintenance;
mod metrics;
mod pool;
mod queue;
mod reloadable;
mod responder;
mod service;
mod socket;
mod supervisor;
mod worker;

pub use clock::Clock;
pub use context::{ServiceParts, WorkerContext};
pub use counters::{Counters, Counts};
pub use datagrams::{LocalAddress, Path, Wait};
pub use file_limits::outlive_file_limits;
pub use forward::Forwarding;
pub use guard::{SharedGuard, SharedLock, SharedServer, shared_guard};
pub use maintenance::Maintenance;
pub use metrics::{Details, Distribution, Talker};
pub use queue::{Next, Queue};
pub use service::{Command, Service, Stores};
pub use socket::{BindError, Sockets};
pub use supervisor::{StatusChange, Supervisor};
pub use worker::{Backend, Worker};
