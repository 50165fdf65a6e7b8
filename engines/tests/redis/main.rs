//! The redis engines on real redis servers: connections, what only redis does, and Python's engines.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code fails by panicking")]

mod bulk;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod connection;
mod counting;
mod faults;
mod promotion;
mod python;
mod sentinel;
mod support;
mod tls;
