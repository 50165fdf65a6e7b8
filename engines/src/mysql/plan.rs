//! Turns a batch of calls into few statements: one that reads, one for each kind of write.
//!
//! All reads come before the writes. If the batch adds to a record and reads it later, the addition is made
//! to the answer here. Additions commute, so this is what the calls see one after another, and the number of
//! statements is bounded for any mix of calls.
//!
//! Counts with a mark are apart: each of their statements is in a transaction with the marks.

use std::collections::{BTreeMap, BTreeSet};

use pyzord_core::{Digest, Mark, Record, StoreAnswer, StoreCall, StoreError, StoreOp, UnixTime};

use super::error::StatementError;
use super::row::Unreadable;

/// What a batch asks for, each digest once in each statement, in the order of the digests: two servers that
/// lock rows in the same order do not deadlock.
#[derive(Debug, Default)]
pub(super) struct BatchPlan {
    pub(super) reads: BTreeSet<Digest>,
    /// How many reports to add.
    pub(super) reports: BTreeMap<Digest, u64>,
    /// How many whitelistings to add.
    pub(super) whitelists: BTreeMap<Digest, u64>,
    /// Reports with a mark.
    pub(super) marked_reports: BTreeMap<Mark, Digest>,
    /// Whitelistings with a mark.
    pub(super) marked_whitelists: BTreeMap<Mark, Digest>,
}

impl BatchPlan {
    /// Collects the calls of a batch.
    pub(super) fn new(calls: &[StoreCall]) -> Self {
        let mut plan = Self::default();
        for StoreCall { digest, op, mark } in calls {
            let (counts, marked) = match op {
                StoreOp::Read => {
                    plan.reads.insert(*digest);
                    continue;
                }
                StoreOp::Report => (&mut plan.reports, &mut plan.marked_reports),
                StoreOp::Whitelist => (&mut plan.whitelists, &mut plan.marked_whitelists),
            };
            match mark {
                Some(mark) => drop(marked.insert(*mark, *digest)),
                None => *counts.entry(*digest).or_default() += 1,
            }
        }
        plan
    }

    /// Returns the plan for a database that keeps no marks.
    pub(super) fn without_marks(mut self) -> Self {
        let marked = |marked: &mut BTreeMap<Mark, Digest>, counts: &mut BTreeMap<Digest, u64>| {
            std::mem::take(marked).into_values().for_each(|digest| *counts.entry(digest).or_default() += 1);
        };
        marked(&mut self.marked_reports, &mut self.reports);
        marked(&mut self.marked_whitelists, &mut self.whitelists);
        self
    }
}

/// The result of a plan. What is missing was not executed.
#[derive(Debug, Default)]
pub(super) struct BatchResult {
    /// One for each digest that was read, with or without a row.
    pub(super) found: BTreeMap<Digest, Result<Record, StoreError>>,
    /// The outcome of each count without a mark that was executed, refused, or sent.
    pub(super) reported: BTreeMap<Digest, Result<(), StoreError>>,
    pub(super) whitelisted: BTreeMap<Digest, Result<(), StoreError>>,
    /// The answer to each count with a mark that was executed or refused; [`StoreError::Unsettled`] if it is in doubt.
    pub(super) marked: BTreeMap<Mark, StoreAnswer>,
    /// Whether counts with a mark are apart; `None` as long as there was no connection.
    pub(super) keeps_marks: Option<bool>,
    /// Why a count failed that other transactions were in the way of, all the time.
    pub(super) contended: Option<StatementError>,
    /// The first record that cannot be read.
    pub(super) unreadable: Option<(Digest, Unreadable)>,
}

impl BatchResult {
    /// Appends the answer to each call, in order. `rounded` returns a record as the table has room for it.
    pub(super) fn answers(
        mut self,
        calls: &[StoreCall],
        now: UnixTime,
        rounded: impl Fn(&Record) -> Record,
        answers: &mut Vec<StoreAnswer>,
    ) {
        for call in calls {
            answers.push(match call.op {
                StoreOp::Read => {
                    self.found.get(&call.digest).copied().unwrap_or(Err(StoreError::Unavailable))
                }
                StoreOp::Report | StoreOp::Whitelist => self.written(*call, now, &rounded),
            });
        }
    }

    /// Returns the answer to a write. Later reads of the digest see the write, or fail as it failed.
    fn written(
        &mut self,
        call: StoreCall,
        now: UnixTime,
        rounded: impl Fn(&Record) -> Record,
    ) -> StoreAnswer {
        let answer = self.outcome(call);
        if let Some(found) = self.found.get_mut(&call.digest) {
            match (&mut *found, answer) {
                (Ok(record), Ok(_)) => {
                    call.op.apply(record, now);
                    *record = rounded(record);
                }
                (Ok(_), Err(StoreError::AlreadyCounted)) | (Err(_), _) => (),
                (Ok(_), Err(_)) => *found = Err(StoreError::Unavailable),
            }
        }
        answer
    }

