//! A batch together with the copies in it.

use pyzord_core::{Batch, Guard, StoreAnswer, StoreCall};

use crate::checker::BatchEntry;
use crate::context::Context;
use crate::invariant::{Checked, Invariant};
use crate::plan::Sabotage;

#[derive(Debug, Default)]
pub(super) struct TrackedBatch {
    pub(super) batch: Batch,
    /// The copies in the batch, in the same order.
    pub(super) asked: Vec<BatchEntry>,
    /// Calls that were not granted.
    pub(super) extra: Vec<StoreCall>,
}

impl TrackedBatch {
    /// Returns the calls for the store.
    pub(super) fn calls(&self, context: &Context) -> Checked<Vec<StoreCall>> {
        let calls = [self.batch.calls(), &self.extra].concat();
        context.checker.asks(&self.asked, &calls)?;
        Ok(calls)
    }

    /// Sends the replies.
    pub(super) fn answer(
        &mut self,
        context: &mut Context,
        guard: &mut Guard,
        answers: &[StoreAnswer],
    ) -> Checked {
        let known = if context.has(Sabotage::LosesAnswers) { answers.len() / 2 } else { answers.len() };
        self.batch.resolve(answers.get(..known).unwrap_or_default());
        if !context.has(Sabotage::NeverSettles) {
            self.batch.settle(guard);
        }
        let replies = self.batch.replies().count();
        let copies = self.asked.len();
        Invariant::AnsweredOnce
            .holds(replies == copies, || format!("{replies} replies were made for {copies} requests"))?;
        let mut previous = None;
        for ((mut peer, bytes), BatchEntry { copy, .. }) in self.batch.replies().zip(&self.asked) {
            let mut bytes = bytes.to_vec();
            if context.has(Sabotage::PadsReplies) {
                bytes.extend([b'\n'; 600]);
            }
            if let (true, Some(previous)) = (context.has(Sabotage::MixesPeers), previous.replace(peer)) {
                peer = previous;
            }
            context.reply(*copy, peer, &bytes)?;
            if context.has(Sabotage::AnswersTwice) {
                context.reply(*copy, peer, &bytes)?;
            }
        }
        self.clear();
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.batch.clear();
        self.asked.clear();
        self.extra.clear();
    }
}
