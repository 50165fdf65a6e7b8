//! Moves of single records, in stages that can be repeated.
//!
//! 1. *Store*: the destination's record becomes the new one, with a mark.
//! 2. *Remove*: the counts that are moved leave the source's record, which gets a mark.
//! 3. *Finish*: the destination's record gets its date in place of the mark. The source's is removed; what was counted in
//!    it meanwhile is the next move.
//!
//! A mark is a first date that no server writes, and that servers keep when they count. So a record shows whether the
//! change of its stage was made, whatever was counted since. No mark leaves a record in the stage that it is for, and the
//! journal has a stage on the disk before it begins.

use clap::ValueEnum;
use pyzord_core::{Digest, Record, Tally, UnixTime};

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

/// The stage that a move is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Store,
    Remove,
    Finish,
}

/// The move of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Move {
    pub(crate) stage: Stage,
    pub(crate) digest: Digest,
    /// The record of the source.
    pub(crate) record: Record,
    /// What the destination has before the move, and after it.
    pub(crate) before: Record,
    pub(crate) after: Record,
}

impl Move {
    pub(crate) const fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    /// Returns the record that the destination gets first.
    pub(crate) fn stored(&self) -> Record {
        Mark::beside(&self.before).on(&self.after)
    }

    /// Returns whether this record of the destination, as it is before the last stage is done, has the source's in it.
    pub(crate) fn is_stored(&self, destination: &Record) -> bool {
        Mark::beside(&self.before).is_on(destination)
    }

    /// Returns what the source has left of its record, or `None` if the moved one is not a part of it.
    pub(crate) fn rest(&self, source: &Record) -> Option<Record> {
        let tally = |whole: &Tally, part: &Tally| {
            let grown = whole.entered == part.entered || part.entered.is_none();
            let count = whole.count.checked_sub(part.count).filter(|_| grown || part.count == 0);
            count.map(|count| Tally { count, ..*whole })
        };
        let rest = Record {
            reports: tally(&source.reports, &self.record.reports)?,
            whitelists: tally(&source.whitelists, &self.record.whitelists)?,
        };
        Some(Mark::beside(&self.record).on(&rest))
    }

    /// Returns whether this record of the source, as it is before the last stage is done, has lost the moved one.
    pub(crate) fn is_removed(&self, source: &Record) -> bool {
        Mark::beside(&self.record).is_on(source)
    }

    /// Returns a stored record with its dates in place of the mark.
    pub(crate) fn finished(&self, destination: &Record) -> Record {
        unmarked(destination, &self.after)
    }
}

/// A first date that marks a record: noon of a day of January 1970, which every engine can hold in every time zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark(UnixTime);

impl Mark {
    /// There are two, as a record that has one may have to get one.
    const FIRST: Self = Self(UnixTime::from_seconds(129_600));
    const SECOND: Self = Self(UnixTime::from_seconds(216_000));

    /// Returns a mark that a record does not have.
    fn beside(record: &Record) -> Self {
        if Self::FIRST.is_on(record) { Self::SECOND } else { Self::FIRST }
    }

    fn on(self, record: &Record) -> Record {
        let tally = |tally: Tally| Tally { entered: Some(self.0), ..tally };
        Record { reports: tally(record.reports), whitelists: tally(record.whitelists) }
    }

    fn is_on(self, record: &Record) -> bool {
        [record.reports, record.whitelists].iter().any(|tally| self.is_in(tally))
    }

    fn is_in(self, tally: &Tally) -> bool {
        tally.entered == Some(self.0)
    }
}

/// Returns whether a record is what a server has counted since an earlier one was moved.
pub(crate) fn is_rest(record: &Record) -> bool {
    Mark::FIRST.is_on(record) || Mark::SECOND.is_on(record)
}

/// Returns a record without its mark. When its counts began is not known.
pub(crate) fn plain(record: &Record) -> Record {
    unmarked(record, &Record::default())
}

fn unmarked(record: &Record, dates: &Record) -> Record {
    let tally = |tally: &Tally, dates: &Tally| match tally {
        tally if !Mark::FIRST.is_in(tally) && !Mark::SECOND.is_in(tally) => *tally,
        Tally { count: 0, .. } => *dates,
        tally => Tally { entered: dates.entered.or(tally.updated), ..*tally },
    };
    Record {
        reports: tally(&record.reports, &dates.reports),
        whitelists: tally(&record.whitelists, &dates.whitelists),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(count: u64, entered: i64, updated: i64) -> Record {
        let at = |seconds| (seconds != 0).then(|| UnixTime::from_seconds(seconds));
        Record { reports: Tally { count, entered: at(entered), updated: at(updated) }, ..Record::default() }
    }

    /// Counts a report as servers do.
    fn reported(mut record: Record, now: i64) -> Record {
        let now = Some(UnixTime::from_seconds(now));
        let Tally { count, entered, .. } = record.reports;
        record.reports = Tally { count: count + 1, entered: entered.or(now), updated: now };
        record
    }

    fn moved(record: Record, before: Record, after: Record) -> Move {
        Move { stage: Stage::Store, digest: Digest::new([7; 20]), record, before, after }
    }

    /// A new report within the second of the moved one made a record that was equal to it: the next run took a record that
    /// was moved for one that was not, and the other way round.
    #[test]
    fn records_show_what_was_done_though_reports_of_one_second_came() {
        let (none, one) = (Record::default(), record(1, 50, 50));
        for (before, after) in [(none, one), (one, record(2, 50, 50)), (record(3, 40, 50), record(4, 40, 50))]
        {
            let step = moved(one, before, after);
            assert!(!step.is_stored(&before) && !step.is_stored(&reported(before, 50)), "{step:?}");
            assert!(step.is_stored(&step.stored()) && step.is_stored(&reported(step.stored(), 50)));
            assert_eq!(step.finished(&step.stored()), after);
            assert_eq!(step.finished(&reported(step.stored(), 60)), reported(after, 60));
            let rest = step.rest(&reported(one, 50)).unwrap();
            assert!(!step.is_removed(&one) && !step.is_removed(&reported(one, 50)));
            assert!(step.is_removed(&rest) && step.is_removed(&reported(rest, 50)));
            assert_eq!((rest.reports.count, plain(&rest)), (1, one));
        }
    }

    #[test]
    fn what_is_left_can_be_moved_as_well() {
        let one = record(1, 50, 50);
        let first = moved(one, Record::default(), one);
        let rest = reported(first.rest(&one).unwrap(), 70);
        let second = moved(rest, one, reported(one, 70));
        assert!(is_rest(&rest) && !second.is_removed(&rest) && !is_rest(&plain(&rest)));
        let nothing = second.rest(&rest).unwrap();
        assert!(second.is_removed(&nothing) && plain(&nothing) == Record::default());
        assert!(!first.is_removed(&nothing), "the marks differ");
    }

    #[test]
    fn another_record_is_not_taken_apart() {
        let step = moved(record(5, 50, 60), Record::default(), record(5, 50, 60));
        for (source, left) in [
            (record(4, 50, 70), None),
            (record(6, 51, 70), None),
            (record(7, 50, 70), Some(2)),
            (record(5, 50, 60), Some(0)),
        ] {
            assert_eq!(step.rest(&source).map(|rest| rest.reports.count), left, "{source:?}");
        }
        let undated = moved(record(5, 0, 60), Record::default(), record(5, 0, 60));
        assert_eq!(undated.rest(&reported(undated.record, 70)).map(|rest| rest.reports.count), Some(1));
    }
}
