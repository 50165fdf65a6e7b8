//! The server's half of the protocol: from datagrams to calls, from answers to replies.

mod batch;
mod judge;
mod peer;
mod requests;
mod state;
#[cfg(test)]
pub(crate) mod testing;
mod usage;

pub use batch::{Answered, Asked, Batch};
pub use peer::Peer;
pub use state::Server;
pub use usage::Usage;
