//! Black-box tests of the built server: real sockets, signals and files; Python's client and server as peers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// The runtime that these tests run the server on.
const RUNTIME: &str = "std";
/// The engine of servers whose test names none: the default.
const ENGINE: Option<&str> = None;

include!("modules.rs");

// The page and the verdict do not depend on the runtime: one test crate is enough.
mod browser;
mod page;
mod symptoms;
