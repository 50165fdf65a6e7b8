//! Simulated power cuts of real servers.
//!
//! `PYZORD_CUTS` sets the number of cuts of each test. Each test prints the seed of its random numbers; `PYZORD_CUTS_SEED`
//! sets it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "sqlite")]
mod expiry;
mod gdbm;
#[expect(dead_code, reason = "the black-box tests use all of it")]
#[path = "../blackbox/harness.rs"]
mod harness;
mod load;
mod mapping;
mod opened;
mod run;
#[cfg(feature = "sqlite")]
mod sqlite;

/// The default runtime of the servers.
const RUNTIME: &str = "std";
/// The engine of servers whose test names none: the default.
const ENGINE: Option<&str> = None;
