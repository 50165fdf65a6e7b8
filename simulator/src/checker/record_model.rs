//! The model of the records, and the numbers of granted, counted and acknowledged calls.

use std::collections::{BTreeMap, BTreeSet};

use pyzord_core::{Digest, Record, StoreCall, StoreOp, Tally, UnixTime};

use crate::invariant::{Checked, Invariant};

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

#[derive(Debug)]
pub(crate) struct RecordModel {
    /// The records that the store must have.
    records: BTreeMap<Digest, Record>,
    /// The records that the store must have after a power failure.
    synced: BTreeMap<Digest, Record>,
    /// By digest, and whether the call is a report.
    totals: BTreeMap<(Digest, bool), CallTotals>,
    /// The true time, for the calls that are applied.
    pub(crate) true_time: UnixTime,
    /// When records were truly active.
    active: BTreeMap<Digest, UnixTime>,
    /// A record was dated far into the future.
    misdated: bool,
}

/// The counting calls of one digest and one kind, those of removed records included.
#[derive(Clone, Copy, Debug, Default)]
struct CallTotals {
    /// Granted calls without a reply so far.
    open: u64,
    /// Calls of requests that were answered with 200.
    acknowledged: u64,
    /// Calls of requests that were answered with 500 or not at all.
    doubtful: u64,
    /// How often the store has counted.
    counted: u64,
}

impl Default for RecordModel {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            synced: BTreeMap::new(),
            totals: BTreeMap::new(),
            true_time: UnixTime::from_micros(0),
            active: BTreeMap::new(),
            misdated: false,
        }
    }
}

impl RecordModel {
    /// Adds a record from before the run.
    pub(crate) fn stored(&mut self, digest: Digest, record: Record) {
        self.records.insert(digest, record);
        self.synced.insert(digest, record);
        self.active.extend(record.reports.updated.max(record.whitelists.updated).map(|date| (digest, date)));
    }

    /// Records that a call was granted.
    pub(crate) fn granted(&mut self, call: StoreCall) {
        if let Some(totals) = self.totals(call) {
            totals.open += 1;
        }
    }

    /// Records that the request of a granted call failed or was lost: the call may or may not be counted, now or later.
    pub(crate) fn unanswered(&mut self, call: StoreCall) {
        if let Some(totals) = self.totals(call) {
            totals.close();
            totals.doubtful += 1;
        }
    }

    /// Checks that an acknowledged call was counted.
    pub(crate) fn acknowledged(&mut self, call: StoreCall) -> Checked {
        let Some(totals) = self.totals(call) else { return Ok(()) };
        totals.close();
        totals.acknowledged += 1;
        let totals = *totals;
        Invariant::AcknowledgedIsCounted
            .holds(totals.acknowledged <= totals.counted, || format!("{call:?}: {totals:?}"))
    }

    /// Executes those of `calls` that are `applied`, compares the records with those of the store, and returns the
    /// record that each call must return.
    pub(crate) fn applied(
        &mut self,
        now: UnixTime,
        calls: &[StoreCall],
        applied: &[bool],
        mut stored: impl FnMut(StoreCall) -> Record,
    ) -> Checked<Vec<Record>> {
        let mut seen = Vec::new();
        for (call, applied) in calls.iter().zip(applied) {
            if *applied {
                self.count(now, *call)?;
            }
            seen.push(self.record(call.digest));
        }
        for call in calls {
            let (model, stored) = (self.record(call.digest), stored(*call));
            let went_back = [(model.reports, stored.reports), (model.whitelists, stored.whitelists)]
                .into_iter()
                .any(|(model, stored)| stored.updated < model.updated && model.count == stored.count);
            Invariant::DatesNeverGoBack.holds(!went_back, || {
                format!(
                    "the clock is at {now:?}, the record of {} was {model:?} and is {stored:?}",
                    call.digest
                )
            })?;
            Invariant::EachCallCountsOnce.holds(model == stored, || {
                format!("the record of {} must be {model:?} and is {stored:?}", call.digest)
            })?;
        }
        Ok(seen)
    }

