//! The same input for Python's pyzord 1.1.2 and for this one: requests over UDP, accounts and access files, stored
//! records. What comes out must be equal, or differ exactly as a named difference of [`table`] promises; and each
//! named difference that can be met here must be met.
//!
//! `PYZORD_DIFFERENTIAL_SEED` and `PYZORD_DIFFERENTIAL_CASES` choose other input, and more of it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

/// The runtime that these tests run the server on.
const RUNTIME: &str = "std";

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
mod stores;
mod table;
