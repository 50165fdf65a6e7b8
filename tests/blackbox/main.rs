//! The built server from the outside: real sockets, signals and files, and Python's client and server as peers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod check_config;
mod client;
mod daemon;
mod harness;
mod hostile;
mod interop;
mod logging;
mod migrate;
mod protocol;
mod remote;
mod signals;
