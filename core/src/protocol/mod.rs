//! What is on the wire, for both halves of the protocol: requests, replies, signatures.

pub(crate) mod digest;
pub(crate) mod header;
pub(crate) mod operation;
pub(crate) mod origin;
pub(crate) mod refusal;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod signature;
pub(crate) mod thread;
pub(crate) mod write;
