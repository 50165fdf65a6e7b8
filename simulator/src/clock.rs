//! Virtual time. It moves when the next event is due, and never by itself.

use std::time::Duration;

use pyzord_core::{Now, Tick, UnixTime};

/// When every simulation begins: 2026-01-01 00:00:00 UTC.
const BEGIN: i64 = 1_767_225_600 * 1_000_000;

/// The machine's monotonic clock, the civil time that everybody agrees on, and how wrong the server's is.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    elapsed: Duration,
    /// In microseconds.
    error: i64,
}

impl Clock {
    /// What the server's clocks show.
    pub(crate) fn now(&self) -> Now {
        Now { wall: UnixTime::from_micros(self.truth().saturating_add(self.error)), tick: self.tick() }
    }

    pub(crate) fn tick(&self) -> Tick {
        Tick::new(self.elapsed)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What honest clients' clocks show, in Unix seconds.
    pub(crate) fn seconds(&self) -> i64 {
        self.truth() / 1_000_000
    }

    pub(crate) fn advance(&mut self, to: Tick) {
        self.elapsed += to.since(self.tick());
    }

    /// Sets the server's civil time; the monotonic clock goes on as it was.
    pub(crate) fn set_wall(&mut self, wall: UnixTime) {
        self.error = wall.micros().saturating_sub(self.truth());
    }

    /// Moves the server's civil time by this many seconds.
    pub(crate) fn shift_wall(&mut self, seconds: i64) {
        self.error = self.error.saturating_add(seconds.saturating_mul(1_000_000));
    }

    /// Sets the server's civil time right.
    pub(crate) fn correct(&mut self) {
        self.error = 0;
    }

    fn truth(&self) -> i64 {
        BEGIN.saturating_add(i64::try_from(self.elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}
