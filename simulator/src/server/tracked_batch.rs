//! A batch that is being received, together with the copies in it.

use std::collections::BTreeSet;
use std::mem;

use pyzord_core::{Batch, StoreCall};

use super::tracked_asked::TrackedAsked;
use crate::checker::BatchEntry;
use crate::context::Context;
use crate::invariant::Checked;
use crate::payload::Sender;

#[derive(Debug, Default)]
pub(super) struct TrackedBatch {
    pub(super) batch: Batch<Sender>,
    /// The copies that need no store, in the order of the batch.
    ready: Vec<BatchEntry>,
    /// The copies that wait for the store, in the order of the batch.
    pub(super) waiting: Vec<BatchEntry>,
    /// The places in the batch of the copies that need no store, and of those that wait for it.
    places: [Vec<usize>; 2],
    /// Calls that were not granted.
    pub(super) extra: Vec<StoreCall>,
}

impl TrackedBatch {
    /// Adds the copy that the batch has just accepted.
    pub(super) fn add(&mut self, entry: BatchEntry) {
        let waits = self.batch.waiting() > self.waiting.len();
        let Self { ready, waiting, places: [ready_places, waiting_places], .. } = self;
        let place = ready_places.len() + waiting_places.len();
        let (entries, places) = if waits { (waiting, waiting_places) } else { (ready, ready_places) };
        entries.push(entry);
        places.push(place);
    }

    /// Returns the calls for the store.
    pub(super) fn calls(&self, context: &Context) -> Checked<Vec<StoreCall>> {
        let calls = [self.batch.calls(), &self.extra].concat();
        context.checker.asks(&self.waiting, &calls)?;
        context.checker.asks(&self.ready, &[])?;
        Ok(calls)
    }

    /// Takes out the copies that have moved to another batch.
    pub(super) fn part(&mut self, moved: &Batch<Sender>) -> Vec<BatchEntry> {
        let moved: BTreeSet<u64> = moved.asking().map(|(sender, _)| sender.copy).collect();
        let Self { waiting, places: [_, places], .. } = self;
        let mut kept = Vec::new();
        let mut parted = Vec::new();
        for (place, entry) in places.drain(..).zip(waiting.drain(..)) {
            if moved.contains(&entry.copy) { parted.push(entry) } else { kept.push((place, entry)) }
        }
        (*places, *waiting) = kept.into_iter().unzip();
        parted
    }

    /// Ends the batch.
    pub(super) fn ask(&mut self) -> TrackedAsked {
        self.extra.clear();
        let Self { ready, waiting, places: [ready_places, waiting_places], .. } = self;
        let ready = ready_places.drain(..).zip(ready.drain(..));
        // Copies that were handed over are gone, and their places with them.
        let waiting = waiting_places.drain(..).zip(waiting.drain(..));
        let mut entries: Vec<(usize, BatchEntry)> = ready.chain(waiting).collect();
        entries.sort_by_key(|(place, _)| *place);
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        TrackedAsked::new(mem::take(&mut self.batch).ask(), entries)
    }
}
