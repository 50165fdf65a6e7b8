//! The server's half of the protocol: from datagrams to calls, from answers to replies.

mod batch;
mod handle;
mod judge;
mod peer;
mod requests;
#[cfg(test)]
pub(crate) mod testing;
mod usage;

pub use batch::{Answered, Asked, Batch};
pub use handle::Server;
pub use peer::Peer;
pub use usage::{Escaped, Usage};
