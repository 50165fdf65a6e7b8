//! Whether a round of expiry may begin: a wrong clock must not remove records.

use core::fmt;
use core::time::Duration;

use crate::cleanup_age::CleanupAge;
use crate::record::Record;
use crate::time::UnixTime;

const DAY: i64 = 24 * 3600;

/// Stores with fewer records may lose any share of them in one round.
const FEW_RECORDS: u64 = 1000;

/// What a store knows of its records before a round of expiry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Survey {
    /// The number of records.
    pub records: u64,
    /// The number of records that have expired.
    pub expired: u64,
    /// The latest activity of all records.
    pub newest: Option<UnixTime>,
}

impl Survey {
    /// Adds a record, which has expired if its latest activity is before `limit`.
    pub fn add(&mut self, record: &Record, limit: UnixTime) {
        self.records += 1;
        self.expired += u64::from(record.expired(limit));
        self.newest = self.newest.max(record.latest_activity());
    }
}

/// When records expire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Expiry {
    /// The age of records that expire.
    pub age: CleanupAge,
    /// When the clock is not believed.
    pub guard: ExpiryGuard,
}

/// With the default guard.
impl From<CleanupAge> for Expiry {
    fn from(age: CleanupAge) -> Self {
        Self { age, guard: ExpiryGuard::default() }
    }
}

/// When expiry does not believe the clock. The default values are those of the server's settings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ExpiryGuard {
    /// The longest time between the clock and the newest record, by default 30 days; `None` for any.
    pub max_offset: Option<Duration>,
    /// The largest share of at least 1000 records that one round removes, in percent; by default 50, and 100 for any.
    pub max_share: u8,
}

impl Default for ExpiryGuard {
    fn default() -> Self {
        const THIRTY_DAYS: Duration = Duration::from_secs(30 * DAY.unsigned_abs());
        Self { max_offset: Some(THIRTY_DAYS), max_share: 50 }
    }
}

impl ExpiryGuard {
    /// Returns why the records of `survey` must not expire by the clock `now`; `None` if they may.
    #[must_use]
    pub fn judge(&self, now: UnixTime, survey: &Survey) -> Option<ExpiryWait> {
        if now < UnixTime::BUILT {
            return Some(ExpiryWait::ClockBeforeBuild);
        }
        let Survey { records, expired, newest } = *survey;
        let far = |newest: &UnixTime| {
            self.max_offset.is_some_and(|most| now.before(most) > *newest || now.after(most) < *newest)
        };
        if let Some(newest) = newest.filter(far) {
            return Some(ExpiryWait::ClockFarFromRecords {
                days: now.seconds().saturating_sub(newest.seconds()) / DAY,
            });
        }
        let most = u128::from(records) * u128::from(self.max_share);
        let too_many = records >= FEW_RECORDS && u128::from(expired) * 100 > most;
        too_many.then_some(ExpiryWait::TooManyExpired { expired, records })
    }
}

/// Why expiry waits. It is one line of a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ExpiryWait {
    /// The clock is before [`UnixTime::BUILT`].
    ClockBeforeBuild,
    /// The clock is far from the newest record.
    ClockFarFromRecords {
        /// How far it is ahead; negative if it is behind.
        days: i64,
    },
    /// A round would remove a large share of the records.
    TooManyExpired {
        /// How many it would remove.
        expired: u64,
        /// How many there are.
        records: u64,
    },
}

impl ExpiryWait {
    /// Whether both are the same state, perhaps with other numbers.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        core::mem::discriminant(self) == core::mem::discriminant(other)
    }
}

impl fmt::Display for ExpiryWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockBeforeBuild => f.write_str("the clock shows a time before this program was built"),
            Self::ClockFarFromRecords { days } => {
                let side = if *days < 0 { "behind" } else { "ahead of" };
                write!(f, "the clock is {} days {side} the newest record", days.unsigned_abs())
            }
            Self::TooManyExpired { expired, records } => {
                write!(f, "{expired} of {records} records would be removed at once")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_wrong_clock_and_a_large_round_are_not_believed() {
        let now = UnixTime::BUILT.after(Duration::from_secs(1000 * DAY.unsigned_abs()));
        let days = |days: u64| Duration::from_secs(days * DAY.unsigned_abs());
        let survey = |records, expired, newest| Survey { records, expired, newest: Some(newest) };
        let any = ExpiryGuard { max_offset: None, max_share: 100 };
        for (survey, text) in [
            (Survey::default(), None),
            (survey(999, 999, now), None),
            (survey(1000, 500, now.before(days(30))), None),
            (survey(1000, 501, now), Some("501 of 1000 records would be removed at once")),
            (survey(5, 1, now.before(days(31))), Some("the clock is 31 days ahead of the newest record")),
            (survey(5, 1, now.after(days(31))), Some("the clock is 31 days behind the newest record")),
            (survey(u64::MAX, u64::MAX, now), Some("18446744073709551615 of")),
        ] {
            let wait = ExpiryGuard::default().judge(now, &survey).map(|wait| wait.to_string());
            assert_eq!(wait.is_some(), text.is_some(), "{survey:?}");
            assert!(wait.unwrap_or_default().starts_with(text.unwrap_or_default()));
            assert_eq!(any.judge(now, &survey), None);
            let early = UnixTime::BUILT.before(Duration::from_micros(1));
            assert_eq!(any.judge(early, &survey), Some(ExpiryWait::ClockBeforeBuild));
        }
    }
}
