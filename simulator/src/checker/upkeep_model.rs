//! The model of the upkeep: which task is due when.

use std::collections::BTreeSet;
use std::time::Duration;

use pyzord_core::{Digest, ExpiryWait, StoreCall, Task, Tick, UnixTime};

use crate::invariant::{Checked, Invariant};

/// A task waits for the task before it, a few seconds at most.
const SLACK: Duration = Duration::from_secs(5);
const SYNC: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The most wake-ups per millisecond: for a sync, for a slice of expiry, and one without a task.
const WAKES: u32 = 3;

/// The most slices of a round that do not end it: each slice examines a thousand records.
const SLICES: u32 = 20;

/// The deadlines of a server's tasks, and the state of its round of expiry. Without a server no task is due.
#[derive(Debug, Default)]
pub(crate) struct UpkeepModel {
    sync_by: Option<Tick>,
    expire_by: Option<Tick>,
    /// The earliest start of the next task.
    sync_from: Tick,
    expire_from: Tick,
    /// The limit of the last survey, and the clock at its beginning.
    surveyed: Option<(UnixTime, UnixTime)>,
    /// The earliest limit of the round's slices.
    limit: Option<UnixTime>,
    /// The records that were accessed since the round began.
    touched: BTreeSet<Digest>,
    slices: u32,
    woken: Tick,
    wakes: u32,
}

impl UpkeepModel {
    /// Records the start of a server.
    pub(crate) fn server_started(&mut self, now: Tick, expires: bool) {
        *self = Self::default();
        self.sync_by = Some(now.after(SLACK));
        self.expire_by = expires.then(|| now.after(SLACK));
    }

    /// Forgets the deadlines: the server has ended.
    pub(crate) fn ended(&mut self) {
        *self = Self::default();
    }

    /// Checks that upkeep is not a busy loop.
    pub(crate) fn woke(&mut self, now: Tick) -> Checked {
        let again = now.since(self.woken) < Duration::from_millis(1);
        (self.woken, self.wakes) = if again { (self.woken, self.wakes + 1) } else { (now, 1) };
        let wakes = self.wakes;
        Invariant::UpkeepIsSpaced
            .holds(wakes <= WAKES, || format!("upkeep woke {wakes} times in a millisecond"))
    }

    /// Checks that a task does not begin too early.
    pub(crate) fn began(&self, now: Tick, task: Task) -> Checked {
        let from = if task == Task::Sync { self.sync_from } else { self.expire_from };
        Invariant::UpkeepIsSpaced
            .holds(from <= now, || format!("{task:?} begins at {now:?}, before {from:?}"))
    }

    /// Records the end of a sync.
    pub(crate) fn sync_ended(&mut self, began: Tick, now: Tick, succeeded: bool) {
        let pause = if succeeded { SYNC.max(now.since(began)) } else { MINUTE };
        self.sync_from = now.after(pause);
        self.sync_by = Some(now.after(pause + SLACK));
    }

    /// Records the beginning of a slice of a survey, by this clock.
    pub(crate) fn survey_began(&mut self, limit: UnixTime, clock: UnixTime) {
        if self.surveyed.is_none_or(|(surveyed, _)| surveyed != limit) {
            self.surveyed = Some((limit, clock));
        }
    }

    /// Returns the clock at the beginning of the survey before the expiry with this limit.
    pub(crate) fn surveyed(&self, limit: UnixTime) -> Checked<UnixTime> {
        match self.surveyed {
            Some((surveyed, clock)) if surveyed == limit => Ok(clock),
            _ => Err(Invariant::ActiveRecordsStay.broken(format!("no survey had the limit {limit:?}"))),
        }
    }

    /// Records the end of a slice of a survey, after which expiry may wait.
    pub(crate) fn survey_ended(
        &mut self,
        began: Tick,
        now: Tick,
        succeeded: bool,
        waiting: Option<ExpiryWait>,
    ) -> Checked {
        let pause = match waiting {
            None if succeeded => now.since(began),
            None | Some(ExpiryWait::ClockBeforeBuild) => MINUTE,
            Some(_) => HOUR,
        };
        // A later slice of a survey can run while the result of an earlier survey still holds.
        (self.expire_from, self.expire_by) =
            (now.after(pause.min(now.since(began))), Some(now.after(pause + SLACK)));
        self.slices += u32::from(succeeded && waiting.is_none());
        let detail = || "a survey has more slices than there are records for".to_owned();
        Invariant::RoundsAreComplete.holds(self.slices <= SLICES, detail)
    }

    /// Records the beginning of a slice of expiry.
    pub(crate) fn slice_began(&mut self, limit: UnixTime) {
        self.limit = Some(self.limit.map_or(limit, |earliest| earliest.min(limit)));
    }

    /// Records the end of a slice: the round is complete, or not, or `None` after an error. If it is complete,
    /// returns its limit and the records that it may have missed.
    pub(crate) fn slice_ended(
        &mut self,
        began: Tick,
        now: Tick,
        complete: Option<bool>,
    ) -> Checked<Option<(UnixTime, BTreeSet<Digest>)>> {
        let pause = match complete {
            Some(true) => DAY,
            Some(false) => now.since(began),
            None => MINUTE.max(now.since(began)),
        };
        (self.expire_from, self.expire_by) = (now.after(pause), Some(now.after(pause + SLACK)));
        if complete != Some(true) {
            self.slices += u32::from(complete.is_some());
            let detail = || "a round has more slices than there are records for".to_owned();
            Invariant::RoundsAreComplete.holds(self.slices <= SLICES, detail)?;
            return Ok(None);
        }
        self.slices = 0;
        let touched = std::mem::take(&mut self.touched);
        Ok(self.limit.take().map(|limit| (limit, touched)))
    }

    /// Records that these calls access their records.
    pub(crate) fn touched(&mut self, calls: &[StoreCall]) {
        if self.limit.is_some() {
            self.touched.extend(calls.iter().map(|call| call.digest));
        }
    }

    /// Checks that no task is overdue.
    pub(crate) fn in_time(&self, now: Tick) -> Checked {
        let missed = |by: Option<Tick>| by.is_some_and(|by| by < now);
        Invariant::SyncsInTime.holds(!missed(self.sync_by), || "a sync is overdue".to_owned())?;
        Invariant::ExpiresInTime.holds(!missed(self.expire_by), || "expiry is overdue".to_owned())
    }
}
