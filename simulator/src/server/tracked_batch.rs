//! A batch that is being received, together with the copies in it.

use std::mem;

use pyzord_core::{Batch, StoreCall};

use super::tracked_asked::TrackedAsked;
use crate::checker::BatchEntry;
use crate::context::Context;
use crate::invariant::Checked;

#[derive(Debug, Default)]
pub(super) struct TrackedBatch {
    pub(super) batch: Batch,
    /// The copies that need no store, in the order of the batch.
    ready: Vec<BatchEntry>,
    /// The copies that wait for the store, in the order of the batch.
    pub(super) waiting: Vec<BatchEntry>,
    /// Calls that were not granted.
    pub(super) extra: Vec<StoreCall>,
}

impl TrackedBatch {
    /// Adds the copy that the batch has just accepted.
    pub(super) fn add(&mut self, entry: BatchEntry) {
        let waits = self.batch.waiting() > self.waiting.len();
        let entries = if waits { &mut self.waiting } else { &mut self.ready };
        entries.push(entry);
    }

    /// Returns the calls for the store.
    pub(super) fn calls(&self, context: &Context) -> Checked<Vec<StoreCall>> {
        let calls = [self.batch.calls(), &self.extra].concat();
        context.checker.asks(&self.waiting, &calls)?;
        context.checker.asks(&self.ready, &[])?;
        Ok(calls)
    }

    /// Ends the batch.
    pub(super) fn ask(&mut self) -> TrackedAsked {
        self.extra.clear();
        let entries = self.ready.drain(..).chain(self.waiting.drain(..)).collect();
        TrackedAsked::new(mem::take(&mut self.batch).ask(), entries)
    }
}
