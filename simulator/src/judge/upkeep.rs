//! What upkeep has to do, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use pyzord_core::{Digest, StoreCall, Task, Tick, UnixTime};

use crate::invariant::{Checked, Invariant};

/// A task waits for the one before it, for a few seconds at most.
const SLACK: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Whoever waits for upkeep wakes this often in a millisecond at most: for a sync, a slice, and once for
/// nothing.
const WAKES: u32 = 3;

/// No round has more slices that leave something to do: each looks at a thousand records.
const SLICES: u32 = 20;

/// When a server's tasks are due at the latest, and how far its round of expiry is. Nothing is due without a
/// server.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    sync_by: Option<Tick>,
    expire_by: Option<Tick>,
    /// Before this they are not due.
    sync_from: Tick,
    expire_from: Tick,
    /// The earliest limit of the round's slices.
    limit: Option<UnixTime>,
    /// The records that were used since the round began.
    touched: BTreeSet<Digest>,
    slices: u32,
    woken: Tick,
    wakes: u32,
}

impl Upkeep {
    pub(crate) fn server_started(&mut self, now: Tick, expires: bool) {
        *self = Self::default();
        self.sync_by = Some(now.after(SLACK));
        self.expire_by = expires.then(|| now.after(SLACK));
    }

    /// There is no server any more.
    pub(crate) fn ended(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn woke(&mut self, now: Tick) -> Checked {
        let again = now.since(self.woken) < Duration::from_millis(1);
        (self.woken, self.wakes) = if again { (self.woken, self.wakes + 1) } else { (now, 1) };
        let wakes = self.wakes;
        Invariant::UpkeepIsSpaced
            .holds(wakes <= WAKES, || format!("upkeep woke {wakes} times in a millisecond"))
    }

    pub(crate) fn began(&self, now: Tick, task: Task) -> Checked {
        let from = if task == Task::Sync { self.sync_from } else { self.expire_from };
        Invariant::UpkeepIsSpaced
            .holds(from <= now, || format!("{task:?} is begun at {now:?}, before {from:?}"))
    }

    pub(crate) fn sync_ended(&mut self, now: Tick) {
        self.sync_from = now.after(MINUTE);
        self.sync_by = Some(now.after(MINUTE + SLACK));
    }

    /// A slice of expiry was begun.
    pub(crate) fn slice_began(&mut self, limit: UnixTime) {
        self.limit = Some(self.limit.map_or(limit, |earliest| earliest.min(limit)));
    }

    /// A slice has ended, as it said: with more to come, with nothing left, or with an error. When the round
    /// is over, gives its limit and the records that it may have missed.
    pub(crate) fn slice_ended(
        &mut self,
        began: Tick,
        now: Tick,
        over: Option<bool>,
    ) -> Checked<Option<(UnixTime, BTreeSet<Digest>)>> {
        let pause = match over {
            Some(true) => DAY,
            Some(false) => now.since(began),
            None => MINUTE,
        };
        (self.expire_from, self.expire_by) = (now.after(pause), Some(now.after(pause + SLACK)));
        if over != Some(true) {
            self.slices += u32::from(over.is_some());
            let detail = || "a round has more slices than there are records for".to_owned();
            Invariant::RoundsAreComplete.holds(self.slices <= SLICES, detail)?;
            return Ok(None);
        }
        self.slices = 0;
        let touched = std::mem::take(&mut self.touched);
        Ok(self.limit.take().map(|limit| (limit, touched)))
    }

    pub(crate) fn touched(&mut self, calls: &[StoreCall]) {
        if self.limit.is_some() {
            self.touched.extend(calls.iter().map(|call| call.digest));
        }
    }

    pub(crate) fn in_time(&self, now: Tick) -> Checked {
        let missed = |by: Option<Tick>| by.is_some_and(|by| by < now);
        Invariant::SyncsInTime.holds(!missed(self.sync_by), || "a sync is overdue".to_owned())?;
        Invariant::ExpiresInTime.holds(!missed(self.expire_by), || "expiry is overdue".to_owned())
    }
}
