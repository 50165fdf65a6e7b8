//! Streams to database servers, with one deadline for a whole exchange and a largest reply.

mod deadline;
mod socket;
mod stream;

pub(crate) use deadline::Deadline;
pub(crate) use socket::{Limits, Socket, addresses, connect_tcp, connect_unix};
pub(crate) use stream::Stream;
#[cfg(feature = "redis")]
pub(crate) use stream::TLS_RECORDS;
