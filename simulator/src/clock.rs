//! Virtual time, which advances from event to event.

use std::time::Duration;

use pyzord_core::{Now, Tick, UnixTime};

/// The beginning of every simulation in microseconds: 2026-01-01 00:00:00 UTC.
const BEGIN: i64 = 1_767_225_600 * 1_000_000;

/// The monotonic clock of the server's machine, the true civil time, and the error of the server's civil time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    elapsed: Duration,
    /// The error of the server's civil time, in microseconds.
    error: i64,
}

impl Clock {
    /// Returns what the server's clocks show.
    pub(crate) fn now(&self) -> Now {
        Now { wall: UnixTime::from_micros(self.truth().saturating_add(self.error)), tick: self.tick() }
    }

    /// Returns the true civil time.
    pub(crate) fn true_wall(&self) -> UnixTime {
        UnixTime::from_micros(self.truth())
    }

    pub(crate) fn tick(&self) -> Tick {
        Tick::new(self.elapsed)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns what the clients' clocks show, in Unix seconds.
    pub(crate) fn seconds(&self) -> i64 {
        self.truth() / 1_000_000
    }

    pub(crate) fn advance(&mut self, to: Tick) {
        self.elapsed += to.since(self.tick());
    }

    /// Sets the server's civil time, and leaves the monotonic clock unchanged.
    pub(crate) fn set_wall(&mut self, wall: UnixTime) {
        self.error = wall.micros().saturating_sub(self.truth());
    }

    /// Shifts the server's civil time by this many seconds.
    pub(crate) fn shift_wall(&mut self, seconds: i64) {
        self.error = self.error.saturating_add(seconds.saturating_mul(1_000_000));
    }

    /// Corrects the server's civil time.
    pub(crate) fn correct(&mut self) {
        self.error = 0;
    }

    #[expect(clippy::cast_possible_truncation, reason = "a run takes months, and an i64 holds 292,000 years")]
    fn truth(&self) -> i64 {
        BEGIN + self.elapsed.as_micros() as i64
    }
}
