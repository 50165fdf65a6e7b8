//! What the tests of the redis engines share.

use std::time::Duration;

use pyzord_core::{CleanupAge, Now, Store, StoreAnswer, StoreOp, Tick};
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::RedisServer;

pub(crate) use crate::common::{at, call, digest, execute};

/// A January day.
pub(crate) const NOW: i64 = 1_704_800_000;

/// The two layouts, as constructors of engines.
pub(crate) const LAYOUTS: [fn(&Dsn, Options) -> Redis; 2] = [Redis::new, Redis::v0];

/// Options that no slow machine can make fail.
pub(crate) fn patient(cleanup_age: u64) -> Options {
    Options { search_old: true, ..Options::migrating(CleanupAge::from_seconds(cleanup_age)) }
}

pub(crate) fn dsn(server: &RedisServer) -> Dsn {
    Dsn::parse(&format!("127.0.0.1,{},,", server.port())).unwrap()
}

pub(crate) fn engine(server: &RedisServer) -> Redis {
    Redis::new(&dsn(server), patient(0))
}

/// The key of a record in the layout `redis`.
pub(crate) fn key(n: u64) -> String {
    format!("pyzord.digest_v1.{}", digest(n))
}

/// The key of a record in the layout `redis_v0`.
pub(crate) fn key_v0(n: u64) -> String {
    format!("pyzord.digest.{}", digest(n))
}

/// A moment of the monotonic clock.
pub(crate) fn tick(millis: u64) -> Now {
    Now { tick: Tick::new(Duration::from_millis(millis)), ..at(NOW) }
}

pub(crate) fn execute_one(store: &mut impl Store, now: Now, op: StoreOp, n: u64) -> StoreAnswer {
    execute(store, now, &[call(op, n)])[0]
}

/// How long something took.
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let started = crate::common::now();
    let result = what();
    (result, started.elapsed())
}
