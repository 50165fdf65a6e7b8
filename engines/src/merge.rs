//! The calls of a batch, equal ones merged: a wave of the same spam is one write for each batch.

use pyzord_core::{Digest, StoreAnswer, StoreCall, StoreOp};

/// Equal calls with no other call on their digest between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) digest: Digest,
    pub(crate) op: StoreOp,
    /// How many calls it stands for, at least 1.
    pub(crate) times: u32,
}

/// What a batch comes to. For each digest the steps have the order of its calls; of different digests they have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    /// The calls in the order of their digests' beginnings, and behind those of their positions; kept for its memory.
    order: Vec<u128>,
    /// The step of each call.
    step_of: Vec<usize>,
}

impl Steps {
    /// The steps of these calls, which [`answers`](Self::answers) will be about.
    pub(crate) fn merge(&mut self, calls: &[StoreCall]) -> &[Step] {
        self.steps.clear();
        self.step_of.clear();
        self.step_of.resize(calls.len(), 0);
        self.order.clear();
        self.order.extend(calls.iter().enumerate().map(key));
        self.order.sort_unstable();
        for key in &self.order {
            let position = position(*key);
            let Some(StoreCall { digest, op }) = calls.get(position).copied() else { continue };
            match self.steps.last_mut() {
                Some(last) if last.digest == digest && last.op == op => last.times += 1,
                _ => self.steps.push(Step { digest, op, times: 1 }),
            }
            if let Some(step) = self.step_of.get_mut(position) {
                *step = self.steps.len() - 1;
            }
        }
        &self.steps
    }

    /// Appends the answer to each call, which is the one to its step.
    pub(crate) fn answers(&self, of_steps: &[StoreAnswer], answers: &mut Vec<StoreAnswer>) {
        answers.extend(self.step_of.iter().filter_map(|step| of_steps.get(*step)));
    }
}

/// Numbers are compared in a fraction of the time that digests take. Different digests with the same beginning may stand
/// between equal ones, which are then not merged.
fn key((position, call): (usize, &StoreCall)) -> u128 {
    let beginning = call.digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    u128::from(beginning) << 64 | position as u128
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is a position")]
const fn position(key: u128) -> usize {
    key as u64 as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pyzord_core::{MemoryStore, Now, Record, Store, Tick, UnixTime};

    use super::*;

    fn call(n: u8, op: StoreOp) -> StoreCall {
        StoreCall { digest: Digest::new([n; 20]), op }
    }

    #[test]
    fn equal_calls_are_one_step_unless_another_is_between_them() {
        use StoreOp::{Read, Report};
        let calls = [(7, Report), (3, Read), (7, Report), (7, Read), (3, Read), (7, Report)];
        let mut steps = Steps::default();
        let merged = steps.merge(&calls.map(|(n, op)| call(n, op)));
        let shown: Vec<_> =
            merged.iter().map(|step| (step.digest.as_bytes()[0], step.op, step.times)).collect();
        assert_eq!(shown, [(3, Read, 2), (7, Report, 2), (7, Read, 1), (7, Report, 1)]);
    }

    fn calls() -> impl Strategy<Value = Vec<StoreCall>> {
        let op = prop_oneof![Just(StoreOp::Read), Just(StoreOp::Report), Just(StoreOp::Whitelist)];
        proptest::collection::vec((0_u8..4, op).prop_map(|(n, op)| call(n, op)), 0..40)
    }

    proptest! {
        #[test]
        fn steps_do_what_the_calls_do(first in calls(), second in calls()) {
            let now = Now { wall: UnixTime::from_seconds(7), tick: Tick::default() };
            let (mut one_by_one, mut merged, mut steps) = (MemoryStore::new(), MemoryStore::new(), Steps::default());
            for calls in [first, second] {
                let (mut expected, mut of_steps, mut answers) = (Vec::new(), Vec::new(), Vec::new());
                one_by_one.execute(now, &calls, &mut expected);
                for Step { digest, op, times } in steps.merge(&calls) {
                    let mut all = Vec::new();
                    merged.execute(now, &vec![StoreCall { digest: *digest, op: *op }; *times as usize], &mut all);
                    of_steps.extend(all.pop());
                }
                steps.answers(&of_steps, &mut answers);
                // What a count is answered with is nobody's business.
                let reads = |answers: Vec<StoreAnswer>| -> Vec<Option<Record>> {
                    let answers = calls.iter().zip(answers);
                    answers.map(|(call, answer)| (call.op == StoreOp::Read).then(|| answer.unwrap())).collect()
                };
                prop_assert_eq!(reads(answers), reads(expected));
            }
        }
    }
}
