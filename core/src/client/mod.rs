//! The client's half of the protocol: requests are written and signed, replies are parsed, the client's files are
//! read, and the [`Forwarder`] sends to other servers what this one has counted.
//!
//! As in the server's half, no code waits or sends: time and datagrams are arguments.

mod accounts;
mod address;
mod condition;
mod credentials;
mod event;
mod forwarder;
mod host;
mod marks;
mod message;
mod patience;
mod queue;
mod remote;
mod target;

pub use crate::protocol::reply::{Incomplete, Reply};
pub use crate::protocol::thread::Thread;
pub use condition::Condition;
pub use credentials::Credentials;
pub use event::{Cause, Event, ServerEvent, Unreachable};
pub use forwarder::{Action, Forwarder, Standing};
pub use message::Message;
pub use remote::Remote;
pub use target::Totals;
