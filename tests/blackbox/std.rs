//! The built server from the outside: real sockets, signals and files, and Python's client and server as peers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// The runtime that these tests run the server on.
const RUNTIME: &str = "std";

include!("modules.rs");

// The same page whatever the runtime: once is enough.
mod browser;
mod page;
