//! Changes of records that an engine makes in one step.

use pyzord_core::{Record, StoreFailure, Tally, UnixTime};

/// A change of one record. What a server counts meanwhile lands before it or after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Adds the counts of this record, and keeps the earliest and the latest dates.
    Merge(Record),
    /// Sets what it names, and leaves the rest.
    Set(RecordEdit),
}

/// New counts and dates of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordEdit {
    /// Of its reports.
    pub reports: TallyEdit,
    /// Of its whitelistings.
    pub whitelists: TallyEdit,
    /// The date of a count that has none.
    pub now: UnixTime,
}

/// A new count, a new last date, or both. A count of 0 has no dates, any other one that is changed gets both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TallyEdit {
    /// The number of times, at most [`Tally::MAX`]; `None` leaves it.
    pub count: Option<u64>,
    /// The last time; `None` leaves it.
    pub last: Option<UnixTime>,
}

/// Why a change was not made, or may not have been made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeError {
    /// The record stays as it is; others may be changed.
    #[error("{0}")]
    Refused(StoreFailure),
    /// The database cannot be used. The record stays as it is.
    #[error("{0}")]
    Away(StoreFailure),
    /// The database was asked and has not answered: the record may be changed, or may be later.
    #[error("{0}; it may be changed or not")]
    InDoubt(StoreFailure),
}

impl Change {
    /// Returns the record after the change.
    #[must_use]
    pub fn apply(&self, old: &Record) -> Record {
        match self {
            Self::Merge(record) => Record {
                reports: sum(old.reports, record.reports),
                whitelists: sum(old.whitelists, record.whitelists),
            },
            Self::Set(RecordEdit { reports, whitelists, now }) => Record {
                reports: reports.apply(old.reports, *now),
                whitelists: whitelists.apply(old.whitelists, *now),
            },
        }
    }
}

impl TallyEdit {
    fn apply(self, old: Tally, now: UnixTime) -> Tally {
        let count = self.count.unwrap_or(old.count).min(Tally::MAX);
        if self == Self::default() {
            return old;
        }
        if count == 0 {
            return Tally::default();
        }
        if count == old.count && self.last.is_none() {
            return old;
        }
        let updated = self.last.or(old.updated).unwrap_or(now);
        let entered = old.entered.map_or(updated, |entered| entered.min(updated));
        Tally { count, entered: Some(entered), updated: Some(updated) }
    }
}

/// Returns the sum of two tallies with their outermost dates.
fn sum(one: Tally, other: Tally) -> Tally {
    Tally {
        count: one.count.saturating_add(other.count).min(Tally::MAX),
        entered: [one.entered, other.entered].into_iter().flatten().min(),
        updated: one.updated.max(other.updated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<UnixTime> {
        Some(UnixTime::from_seconds(seconds))
    }

    fn tally(count: u64, entered: Option<UnixTime>, updated: Option<UnixTime>) -> Tally {
        Tally { count, entered, updated }
    }

    #[test]
    fn merging_adds_counts_and_keeps_the_outermost_dates() {
        let record =
            |count, entered, updated| Record { reports: tally(count, entered, updated), ..Record::default() };
        let (old, new) = (record(5, at(10), at(20)), record(2, at(15), at(30)));
        let merged = |old: &Record, new: &Record| Change::Merge(*new).apply(old);
        assert_eq!(merged(&old, &new), record(7, at(10), at(30)));
        assert_eq!(merged(&new, &old), merged(&old, &new));
        assert_eq!(merged(&Record::default(), &old), old);
        assert_eq!(merged(&record(Tally::MAX, None, None), &old).reports.count, Tally::MAX);
    }

    #[test]
    fn a_count_has_dates_and_no_count_has_none() {
        let old = tally(5, at(10), at(20));
        for (old, count, last, new) in [
            (old, None, None, old),
            (old, Some(7), None, tally(7, at(10), at(20))),
            (old, Some(0), None, Tally::default()),
            (old, Some(0), at(30), Tally::default()),
            (old, None, at(30), tally(5, at(10), at(30))),
            (old, None, at(5), tally(5, at(5), at(5))),
            (Tally::default(), Some(3), None, tally(3, at(99), at(99))),
            (Tally::default(), Some(3), at(30), tally(3, at(30), at(30))),
            (Tally::default(), None, at(30), Tally::default()),
        ] {
            let edit = TallyEdit { count, last };
            assert_eq!(edit.apply(old, UnixTime::from_seconds(99)), new, "{old:?} {edit:?}");
        }
    }
}
