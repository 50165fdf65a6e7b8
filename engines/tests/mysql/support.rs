//! Helpers of these tests.

use std::time::Duration;

use pyzord_core::{Now, Store, StoreAnswer, StoreOp, Tick};
use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
use pyzord_testkit::MariadbServer;

pub(crate) use crate::common::{at, call, digest, execute, expire};

/// The name of a test, and the test.
pub(crate) type Case = (&'static str, fn(&MariadbServer));

/// Time-outs that a slow machine does not reach.
pub(crate) const CALM: Timeouts = Timeouts { connect: Duration::from_secs(30), ..Timeouts::MIGRATING };

pub(crate) fn mysql(dsn: &str, timeouts: Timeouts) -> Mysql {
    Mysql::new(&Dsn::parse(dsn).unwrap(), timeouts)
}

/// Returns an engine on a new table of this name.
pub(crate) fn engine(server: &MariadbServer, table: &str) -> Mysql {
    let mut engine = mysql(&server.dsn(table), CALM);
    engine.create_table().unwrap();
    engine
}

/// Returns a time, the same on the wall clock and the monotonic clock.
pub(crate) fn tick(millis: u64) -> Now {
    Now { tick: Tick::new(Duration::from_millis(millis)), ..at(1_700_000_000) }
}

pub(crate) fn read(store: &mut impl Store, n: u64) -> StoreAnswer {
    execute(store, at(0), &[call(StoreOp::Read, n)])[0]
}
