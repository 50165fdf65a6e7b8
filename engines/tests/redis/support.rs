//! What the tests of the redis engines share.

use std::time::{Duration, Instant};

use pyzord_core::{CleanupAge, Digest, Now, Store, StoreAnswer, StoreCall, StoreOp, Tick, UnixTime};
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::RedisServer;

/// A January day.
pub(crate) const NOW: i64 = 1_704_800_000;

/// The two layouts, as constructors of engines.
pub(crate) const LAYOUTS: [fn(&Dsn, Options) -> Redis; 2] = [Redis::new, Redis::v0];

/// Options that no slow machine can make fail.
pub(crate) fn patient(cleanup_age: u64) -> Options {
    Options::migrating(CleanupAge(cleanup_age))
}

pub(crate) fn dsn(server: &RedisServer) -> Dsn {
    Dsn::parse(&format!("127.0.0.1,{},,", server.port())).unwrap()
}

pub(crate) fn engine(server: &RedisServer) -> Redis {
    Redis::new(&dsn(server), patient(0))
}

pub(crate) fn digest(n: u64) -> Digest {
    let mut bytes = [0xab; 20];
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    Digest::new(bytes)
}

/// The key of a record in the layout `redis`.
pub(crate) fn key(n: u64) -> String {
    format!("pyzord.digest_v1.{}", digest(n))
}

/// The key of a record in the layout `redis_v0`.
pub(crate) fn key_v0(n: u64) -> String {
    format!("pyzord.digest.{}", digest(n))
}

pub(crate) fn at(seconds: i64) -> Now {
    Now { wall: UnixTime::from_seconds(seconds), tick: Tick::default() }
}

/// A moment of the monotonic clock.
pub(crate) fn tick(millis: u64) -> Now {
    Now { wall: UnixTime::from_seconds(NOW), tick: Tick::new(Duration::from_millis(millis)) }
}

pub(crate) fn call(op: StoreOp, n: u64) -> StoreCall {
    StoreCall { digest: digest(n), op }
}

pub(crate) fn execute(store: &mut impl Store, now: Now, calls: &[StoreCall]) -> Vec<StoreAnswer> {
    let mut answers = Vec::new();
    store.execute(now, calls, &mut answers);
    answers
}

pub(crate) fn execute_one(store: &mut impl Store, now: Now, op: StoreOp, n: u64) -> StoreAnswer {
    execute(store, now, &[call(op, n)])[0]
}

/// How long something took.
#[expect(clippy::disallowed_methods, reason = "what is promised is how long it takes")]
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = what();
    (result, started.elapsed())
}
