//! The model of the order in which requests were handed over to the remote stores.

use std::collections::BTreeMap;

use pyzord_core::{StoreCall, StoreOp};

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