    /// Returns what became of a write.
    fn outcome(&mut self, call: StoreCall) -> StoreAnswer {
        if let Some(mark) = call.mark.filter(|_| self.keeps_marks == Some(true)) {
            let answer = self.marked.get_mut(&mark).ok_or(StoreError::Unavailable)?;
            // A copy in the same batch is not counted again.
            let again = answer.and(Err(StoreError::AlreadyCounted));
            return std::mem::replace(answer, again);
        }
        let done = if call.op == StoreOp::Report { &self.reported } else { &self.whitelisted };
        // The answer to a count needs no record.
        done.get(&call.digest).copied().unwrap_or(Err(StoreError::Unavailable)).map(|()| Record::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call((op, n): (StoreOp, u8)) -> StoreCall {
        StoreCall::new(Digest::new([n; 20]), op)
    }

    #[test]
    fn reads_see_the_writes_before_them_in_the_batch() {
        use StoreOp::{Read, Report, Whitelist};
        let calls = [
            (Read, 1),
            (Report, 1),
            (Read, 1),
            (Report, 1),
            (Whitelist, 1),
            (Read, 1),
            (Read, 2),
            (Report, 3),
        ]
        .map(call);
        let plan = BatchPlan::new(&calls);
        assert_eq!(plan.reads.len(), 2);
        assert_eq!(plan.reports.into_values().collect::<Vec<_>>(), [2, 1]);
        assert_eq!(plan.whitelists.into_values().collect::<Vec<_>>(), [1]);

        let one = Digest::new([1; 20]);
        let mut record = Record::default();
        record.reports.count = 5;
        let outcome = BatchResult {
            found: [(one, Ok(record)), (Digest::new([2; 20]), Ok(Record::default()))].into(),
            reported: [(one, Ok(())), (Digest::new([3; 20]), Ok(()))].into(),
            whitelisted: [(one, Ok(()))].into(),
            ..BatchResult::default()
        };
        let mut answers = Vec::new();
        outcome.answers(&calls, UnixTime::from_seconds(9), |record| *record, &mut answers);
        let counts = |n: usize| answers[n].map(|record| (record.reports.count, record.whitelists.count));
        assert_eq!([0, 2, 5, 6].map(counts), [Ok((5, 0)), Ok((6, 0)), Ok((7, 1)), Ok((0, 0))]);
        assert_eq!(answers[5].unwrap().reports.updated, Some(UnixTime::from_seconds(9)));
    }

    #[test]
    fn what_failed_is_unavailable_and_so_is_what_depends_on_it() {
        use StoreOp::{Read, Report, Whitelist};
        let calls = [(Read, 1), (Report, 1), (Read, 1), (Whitelist, 2), (Read, 3)].map(call);
        let outcome = BatchResult {
            found: [(Digest::new([1; 20]), Ok(Record::default()))].into(),
            ..BatchResult::default()
        };
        let mut answers = Vec::new();
        outcome.answers(&calls, UnixTime::from_seconds(9), |record| *record, &mut answers);
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false, false]);
    }

    #[test]
    fn counts_with_marks_are_apart_where_marks_are_kept() {
        let marked = |place| {
            let mark = Some(Mark { signature: Digest::new([9; 20]), place });
            StoreCall { mark, ..call((StoreOp::Report, 1)) }
        };
        let calls = [marked(0), marked(1), marked(0), call((StoreOp::Report, 1)), call((StoreOp::Read, 1))];
        let plan = BatchPlan::new(&calls);
        assert_eq!((plan.marked_reports.len(), plan.reports.values().sum::<u64>()), (2, 1));
        let plan = plan.without_marks();
        assert_eq!((plan.marked_reports.len(), plan.reports.values().sum::<u64>()), (0, 3));

        let one = Digest::new([1; 20]);
        let [first, second] = [0, 1].map(|place| Mark { signature: Digest::new([9; 20]), place });
        let outcome = BatchResult {
            found: [(one, Ok(Record::default()))].into(),
            reported: [(one, Err(StoreError::Unknown))].into(),
            marked: [(first, Ok(Record::default())), (second, Err(StoreError::AlreadyCounted))].into(),
            keeps_marks: Some(true),
            ..BatchResult::default()
        };
        let mut answers = Vec::new();
        outcome.answers(&calls[1..4], UnixTime::from_seconds(9), |record| *record, &mut answers);
        let ok = Ok(Record::default());
        assert_eq!(answers, [Err(StoreError::AlreadyCounted), ok, Err(StoreError::Unknown)]);
    }
}
