//! Forwarding between servers in virtual time, over a network that loses, repeats and reorders.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod delivery;
mod forwarder;
mod network;
mod outages;
mod totals;