    fn count(&mut self, now: UnixTime, call: StoreCall) -> Checked {
        let Some(totals) = self.totals(call) else { return Ok(()) };
        totals.counted += 1;
        let totals = *totals;
        let most = totals.open + totals.acknowledged + totals.doubtful;
        Invariant::NoExtraCounts.holds(totals.counted <= most, || format!("{call:?}: {totals:?}"))?;
        let record = self.records.entry(call.digest).or_default();
        let tally = if call.op == StoreOp::Report { &mut record.reports } else { &mut record.whitelists };
        let entered = tally.entered.unwrap_or(now);
        let later = tally.updated.filter(|stands| {
            let ahead = stands.micros().saturating_sub(now.micros());
            ahead > 0 && (ahead <= DAY || now < UnixTime::BUILT)
        });
        let updated = later.unwrap_or(now);
        *tally = Tally { count: tally.count + 1, entered: Some(entered), updated: Some(updated) };
        // A record that is new while the clock is far behind has no better date.
        if self.true_time.micros().saturating_sub(updated.micros()) <= 30 * DAY {
            self.active.insert(call.digest, self.true_time);
        }
        self.misdated |= now.micros().saturating_sub(self.true_time.micros()) > 30 * DAY;
        Ok(())
    }

    /// Returns the record of a digest; the empty one if there is none.
    fn record(&self, digest: Digest) -> Record {
        self.records.get(&digest).copied().unwrap_or_default()
    }

    /// Returns the totals of a counting call.
    fn totals(&mut self, call: StoreCall) -> Option<&mut CallTotals> {
        let counts = call.op != StoreOp::Read;
        counts.then(|| self.totals.entry((call.digest, call.op == StoreOp::Report)).or_default())
    }

    /// Checks that a slice of expiry removed only records older than `limit`, by the clock, and not much younger than
    /// `truth`, the limit by the true time. `stored` are the digests that are left.
    pub(crate) fn expired(&mut self, limit: UnixTime, truth: UnixTime, stored: &BTreeSet<Digest>) -> Checked {
        for (digest, record) in &self.records {
            let gone = !stored.contains(digest);
            Invariant::FreshRecordsStay.holds(!gone || older(record, limit), || {
                format!("{digest} was removed with the limit {limit:?}: {record:?}")
            })?;
            let active = self.active.get(digest);
            let fresh = active.is_some_and(|date| date.micros() > truth.micros().saturating_add(30 * DAY));
            Invariant::ActiveRecordsStay.holds(!gone || !fresh || self.misdated, || {
                format!("{digest} was removed, and was active at {active:?}, after {truth:?}")
            })?;
        }
        self.records.retain(|digest, _| stored.contains(digest));
        Ok(())
    }

    /// Checks that a round of expiry has left no record older than `limit`, except `touched` ones.
    pub(crate) fn round_ended(&self, limit: UnixTime, touched: &BTreeSet<Digest>) -> Checked {
        let left = |(digest, record): &(&Digest, &Record)| !touched.contains(digest) && older(record, limit);
        match self.records.iter().find(left) {
            None => Ok(()),
            Some((digest, record)) => Err(Invariant::RoundsAreComplete
                .broken(format!("a round with the limit {limit:?} left {digest} behind: {record:?}"))),
        }
    }

    /// Records that a sync of these records has ended.
    pub(crate) fn synced(&mut self, records: BTreeMap<Digest, Record>) {
        self.synced = records;
    }

    pub(crate) fn records(&self) -> &BTreeMap<Digest, Record> {
        &self.records
    }

    /// Records a power failure: records that were not synced are lost.
    pub(crate) fn power_failed(&mut self) {
        self.records.clone_from(&self.synced);
        let Self { records, active, .. } = self;
        // Lost activity keeps no record.
        active.retain(|digest, date| {
            let latest =
                records.get(digest).and_then(|record| record.reports.updated.max(record.whitelists.updated));
            *date = latest.map_or(*date, |latest| latest.min(*date));
            latest.is_some()
        });
    }

    /// Checks that the disk has all records after a stop.
    pub(crate) fn after_stop(&self, disk: impl Iterator<Item = (Digest, Record)>) -> Checked {
        let disk: BTreeMap<Digest, Record> = disk.collect();
        let (found, expected) = (disk.len(), self.records.len());
        Invariant::StopsSync.holds(disk == self.records, || {
            format!("after a stop the disk has {found} records, which differ from the expected {expected}")
        })
    }
}

impl CallTotals {
    /// Ends an open call.
    fn close(&mut self) {
        debug_assert!(self.open > 0, "a call has a reply that was not granted: {self:?}");
        self.open = self.open.saturating_sub(1);
    }
}

/// Returns whether a record's latest activity was before `limit`.
fn older(record: &Record, limit: UnixTime) -> bool {
    let dates = [record.reports.updated, record.whitelists.updated];
    dates.iter().any(Option::is_some) && dates.iter().flatten().all(|date| *date < limit)
}
