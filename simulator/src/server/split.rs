//! The steps of a worker that reads from a split store itself and hands over what counts.

use std::time::Duration;

use pyzord_core::{Batch, Now, StoreCall, StoreError};
use pyzord_runtime::Execution;

use super::connection::Connections;
use super::shared::Shared;
use super::tracked_asked::TrackedAsked;
use super::tracked_batch::TrackedBatch;
use super::worker::State;
use crate::context::Context;
use crate::database::Database;
use crate::invariant::Checked;
use crate::plan::Sabotage;

impl Shared {
    /// Hands over what counts, and the reads that have to wait for it; executes the others.
    pub(super) fn ask_split(
        &mut self,
        context: &mut Context,
        database: &mut Database,
        connections: &mut Connections,
        batch: &mut TrackedBatch,
        calls: &[StoreCall],
        now: Now,
    ) -> Checked<(State, Duration)> {
        if !batch.waiting.is_empty() {
            self.hand_over(context, connections, batch, calls)?;
        }
        let calls = batch.batch.calls().to_vec();
        if calls.is_empty() {
            return Ok((State::Answering(Box::new(batch.ask()), Vec::new()), context.random.micros(1, 40)));
        }
        let (answers, delay) = database.read_split(context, now, &batch.waiting, &calls)?;
        // A read that has failed has its place all the same.
        batch.waiting.iter().for_each(|entry| context.checker.order.answered(entry.copy));
        Ok((State::Answering(Box::new(batch.ask()), answers), delay))
    }

    fn hand_over(
        &mut self,
        context: &mut Context,
        connections: &mut Connections,
        batch: &mut TrackedBatch,
        calls: &[StoreCall],
    ) -> Checked {
        let mut moved = Batch::new();
        let execution = self.splitter.split(&mut batch.batch, &mut moved);
        if execution == Execution::Elsewhere || context.has(Sabotage::ReadsWait) {
            batch.batch.part(&mut moved, |_| true);
        }
        let all = batch.waiting.clone();
        let handed = batch.part(&moved);
        context.checker.order.split(&all, calls, |copy| handed.iter().any(|entry| entry.copy == copy))?;
        context.checker.order.handed_over(&all, calls);
        if handed.is_empty() {
            return Ok(());
        }
        let waiting = self.queue.waiting();
        if self.queue.submit(&mut moved) {
            let in_flight = self.queue.waiting() + connections.busy();
            connections.wake(context, self.generation);
            let joined = self.queue.waiting() == waiting;
            let most = context.config.connections;
            return if joined { Ok(()) } else { context.checker.batch_in_flight(most, in_flight) };
        }
        context.note(|| "too many batches are in flight".to_owned());
        let in_flight = self.queue.waiting() + connections.busy();
        context.checker.batch_refused(context.config.connections, in_flight, &handed)?;
        context.checker.order.ended(&handed);
        let refused = TrackedAsked::new(moved.ask(), handed);
        refused.fail(context, self.handles.resolving(), StoreError::Unavailable).map(drop)
    }
}
