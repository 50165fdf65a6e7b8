//! A store in memory.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use crate::expiry::Survey;
use crate::protocol::digest::Digest;
use crate::record::Record;
use crate::store::{Mark, Progress, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task};
use crate::time::{Now, Tick, UnixTime};

/// Keeps records in memory. It is the model that tests compare every engine with.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    records: BTreeMap<Digest, Record>,
    /// The marks of signed counts, and when each was made.
    marks: BTreeMap<Mark, Tick>,
    /// Where the next slice of expiry begins.
    cursor: Option<Digest>,
    /// How many records have expired.
    expired: u64,
    /// The survey that has begun: its limit, what it has found, and where its next slice begins.
    survey: Option<(UnixTime, Survey, Digest)>,
}

impl MemoryStore {
    /// The records that one slice of expiry reads.
    const SLICE: usize = 1024;

    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all records, in the order of their digests.
    pub fn records(&self) -> impl Iterator<Item = (Digest, Record)> + '_ {
        self.records.iter().map(|(digest, record)| (*digest, *record))
    }

    /// Stores a whole record, in place of what the digest had.
    pub fn put(&mut self, digest: Digest, record: Record) {
        self.records.insert(digest, record);
    }

    /// Examines one slice.
    fn survey(&mut self, limit: UnixTime) -> Progress {
        let begun = self.survey.take().filter(|(of, ..)| *of == limit);
        let (mut survey, from) = match begun {
            Some((_, survey, last)) => (survey, Bound::Excluded(last)),
            None => (Survey::default(), Bound::Unbounded),
        };
        let (mut seen, mut last) = (0, None);
        for (digest, record) in self.records.range((from, Bound::Unbounded)).take(Self::SLICE) {
            survey.add(record, limit);
            seen += 1;
            last = Some(*digest);
        }
        let Some(last) = last.filter(|_| seen == Self::SLICE) else { return Progress::Surveyed(survey) };
        self.survey = Some((limit, survey, last));
        Progress::More
    }

    fn call(&mut self, now: Now, call: StoreCall) -> StoreAnswer {
        match call.op {
            StoreOp::Read => Ok(self.records.get(&call.digest).copied().unwrap_or_default()),
            StoreOp::Report | StoreOp::Whitelist => {
                if let Some(mark) = call.mark
                    && self.marks.insert(mark, now.tick).is_some()
                {
                    return Err(StoreError::AlreadyCounted);
                }
                let record = self.records.entry(call.digest).or_default();
                call.op.apply(record, now.wall);
                Ok(*record)
            }
        }
    }
}

impl Store for MemoryStore {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        answers.extend(calls.iter().map(|call| self.call(now, *call)));
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        self.marks.retain(|_, made| now.tick.since(*made) < Mark::LIFE);
        let limit = match task {
            Task::Sync => return Ok(Progress::Done),
            Task::Survey(limit) => return Ok(self.survey(limit)),
            Task::Expire(limit) => limit,
        };
        let from = self.cursor.take().map_or(Bound::Unbounded, Bound::Excluded);
        let slice: Vec<Digest> = self
            .records
            .range((from, Bound::Unbounded))
            .take(Self::SLICE)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in &slice {
            if self.records.get(digest).is_some_and(|record| record.expired(limit)) {
                self.records.remove(digest);
                self.expired += 1;
            }
        }
        if slice.len() < Self::SLICE {
            return Ok(Progress::Done);
        }
        self.cursor = slice.last().copied();
        Ok(Progress::More)
    }

    fn expired(&self) -> Option<u64> {
        Some(self.expired)
    }

    fn record_count(&mut self, _now: Now) -> Option<u64> {
        Some(self.records.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;

    fn digest(n: u32) -> Digest {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Digest::new(bytes)
    }

    fn at(seconds: i64) -> Now {
        Now { wall: UnixTime::from_seconds(seconds), tick: Tick::default() }
    }

    #[test]
    fn calls_of_one_batch_see_each_other() {
        let mut store = MemoryStore::new();
        let call = |op| StoreCall::new(digest(1), op);
        let mut answers = Vec::new();
        store.execute(
            at(7),
            &[StoreOp::Read, StoreOp::Report, StoreOp::Report, StoreOp::Read].map(call),
            &mut answers,
        );
        let counts: Vec<u64> = answers.iter().map(|answer| answer.unwrap().reports.count).collect();
        assert_eq!(counts, [0, 1, 2, 2]);
    }

    #[test]
    fn a_store_in_a_box_is_that_store() {
        let mut store: Box<dyn Store> = Box::new(MemoryStore::new());
        let mut answers = Vec::new();
        store.execute(at(7), &[StoreCall::new(digest(1), StoreOp::Report)], &mut answers);
        assert_eq!(answers.len(), 1);
        assert_eq!(store.upkeep(at(7), Task::Sync).unwrap(), Progress::Done);
    }

    #[test]
    fn a_mark_counts_once_while_it_lives() {
        let mut store = MemoryStore::new();
        let mark = |place| Mark { signature: digest(9), place };
        let call =
            |place| StoreCall { mark: Some(mark(place)), ..StoreCall::new(digest(1), StoreOp::Report) };
        let mut answers = Vec::new();
        store.execute(at(7), &[call(0), call(1), call(0)], &mut answers);
        let counted: Vec<_> = answers.iter().map(Result::is_ok).collect();
        assert_eq!((counted, answers[2]), (alloc::vec![true, true, false], Err(StoreError::AlreadyCounted)));
        let later = Now { tick: Tick::new(Mark::LIFE), ..at(7) };
        store.upkeep(later, Task::Sync).unwrap();
        store.execute(later, &[call(0)], &mut answers);
        assert_eq!(answers[3].unwrap().reports.count, 3);
    }

    #[test]
    fn reading_does_not_create_a_record() {
        let mut store = MemoryStore::new();
        store.execute(at(7), &[StoreCall::new(digest(1), StoreOp::Read)], &mut Vec::new());
        assert_eq!(store.records().count(), 0);
    }

    #[test]
    fn expiry_reaches_every_record_in_slices() {
        let mut store = MemoryStore::new();
        for n in 0..5000 {
            let calls = [StoreCall::new(digest(n), StoreOp::Report)];
            store.execute(at(if n % 3 == 0 { 10 } else { 1000 }), &calls, &mut Vec::new());
        }
        let task = Task::Expire(UnixTime::from_seconds(500));
        let mut slices = 1;
        while store.upkeep(at(1000), task).unwrap() == Progress::More {
            slices += 1;
            assert!(slices < 10, "expiry has an end");
        }
        assert!(slices > 2, "{slices} slices");
        assert_eq!(store.records().count(), 5000 - 5000_usize.div_ceil(3));
    }
}
