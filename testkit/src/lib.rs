//! Starts real database servers for tests, each on a free port of 127.0.0.1 with its data in a temporary
//! folder.
//!
//! A server is killed and its data deleted when its value is dropped, so a test leaves nothing behind.
//! Everything here panics on failure, after a minute at most.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test code fails by panicking"
)]

mod galera;
mod mysql;
mod process;
mod proxy;
mod redis;
mod redis_cluster;
mod redis_sentinel;

pub use galera::GaleraCluster;
pub use mysql::MariadbServer;
pub use process::{Server, free_port, wait_for};
pub use proxy::{Fault, TcpProxy};
pub use redis::RedisServer;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinels;
