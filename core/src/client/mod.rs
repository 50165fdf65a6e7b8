//! The client's half of the protocol: requests written and signed, replies read, the client's files, and the
//! [`Forwarder`], which sends on to other servers what this one has counted.
//!
//! Nothing here waits or sends either: time and datagrams are arguments, as in the server's half.

mod accounts;
mod address;
mod forwarder;
mod lane;
mod notice;
mod remote;
mod reply;
mod request;
mod target;

pub use accounts::Credentials;
pub use forwarder::{Action, Count, Forwarder};
pub use notice::{Event, Notice};
pub use remote::Remote;
pub use reply::{Incomplete, Reply};
pub use request::{Message, Thread};
pub use target::Totals;
