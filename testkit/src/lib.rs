//! Starts real database servers for tests, each on a free port in a temporary folder, and ends every one of them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "test code fails by panicking"
)]

mod mysql;
mod process;
mod redis;

pub use mysql::MariadbServer;
pub use process::{Server, free_port, wait_for};
pub use redis::RedisServer;
