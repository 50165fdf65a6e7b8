//! Merges equal calls of a batch: a wave of reports of one mail costs one write for each batch.

use pyzord_core::{Digest, Mark, StoreAnswer, StoreCall, StoreError, StoreOp};

use crate::bug::bug;

/// Equal calls without another call on their digest between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MergedCall {
    pub(crate) digest: Digest,
    pub(crate) op: StoreOp,
    /// How many calls it stands for, at least 1.
    pub(crate) times: u32,
    /// The mark of a single call; `None` where marks are not kept.
    pub(crate) mark: Option<Mark>,
}

/// The merged calls of a batch. Those on one digest keep their order; those on different digests have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Merger {
    merged: Vec<MergedCall>,
    /// Whether calls with marks stay single.
    keeps_marks: bool,
    /// One sort key for each call, see [`sort_key`]; kept for its memory.
    order: Vec<u128>,
    /// For each call the index of its merged call.
    merged_of: Vec<usize>,
}

impl Merger {
    /// Returns a merger for a database that keeps marks: each call with one stays single.
    #[cfg(feature = "redis")]
    pub(crate) fn keeping_marks() -> Self {
        Self { keeps_marks: true, ..Self::default() }
    }

    /// Merges the calls of a batch; [`answers`](Self::answers) is about the last batch.
    pub(crate) fn merge(&mut self, calls: &[StoreCall]) -> &[MergedCall] {
        self.merged.clear();
        self.merged_of.clear();
        self.merged_of.resize(calls.len(), 0);
        self.order.clear();
        self.order.extend(calls.iter().enumerate().map(sort_key));
        self.order.sort_unstable();
        for key in &self.order {
            let position = position(*key);
            let (Some(StoreCall { digest, op, mark }), Some(merged_of)) =
                (calls.get(position).copied(), self.merged_of.get_mut(position))
            else {
                bug(format_args!("call {position} of {} is to be merged", calls.len()));
                continue;
            };
            let mark = mark.filter(|_| self.keeps_marks);
            match self.merged.last_mut() {
                Some(last)
                    if last.digest == digest && last.op == op && last.mark.is_none() && mark.is_none() =>
                {
                    last.times += 1;
                }
                _ => self.merged.push(MergedCall { digest, op, times: 1, mark }),
            }
            *merged_of = self.merged.len() - 1;
        }
        &self.merged
    }

    /// Returns the merged calls of the last batch.
    #[cfg(feature = "redis")]
    pub(crate) fn merged(&self) -> &[MergedCall] {
        &self.merged
    }

    /// Appends the answer to each call of the batch: that of its merged call.
    pub(crate) fn answers(&self, merged: &[StoreAnswer], answers: &mut Vec<StoreAnswer>) {
        answers.extend(self.merged_of.iter().map(|index| {
            merged.get(*index).copied().unwrap_or_else(|| {
                bug(format_args!("merged call {index} has no answer, there are {}", merged.len()));
                Err(StoreError::Unavailable)
            })
        }));
    }
}

/// The first 8 bytes of the digest, then the position of the call.
///
/// Numbers are compared in a fraction of the time that digests take. Different digests that begin alike may
/// stand between equal ones, which are then not merged.
fn sort_key((position, call): (usize, &StoreCall)) -> u128 {
    let [a, b, c, d, e, f, g, h, ..] = *call.digest.as_bytes();
    u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h])) << 64 | position as u128
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of a key is a position")]
const fn position(key: u128) -> usize {
    key as u64 as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pyzord_core::{MemoryStore, Now, Record, Store, Tick, UnixTime};

    use super::*;

    fn call(n: u8, op: StoreOp) -> StoreCall {
        StoreCall::new(Digest::new([n; 20]), op)
    }

    #[test]
    fn equal_calls_are_merged_unless_another_is_between_them() {
        use StoreOp::{Read, Report};
        let calls = [(7, Report), (3, Read), (7, Report), (7, Read), (3, Read), (7, Report)];
        let mut merger = Merger::default();
        let merged = merger.merge(&calls.map(|(n, op)| call(n, op)));
        let shown: Vec<_> =
            merged.iter().map(|call| (call.digest.as_bytes()[0], call.op, call.times)).collect();
        assert_eq!(shown, [(3, Read, 2), (7, Report, 2), (7, Read, 1), (7, Report, 1)]);
    }

    #[cfg(feature = "redis")]
    #[test]
    fn calls_with_marks_stay_single_where_marks_are_kept() {
        let mark = |place| Some(Mark { signature: Digest::new([9; 20]), place });
        let marked = |place| StoreCall { mark: mark(place), ..call(7, StoreOp::Report) };
        let calls = [call(7, StoreOp::Report), marked(0), marked(1), call(7, StoreOp::Report)];
        let mut merger = Merger::keeping_marks();
        let kept: Vec<_> = merger.merge(&calls).iter().map(|call| (call.times, call.mark)).collect();
        assert_eq!(kept, [(1, None), (1, mark(0)), (1, mark(1)), (1, None)]);
        let mut merger = Merger::default();
        let dropped: Vec<_> = merger.merge(&calls).iter().map(|call| (call.times, call.mark)).collect();
        assert_eq!(dropped, [(4, None)]);
    }

    fn calls() -> impl Strategy<Value = Vec<StoreCall>> {
        let op = prop_oneof![Just(StoreOp::Read), Just(StoreOp::Report), Just(StoreOp::Whitelist)];
        proptest::collection::vec((0_u8..4, op).prop_map(|(n, op)| call(n, op)), 0..40)
    }

    proptest! {
        #[test]
        fn merged_calls_do_what_the_calls_do(first in calls(), second in calls()) {
            let now = Now { wall: UnixTime::from_seconds(7), tick: Tick::default() };
            let (mut one_by_one, mut merged, mut merger) = (MemoryStore::new(), MemoryStore::new(), Merger::default());
            for calls in [first, second] {
                let (mut expected, mut merged_answers, mut answers) = (Vec::new(), Vec::new(), Vec::new());
                one_by_one.execute(now, &calls, &mut expected);
                for MergedCall { digest, op, times, .. } in merger.merge(&calls) {
                    let mut all = Vec::new();
                    merged.execute(now, &vec![StoreCall::new(*digest, *op); *times as usize], &mut all);
                    merged_answers.extend(all.pop());
                }
                merger.answers(&merged_answers, &mut answers);
                // The answer to a count holds no record to rely on.
                let reads = |answers: Vec<StoreAnswer>| -> Vec<Option<Record>> {
                    let answers = calls.iter().zip(answers);
                    answers.map(|(call, answer)| (call.op == StoreOp::Read).then(|| answer.unwrap())).collect()
                };
                prop_assert_eq!(reads(answers), reads(expected));
            }
        }
    }
}
