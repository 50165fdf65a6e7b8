//! Records of digests.

use crate::time::UnixTime;

/// How often a digest was reported or whitelisted, and when first and last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tally {
    /// The number of times, 0 to [`Tally::MAX`].
    pub count: u64,
    /// The first time; `None` for never.
    pub entered: Option<UnixTime>,
    /// The last time; `None` for never.
    pub updated: Option<UnixTime>,
}

impl Tally {
    const EMPTY: Self = Self { count: 0, entered: None, updated: None };

    /// The largest count, 9223372036854775807, as in the Python server.
    pub const MAX: u64 = i64::MAX.cast_unsigned();

    /// Adds one at `now`. A count of [`Tally::MAX`] stays, and dates do not go back, see [`UnixTime::or_later`].
    pub fn add(&mut self, now: UnixTime) {
        self.count = self.count.saturating_add(1).min(Self::MAX);
        self.entered.get_or_insert(now);
        self.updated = Some(now.or_later(self.updated));
    }
}

/// The reports and whitelistings of a digest. A digest that a store does not know has the default record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Record {
    /// Its reports as spam: `r_count`, `r_entered`, `r_updated`.
    pub reports: Tally,
    /// Its whitelistings: `wl_count`, `wl_entered`, `wl_updated`.
    pub whitelists: Tally,
}

impl Record {
    /// The record of a digest that a store does not know.
    pub(crate) const EMPTY: Self = Self { reports: Tally::EMPTY, whitelists: Tally::EMPTY };

    /// Returns the time of the latest report or whitelisting, from which the age of a record counts.
    #[must_use]
    pub fn latest_activity(&self) -> Option<UnixTime> {
        self.reports.updated.max(self.whitelists.updated)
    }

    /// Whether the latest activity was before `limit`. A record without dates never expires.
    #[must_use]
    pub fn expired(&self, limit: UnixTime) -> bool {
        self.latest_activity().is_some_and(|latest| latest < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_saturate_and_dates_follow() {
        let (first, last) = (UnixTime::from_seconds(5), UnixTime::from_seconds(9));
        let mut tally = Tally { count: Tally::MAX - 1, ..Tally::default() };
        tally.add(first);
        tally.add(last);
        assert_eq!(tally, Tally { count: Tally::MAX, entered: Some(first), updated: Some(last) });
    }

    /// The Python server compares reports only: it drops records that are still whitelisted, and does not start with a
    /// record that was never reported.
    #[test]
    fn age_is_counted_from_the_latest_activity_of_either_kind() {
        let mut record = Record::default();
        assert!(!record.expired(UnixTime::from_seconds(100)));
        record.reports.add(UnixTime::from_seconds(10));
        assert!(record.expired(UnixTime::from_seconds(11)));
        assert!(!record.expired(UnixTime::from_seconds(10)));
        record.whitelists.add(UnixTime::from_seconds(20));
        assert!(!record.expired(UnixTime::from_seconds(11)));
    }
}
