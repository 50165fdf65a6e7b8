//! Moves of single records: what is to be done, and after an interruption, what was done.

use clap::ValueEnum;
use pyzord_core::{Digest, Record, Tally};

/// What becomes of a record of which the destination has another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum OnConflict {
    /// Keep it, and leave the source's where it is
    Keep,
    /// Replace it by the source's
    Replace,
    /// Add the source's counts to it; needs --delete
    Add,
}

impl OnConflict {
    /// Returns what was done with the destination's record.
    pub(crate) const fn done(self) -> &'static str {
        match self {
            Self::Keep => "kept",
            Self::Replace => "replaced",
            Self::Add => "added to",
        }
    }
}

/// The move of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Move {
    pub(crate) digest: Digest,
    /// The record of the source.
    pub(crate) record: Record,
    /// What the destination has before the move, and after it.
    pub(crate) before: Record,
    pub(crate) after: Record,
}

/// How far an interrupted move came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// The source no longer has the record.
    Removed,
    /// Both databases have it.
    Stored,
    /// The destination does not have it.
    NotBegun,
    /// The destination counted meanwhile, so that its record does not show whether the source's is a part of it.
    Unknown,
}

impl Move {
    /// Tells from the present records of both databases how far the move came. A server may have counted in both.
    pub(crate) fn progress(&self, source: &Record, destination: &Record) -> Progress {
        let Self { record, before, after, .. } = self;
        if !contains(source, record) {
            Progress::Removed
        } else if destination == after {
            Progress::Stored
        } else if destination == before {
            Progress::NotBegun
        } else {
            self.trace(destination)
        }
    }

    /// Looks for the move in a record that was counted since.
    fn trace(&self, destination: &Record) -> Progress {
        let kinds: [fn(&Record) -> &Tally; 2] = [|record| &record.reports, |record| &record.whitelists];
        let mut progress = Progress::Unknown;
        for kind in kinds.into_iter().filter(|kind| kind(&self.record).count > 0) {
            let (before, after, present) = (kind(&self.before), kind(&self.after), kind(destination));
            if present.count < after.count {
                return Progress::NotBegun;
            }
            // No server changes the date of the first report.
            if before.entered != after.entered {
                let stored = present.entered == after.entered;
                progress = if stored { Progress::Stored } else { Progress::NotBegun };
            }
        }
        progress
    }
}

/// Returns whether a record is this part, or this part and what was counted since.
pub(crate) fn contains(whole: &Record, part: &Record) -> bool {
    let has = |whole: &Tally, part: &Tally| {
        part.count == 0 || whole.count >= part.count && whole.entered == part.entered
    };
    let counted = part.reports.count > 0 || part.whitelists.count > 0;
    if counted {
        has(&whole.reports, &part.reports) && has(&whole.whitelists, &part.whitelists)
    } else {
        whole == part && *part != Record::default()
    }
}

/// Returns what was counted in `whole` since it was `part`. When that began is not known; and without the date of its first
/// report it is not mistaken for the part.
pub(crate) fn rest(whole: &Record, part: &Record) -> Record {
    let tally = |whole: &Tally, part: &Tally| match whole.count.saturating_sub(part.count) {
        0 => Tally::default(),
        count => Tally { count, entered: None, updated: whole.updated },
    };
    Record {
        reports: tally(&whole.reports, &part.reports),
        whitelists: tally(&whole.whitelists, &part.whitelists),
    }
}

/// Returns the sum of two records, with their outermost dates.
pub(crate) fn sum(one: &Record, other: &Record) -> Record {
    let tally = |one: &Tally, other: &Tally| Tally {
        count: one.count.saturating_add(other.count).min(Tally::MAX),
        entered: [one.entered, other.entered].into_iter().flatten().min(),
        updated: one.updated.max(other.updated),
    };
    Record {
        reports: tally(&one.reports, &other.reports),
        whitelists: tally(&one.whitelists, &other.whitelists),
    }
}

#[cfg(test)]
mod tests {
    use pyzord_core::UnixTime;

    use super::*;

    fn record(count: u64, entered: i64, updated: i64) -> Record {
        let at = |seconds| (seconds != 0).then(|| UnixTime::from_seconds(seconds));
        Record { reports: Tally { count, entered: at(entered), updated: at(updated) }, ..Record::default() }
    }

    fn moved(record: Record, before: Record) -> Move {
        Move { digest: Digest::new([7; 20]), record, before, after: sum(&before, &record) }
    }

    /// With `add`, a second run after a kill counted what the first one had added.
    #[test]
    fn the_records_show_how_far_a_move_came() {
        let none = Record::default();
        let old = moved(record(1000, 10, 20), record(3, 40, 50));
        let new = moved(record(1000, 10, 20), none);
        let late = moved(
            Record { reports: Tally { entered: None, ..record(2, 0, 60).reports }, ..none },
            record(1000, 10, 20),
        );
        for (what, source, destination, expected) in [
            (&old, none, record(1003, 10, 50), Progress::Removed),
            (&old, record(1, 70, 70), record(1003, 10, 50), Progress::Removed),
            (&old, record(1000, 10, 20), record(1003, 10, 50), Progress::Stored),
            (&old, record(1004, 10, 70), record(1005, 10, 80), Progress::Stored),
            (&old, record(1000, 10, 20), record(3, 40, 50), Progress::NotBegun),
            (&old, record(1000, 10, 20), record(4, 40, 70), Progress::NotBegun),
            (&old, record(1000, 10, 20), record(2000, 40, 70), Progress::NotBegun),
            (&new, record(1000, 10, 20), none, Progress::NotBegun),
            (&new, record(1000, 10, 20), record(5, 60, 70), Progress::NotBegun),
            (&new, record(1000, 10, 20), record(1001, 10, 70), Progress::Stored),
            (&late, record(2, 0, 60), record(1002, 10, 60), Progress::Stored),
            (&late, record(2, 0, 60), record(1001, 10, 70), Progress::NotBegun),
            (&late, record(2, 0, 60), record(1005, 10, 70), Progress::Unknown),
        ] {
            assert_eq!(what.progress(&source, &destination), expected, "{what:?} {source:?} {destination:?}");
        }
    }

    #[test]
    fn what_was_counted_since_is_not_the_record_itself() {
        let (before, after) = (record(1, 10, 10), record(2, 10, 10));
        assert!(contains(&after, &before) && !contains(&before, &after));
        let left = rest(&after, &before);
        assert_eq!((left.reports.count, left.reports.updated), (1, before.reports.updated));
        assert!(!contains(&left, &before));
        assert_eq!(sum(&before, &left), after);
    }
}
