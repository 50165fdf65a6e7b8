//! Datagrams in batches: those that have come in are received together, and their replies are sent together.

mod common;
mod lanes;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod packet_info;
mod path;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;
#[cfg(test)]
mod tests;

pub use path::{LocalAddress, Path};

pub(crate) use common::{Arrival, ReceiveMode, Sent};
pub(crate) use lanes::Lanes;
#[cfg(target_os = "linux")]
pub(crate) use linux::{Inbox, Outbox};
#[cfg(target_os = "linux")]
pub(crate) use packet_info::{request_local_addresses, request_times};
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{Inbox, Outbox, request_local_addresses, request_times};
