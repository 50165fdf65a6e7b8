//! The model of the order in which requests were handed over to the remote stores, or to split ones.

use std::collections::{BTreeMap, BTreeSet};

use pyzord_core::{Digest, StoreCall, StoreOp};

use super::BatchEntry;
use crate::invariant::{Checked, Invariant};

/// The requests that were handed over and are neither executed nor answered.
#[derive(Debug, Default)]
pub(crate) struct OrderModel {
    /// By their places.
    open: BTreeMap<u64, (u64, Vec<StoreCall>)>,
    /// By their copies.
    places: BTreeMap<u64, u64>,
    handed_over: u64,
    /// The counts that are neither executed by a split store nor refused, by their copies.
    under_way: BTreeMap<u64, Vec<StoreCall>>,
    /// The digests of reads that need not wait for a count, and those of them for which one does.
    free: BTreeSet<Digest>,
    strays: BTreeSet<Digest>,
}

impl OrderModel {
    /// Records that the requests of a batch were handed over, with these calls.
    pub(crate) fn handed_over(&mut self, batch: &[BatchEntry], calls: &[StoreCall]) {
        let mut calls = calls.iter().copied();
        for entry in batch {
            self.handed_over += 1;
            self.places.insert(entry.copy, self.handed_over);
            self.open.insert(self.handed_over, (entry.copy, calls.by_ref().take(entry.calls).collect()));
        }
    }

    /// Records that a worker has split a batch with these calls, and has handed over some of its requests.
    pub(crate) fn split(
        &mut self,
        batch: &[BatchEntry],
        calls: &[StoreCall],
        is_handed: impl Fn(u64) -> bool,
    ) -> Checked {
        let mut rest = calls.iter().copied();
        let requests: Vec<(u64, Vec<StoreCall>)> =
            batch.iter().map(|entry| (entry.copy, rest.by_ref().take(entry.calls).collect())).collect();
        let counts = |(_, calls): &&(u64, Vec<StoreCall>)| calls.iter().any(|call| call.op != StoreOp::Read);
        self.under_way.extend(requests.iter().filter(counts).cloned());
        for (copy, calls) in requests.iter().filter(|request| !counts(request)) {
            let mut counted = self.under_way.values().flatten();
            let is_free = !counted.any(|count| calls.iter().any(|call| conflict(call, count)));
            if is_free {
                self.free.extend(calls.iter().map(|call| call.digest));
            }
            if is_free && is_handed(*copy) {
                self.strays.extend(calls.iter().map(|call| call.digest));
            }
        }
        let [strays, free] = [&self.strays, &self.free].map(BTreeSet::len);
        Invariant::ReadsNeverWait.holds(strays <= 2 + free / 50, || {
            format!("reads of {strays} of {free} digests wait without a count to wait for")
        })
    }

    /// Records that a split store has executed requests, or that they never will be.
    pub(crate) fn ended(&mut self, batch: &[BatchEntry]) {
        batch.iter().for_each(|entry| drop(self.under_way.remove(&entry.copy)));
    }

    /// Checks that those of `calls` that are `applied` pass none that came before them. What was answered before it was
    /// executed has no order.
    pub(crate) fn applied(&mut self, batch: &[BatchEntry], calls: &[StoreCall], applied: &[bool]) -> Checked {
        let mut executed = calls.iter().zip(applied);
        for entry in batch {
            let own: Vec<_> = executed.by_ref().take(entry.calls).collect();
            let Some(place) = self.places.get(&entry.copy).copied() else { continue };
            for (call, _) in own.iter().filter(|(_, applied)| **applied) {
                let passed = self
                    .open
                    .range(..place)
                    .find(|(_, (_, calls))| calls.iter().any(|other| conflict(call, other)));
                Invariant::DigestsKeepTheirOrder.holds(passed.is_none(), || {
                    format!("{call:?} of copy {} passes {passed:?}", entry.copy)
                })?;
            }
            if own.iter().all(|(_, applied)| **applied) {
                self.answered(entry.copy);
            }
        }
        Ok(())
    }

    /// Records that a copy was answered.
    pub(crate) fn answered(&mut self, copy: u64) {
        if let Some(place) = self.places.remove(&copy) {
            self.open.remove(&place);
        }
    }
}

/// Whether one of two calls sees what the other one counts.
fn conflict(one: &StoreCall, other: &StoreCall) -> bool {
    one.digest == other.digest && (one.op == StoreOp::Read) != (other.op == StoreOp::Read)
}
