//! Time as an argument: the core has no clock, a runtime reads one and passes it in.

use core::fmt;
use core::time::Duration;

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

/// A point of civil time: microseconds since 1970-01-01 00:00:00 UTC, leap seconds not counted.
///
/// Requests and replies carry whole seconds; the microseconds are there because the Python server
/// stored them in its gdbm files, and what a user stored must survive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The time `micros` microseconds after the epoch; negative before it.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The time `seconds` seconds after the epoch, saturating at about 292,000 years either way.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// This time, `age` earlier; saturating.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.seconds(), self.0.rem_euclid(MICROS))
    }
}

/// A point of monotonic time: how long the runtime's own clock has run. It never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tick(Duration);

impl Tick {
    /// The moment `elapsed` after the clock was started.
    #[must_use]
    pub const fn new(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The moment `delay` later; saturating.
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }

    /// How long it is from `earlier` to this moment; zero when that is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together, once for a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Civil time, for signatures and records; it may be set back or forth at any moment.
    pub wall: UnixTime,
    /// Monotonic time, for timers.
    pub tick: Tick,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_down_on_both_sides_of_the_epoch() {
        for (micros, seconds) in [(0, 0), (999_999, 0), (1_000_000, 1), (-1, -1), (-1_000_000, -1)] {
            assert_eq!(UnixTime::from_micros(micros).seconds(), seconds);
        }
        assert_eq!(UnixTime::from_seconds(i64::MAX).micros(), i64::MAX);
        assert_eq!(UnixTime::from_micros(i64::MIN).before(Duration::MAX).micros(), i64::MIN);
    }

    #[test]
    fn ticks_never_run_backwards() {
        let early = Tick::new(Duration::from_secs(1));
        let late = early.after(Duration::from_secs(2));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
