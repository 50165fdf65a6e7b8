//! What a store keeps for a digest.

use crate::time::UnixTime;

/// How often, and when first and last, something was said about a digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tally {
    /// How often: 0 to [`Tally::MAX`].
    pub count: u64,
    /// When first; `None` is never.
    pub entered: Option<UnixTime>,
    /// When last; `None` is never.
    pub updated: Option<UnixTime>,
}

impl Tally {
    const EMPTY: Self = Self { count: 0, entered: None, updated: None };

    /// The largest count, 9223372036854775807: where the Python server stopped counting, too.
    pub const MAX: u64 = i64::MAX.cast_unsigned();

    /// Counts one more at `now`. A count at [`Tally::MAX`] stays there.
    pub fn add(&mut self, now: UnixTime) {
        self.count = self.count.saturating_add(1).min(Self::MAX);
        self.entered.get_or_insert(now);
        self.updated = Some(now);
    }
}

/// A digest's reports as spam and its whitelistings. A digest that no store knows has the default record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Record {
    /// Reports as spam: `r_count`, `r_entered`, `r_updated`.
    pub reports: Tally,
    /// Whitelistings: `wl_count`, `wl_entered`, `wl_updated`.
    pub whitelists: Tally,
}

impl Record {
    /// The record of a digest that no store knows.
    pub(crate) const EMPTY: Self = Self { reports: Tally::EMPTY, whitelists: Tally::EMPTY };

    /// The latest report or whitelisting, which is what a record's age is counted from.
    #[must_use]
    pub fn latest_activity(&self) -> Option<UnixTime> {
        self.reports.updated.max(self.whitelists.updated)
    }

    /// Whether the latest activity was before `limit`. A record without any date has no age and is kept.
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

    /// Python looked at the reports alone: it dropped records that were still being whitelisted, and
    /// failed to start when one had never been reported.
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
