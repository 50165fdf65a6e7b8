//! All attacks at once, beside an honest client that must not notice them.
//!
//! Each test starts a server, attackers that send until the end, and one honest client. Nearly all of its checks must be
//! answered with the right counts, no acknowledged count may be lost or doubled, memory must stay flat, and the server must
//! stop. `PYZORD_SIEGE_SECONDS` sets the length; from a minute on, the latency of the checks is compared with that of an
//! echo of the same time. A destination that drains slowly needs a network of its own: `make soak` makes one.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod attackers;
#[expect(dead_code, reason = "the black-box tests use all of it")]
#[path = "../blackbox/harness.rs"]
mod harness;
mod honest;
mod redis_proxy;
mod siege;
mod signer;

use std::time::Duration;

use pyzord_testkit::RedisServer;

use crate::redis_proxy::RedisProxy;
use crate::siege::withstand;

/// The default runtime of the servers.
const RUNTIME: &str = "std";
/// The engine of servers whose test names none: the default.
const ENGINE: Option<&str> = None;

/// From this length on, latencies are compared.
const LONG: Duration = Duration::from_secs(60);

/// Returns the length of a siege.
fn length() -> Duration {
    let seconds = std::env::var("PYZORD_SIEGE_SECONDS").map_or(6, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

#[test]
fn std_with_gdbm() {
    withstand(&["--runtime", "std"]);
}

#[test]
fn smol_with_gdbm() {
    withstand(&["--runtime", "smol"]);
}

#[test]
fn std_with_redis() {
    withstand_with_redis("std");
}

#[test]
fn smol_with_redis() {
    withstand_with_redis("smol");
}

fn withstand_with_redis(runtime: &str) {
    let redis = RedisServer::start();
    let proxy = RedisProxy::start(redis.port());
    let dsn = format!("127.0.0.1,{},,0", proxy.port());
    withstand(&["--runtime", runtime, "-e", "redis", "--dsn", &dsn]);
}
