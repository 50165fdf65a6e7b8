//! Points of time, which are arguments: the core reads no clock.

use core::fmt;
use core::time::Duration;

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

/// A point of civil time: microseconds since 1970-01-01 00:00:00 UTC, leap seconds not counted.
///
/// Requests and replies have whole seconds. The microseconds are those that the Python server stores in gdbm files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The date of this build, in whole seconds: no correct clock shows an earlier time. It is the later of the first
    /// day of 2026 and `SOURCE_DATE_EPOCH`, if that was set when this crate was built, so a build can be reproduced.
    pub const BUILT: Self = Self::from_seconds({
        const YEAR_2026: i64 = 1_767_225_600;
        let epoch = match option_env!("SOURCE_DATE_EPOCH") {
            Some(text) => i64::from_str_radix(text, 10),
            None => Ok(YEAR_2026),
        };
        match epoch {
            Ok(epoch) if epoch > YEAR_2026 => epoch,
            _ => YEAR_2026,
        }
    });

    /// Returns the time `micros` microseconds after the epoch; negative before it.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the time `seconds` seconds after the epoch, saturating at about 292,000 years either way.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS))
    }

    /// Returns the time `since_epoch` after the epoch, as `SystemTime::duration_since(UNIX_EPOCH)` measures it,
    /// saturating.
    #[must_use]
    pub fn from_duration(since_epoch: Duration) -> Self {
        Self(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    /// Returns the microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Returns the time `delay` later, saturating.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Returns the date of a record that is active now, by this clock, if its date was `stands`: dates never go back
    /// with a clock.
    ///
    /// A date after the [`horizon`](Self::horizon) was set by a clock that was wrong, and is replaced.
    #[must_use]
    pub fn or_later(self, stands: Option<Self>) -> Self {
        stands.filter(|stands| *stands > self && *stands <= self.horizon()).unwrap_or(self)
    }

    /// Returns the latest date of a record that is believed at this time: a day ahead. A clock that shows a time before
    /// [`BUILT`](Self::BUILT) is wrong itself, so any date is believed then.
    #[must_use]
    pub fn horizon(self) -> Self {
        if self < Self::BUILT { Self(i64::MAX) } else { self.after(Duration::from_secs(24 * 3600)) }
    }

    /// Returns the time `age` earlier, saturating.
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

/// A point of monotonic time: the time that a runtime's clock has run. It never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tick(Duration);

impl Tick {
    /// Returns the point `elapsed` after the start of the clock.
    #[must_use]
    pub const fn new(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Returns the point `delay` later, saturating.
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }

    /// Returns the time since `earlier`; zero if that is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together once for a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Civil time, for signatures and records. It may be set forward or back at any time.
    pub wall: UnixTime,
    /// Monotonic time, for limits and timers.
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

    /// A clock at 1980 for a moment dated a record to 1980, and it expired when the clock was right again.
    #[test]
    fn a_date_goes_back_only_if_it_is_ahead_of_a_plausible_clock() {
        let built = UnixTime::BUILT.seconds();
        let day = 24 * 3600;
        for (stands, clock, expected) in [
            (built, built + 5, built + 5),
            (built + 5, built, built + 5),
            (built + day, built, built + day),
            (built + day + 1, built, built),
            (built + 1000 * day, 0, built + 1000 * day),
            (built + 1000 * day, built - 1, built + 1000 * day),
            (i64::MAX, built, built),
        ] {
            let [stands, clock, expected] = [stands, clock, expected].map(UnixTime::from_seconds);
            assert_eq!(clock.or_later(Some(stands)), expected, "{stands:?} at {clock:?}");
        }
        assert_eq!(UnixTime::BUILT.or_later(None), UnixTime::BUILT);
        assert!(UnixTime::BUILT >= UnixTime::from_seconds(1_767_225_600));
        assert_eq!(UnixTime::from_micros(i64::MAX).horizon().micros(), i64::MAX);
    }

    #[test]
    fn ticks_never_run_backwards() {
        let early = Tick::new(Duration::from_secs(1));
        let late = early.after(Duration::from_secs(2));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
