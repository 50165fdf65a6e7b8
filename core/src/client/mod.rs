//! The client's half of the protocol: requests written and signed, replies read, the client's files, and the
//! [`Forwarder`], which sends on to other servers what this one has counted.
//!
//! Nothing here waits or sends either: time and datagrams are arguments, as in the server's half.

mod accounts;
mod address;
mod credentials;
mod forwarder;
mod host;
mod marks;
mod message;
mod notice;
mod queue;
mod remote;
mod target;

pub use crate::protocol::reply::{Incomplete, Reply};
pub use crate::protocol::thread::Thread;
pub use credentials::Credentials;
pub use forwarder::{Action, Forwarder};
pub use message::Message;
pub use notice::{Event, Notice};
pub use remote::Remote;
pub use target::Totals;
