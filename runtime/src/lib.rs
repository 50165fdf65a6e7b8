//! What the runtimes of pyzord share, so that each of them is only a way to wait.
//!
//! A [`Worker`] does all that is done with the datagrams that have come in: it receives a batch, has it judged, asks
//! the store or hands over to the [`Pool`], sends the replies and logs. A runtime decides when it does so: the blocking
//! one lets it wait in the system call, the asynchronous one waits for the socket and then lets it receive what is
//! there. There is no queue and no lock between a datagram and its reply but the store's own.

mod answer;
mod clock;
mod counters;
mod datagrams;
mod forward;
mod limits;
mod live;
mod metrics;
mod pool;
mod queue;
mod server;
mod shield;
mod socket;
mod supervisor;
mod worker;

pub use clock::Clock;
pub use counters::{Counters, Counts};
pub use datagrams::{LocalAddress, Path, Wait};
pub use forward::Forwarding;
pub use limits::outlive_file_limits;
pub use live::{Live, Watcher};
pub use metrics::{Details, Distribution, Talker};
pub use pool::Pool;
pub use queue::{Next, Queue};
pub use server::{Command, Parts, Server, Stores};
pub use shield::Shield;
pub use socket::{BindError, Sockets};
pub use supervisor::{Duties, News, Pulse, Supervisor};
pub use worker::{Backend, Worker};
