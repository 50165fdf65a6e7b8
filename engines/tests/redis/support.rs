//! Helpers of the tests of the redis engines.

use std::time::Duration;

use pyzord_core::{CleanupAge, Now, Store, StoreAnswer, StoreOp, Tick};
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::RedisServer;

pub(crate) use crate::common::{at, call, digest, execute};

/// A January day.
pub(crate) const NOW: i64 = 1_704_800_000;

/// The constructors of the engines for the two layouts.
pub(crate) const LAYOUTS: [fn(&Dsn, Options) -> Redis; 2] = [Redis::new, Redis::v0];

/// Options with time-outs that a slow machine does not reach.
pub(crate) fn patient(cleanup_age: u64) -> Options {
    Options { search_old: true, ..Options::migrating(CleanupAge::from_seconds(cleanup_age)) }
}

pub(crate) fn dsn(server: &RedisServer) -> Dsn {
    Dsn::parse(&format!("127.0.0.1,{},,", server.port())).unwrap()
}

pub(crate) fn engine(server: &RedisServer) -> Redis {
    Redis::new(&dsn(server), patient(0))
}

/// Returns the key of a record in the layout `redis`.
pub(crate) fn key(n: u64) -> String {
    format!("pyzord.digest_v1.{}", digest(n))
}

/// Returns the key of a record in the layout `redis_v0`.
pub(crate) fn key_v0(n: u64) -> String {
    format!("pyzord.digest.{}", digest(n))
}

/// Returns a time of the monotonic clock.
pub(crate) fn tick(millis: u64) -> Now {
    Now { tick: Tick::new(Duration::from_millis(millis)), ..at(NOW) }
}

pub(crate) fn execute_one(store: &mut impl Store, now: Now, op: StoreOp, n: u64) -> StoreAnswer {
    execute(store, now, &[call(op, n)])[0]
}

/// Runs a closure, and returns how long it took.
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let started = crate::common::now();
    let result = what();
    (result, started.elapsed())
}
