//! Kills servers, databases and migrations at work, and starts them again.
//!
//! `PYZORD_CRASH_ROUNDS` sets the number of kills in each test. Each test prints the seed of its random numbers;
//! `PYZORD_CRASH_SEED` sets it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "the black-box tests use all of it")]
#[path = "../blackbox/bob.rs"]
mod bob;
mod copies;
mod counted_migrations;
mod databases;
mod full;
mod galera;
#[expect(dead_code, reason = "the black-box tests use all of it")]
#[path = "../blackbox/harness.rs"]
mod harness;
mod load;
mod migrations;
mod random;
mod recoveries;
mod redis_clusters;
mod sentinel;
mod servers;
mod sqlite;
mod strace;

/// The default runtime of the servers.
const RUNTIME: &str = "std";
/// The engine of servers whose test names none: the default.
const ENGINE: Option<&str> = None;

/// Returns the number of kills in a test.
fn rounds(by_default: u32) -> u32 {
    std::env::var("PYZORD_CRASH_ROUNDS").map_or(by_default, |rounds| rounds.parse().unwrap())
}
