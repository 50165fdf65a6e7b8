//! What these tests share.

use std::time::{Duration, Instant};

use pyzord_core::{
    Digest, Now, Progress, Store, StoreAnswer, StoreCall, StoreFailure, StoreOp, Task, Tick, UnixTime,
};
use pyzord_engines::mysql::{Dsn, Mysql, Patience};
use pyzord_testkit::MariadbServer;

/// A test, and its name.
pub(crate) type Case = (&'static str, fn(&MariadbServer));

/// The machine may be slow and busy; what is tested is what is answered, not how soon.
pub(crate) const CALM: Patience =
    Patience { connect: Duration::from_secs(30), answer: Duration::from_secs(30) };

pub(crate) fn mysql(dsn: &str, patience: Patience) -> Mysql {
    Mysql::new(&Dsn::parse(dsn).unwrap(), patience)
}

/// An engine on a new table of this name.
pub(crate) fn engine(server: &MariadbServer, table: &str) -> Mysql {
    let mut engine = mysql(&server.dsn(table), CALM);
    engine.create_table().unwrap();
    engine
}

pub(crate) fn digest(n: u64) -> Digest {
    // Spread over all bytes, as the hashes of mails are.
    let mut bytes = [0; 20];
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        let word =
            (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.rotate_left(u32::try_from(index).unwrap() * 9));
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    Digest::new(bytes)
}

pub(crate) fn seconds(seconds: i64) -> UnixTime {
    UnixTime::from_seconds(seconds)
}

pub(crate) fn at(second: i64) -> Now {
    Now { wall: seconds(second), tick: Tick::default() }
}

/// A time and the same moment of the timers.
pub(crate) fn tick(millis: u64) -> Now {
    Now { wall: seconds(1_700_000_000), tick: Tick::new(Duration::from_millis(millis)) }
}

pub(crate) fn call(op: StoreOp, n: u64) -> StoreCall {
    StoreCall { digest: digest(n), op }
}

pub(crate) fn execute(store: &mut impl Store, now: Now, calls: &[StoreCall]) -> Vec<StoreAnswer> {
    let mut answers = Vec::new();
    store.execute(now, calls, &mut answers);
    assert_eq!(answers.len(), calls.len());
    answers
}

pub(crate) fn read(store: &mut impl Store, n: u64) -> StoreAnswer {
    execute(store, at(0), &[call(StoreOp::Read, n)])[0]
}

/// A whole round of expiry; says how many slices it took.
pub(crate) fn expire(store: &mut impl Store, limit: i64) -> Result<u32, StoreFailure> {
    let mut slices = 1;
    while store.upkeep(at(limit), Task::Expire(seconds(limit)))? == Progress::More {
        slices += 1;
    }
    Ok(slices)
}

#[expect(clippy::disallowed_methods, reason = "some tests are about how long something takes")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub(crate) fn op(&mut self) -> StoreOp {
        [StoreOp::Read, StoreOp::Report, StoreOp::Whitelist][usize::try_from(self.below(3)).unwrap()]
    }
}
