//! What these tests share.

use std::time::Duration;

use pyzord_core::{Now, Store, StoreAnswer, StoreOp, Tick};
use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
use pyzord_testkit::MariadbServer;

pub(crate) use crate::common::{at, call, digest, execute, expire};

/// A test, and its name.
pub(crate) type Case = (&'static str, fn(&MariadbServer));

/// The machine may be slow and busy; what is tested is what is answered, not how soon.
pub(crate) const CALM: Timeouts =
    Timeouts { connect: Duration::from_secs(30), answer: Duration::from_secs(30) };

pub(crate) fn mysql(dsn: &str, timeouts: Timeouts) -> Mysql {
    Mysql::new(&Dsn::parse(dsn).unwrap(), timeouts)
}

/// An engine on a new table of this name.
pub(crate) fn engine(server: &MariadbServer, table: &str) -> Mysql {
    let mut engine = mysql(&server.dsn(table), CALM);
    engine.create_table().unwrap();
    engine
}

/// A time and the same moment of the timers.
pub(crate) fn tick(millis: u64) -> Now {
    Now { tick: Tick::new(Duration::from_millis(millis)), ..at(1_700_000_000) }
}

pub(crate) fn read(store: &mut impl Store, n: u64) -> StoreAnswer {
    execute(store, at(0), &[call(StoreOp::Read, n)])[0]
}
