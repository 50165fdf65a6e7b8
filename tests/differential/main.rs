//! The same input for Python's pyzord 1.1.2 and for this server: requests over UDP, accounts and access files,
//! stored records. The results must be equal, or differ exactly as a named difference of [`table`] predicts, and the
//! tests must hit each named difference that they can reach.
//!
//! `PYZORD_DIFFERENTIAL_SEED` and `PYZORD_DIFFERENTIAL_CASES` set the seed and the number of cases.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// The runtime of the server in these tests.
const RUNTIME: &str = "std";
/// The engine of servers whose test names none: the default.
const ENGINE: Option<&str> = None;

mod configuration;
mod differences;
mod exchange;
mod files;
mod generate;
#[expect(dead_code, reason = "the black-box tests use more of it")]
#[path = "../blackbox/harness.rs"]
mod harness;
mod logs;
mod peer;
mod random;
mod records;
mod requests;
mod rules;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stores;
mod table;
