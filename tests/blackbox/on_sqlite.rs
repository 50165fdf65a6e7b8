//! The black-box tests in which the engine matters, with sqlite: it reads beside its writers, and its threads must end with
//! the server.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// The runtime that these tests run the server on.
const RUNTIME: &str = "std";
/// The engine of servers whose test names none.
const ENGINE: Option<&str> = Some("sqlite");

mod client;
mod forward;
mod harness;
mod hostile;
mod http;
mod limits;
mod protocol;
mod reload;
mod signals;
mod status;
mod supervised;
