//! Servers, databases and migrations that are killed in the middle of their work, and started again.
//!
//! `PYZORD_CRASH_ROUNDS` sets how many kills each test does. Each prints the seed of its random numbers, which
//! `PYZORD_CRASH_SEED` sets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod databases;
mod full;
#[expect(dead_code, reason = "the black-box tests use all of it")]
#[path = "../blackbox/harness.rs"]
mod harness;
mod load;
mod migrations;
mod random;
mod recoveries;
mod servers;

/// The runtime of servers that are not told another.
const RUNTIME: &str = "std";

/// How many kills a test does.
fn rounds(by_default: u32) -> u32 {
    std::env::var("PYZORD_CRASH_ROUNDS").map_or(by_default, |rounds| rounds.parse().unwrap())
}
