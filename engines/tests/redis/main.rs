//! The redis engines against real redis servers, the model, and Python's engines.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code fails by panicking")]

mod bulk;
mod connection;
mod counting;
mod python;
mod support;
mod tls;
