//! The model of the records, and the books of what was asked, counted and acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use pyzord_core::{Digest, Record, StoreCall, StoreOp, Tally, UnixTime};

use crate::invariant::{Checked, Invariant};

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// What the store must hold.
    records: BTreeMap<Digest, Record>,
    /// What it must hold after a power failure.
    synced: BTreeMap<Digest, Record>,
    books: BTreeMap<(Digest, bool), Book>,
}

/// What became of the counts of one digest and one kind. Removed records are in it, too.
#[derive(Clone, Copy, Debug, Default)]
struct Book {
    /// Calls that were granted and have no answer yet.
    open: u64,
    /// Calls of requests that were answered with 200.
    acknowledged: u64,
    /// Calls of requests that were answered with 500, or not at all.
    doubtful: u64,
    /// How often the record was moved by one.
    counted: u64,
}

impl Counts {
    /// A record that was there before the run.
    pub(crate) fn stored(&mut self, digest: Digest, record: Record) {
        self.records.insert(digest, record);
        self.synced.insert(digest, record);
    }

    pub(crate) fn granted(&mut self, call: StoreCall) {
        if let Some(book) = self.book(call) {
            book.open += 1;
        }
    }

    /// The request of a granted call failed or was lost: its count may be there or not, or come later.
    pub(crate) fn unanswered(&mut self, call: StoreCall) {
        if let Some(book) = self.book(call) {
            (book.open, book.doubtful) = (book.open.saturating_sub(1), book.doubtful + 1);
        }
    }

    pub(crate) fn acknowledged(&mut self, call: StoreCall) -> Checked {
        let Some(book) = self.book(call) else { return Ok(()) };
        (book.open, book.acknowledged) = (book.open.saturating_sub(1), book.acknowledged + 1);
        let book = *book;
        Invariant::AcknowledgedIsCounted
            .holds(book.acknowledged <= book.counted, || format!("{call:?}: {book:?}"))
    }

    /// Does the calls that are `applied`, compares the store's records with what comes out, and gives what
    /// each of the calls must have seen.
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
            seen.push(self.records.get(&call.digest).copied().unwrap_or_default());
        }
        for call in calls {
            let model = self.records.get(&call.digest).copied().unwrap_or_default();
            let stored = stored(*call);
            Invariant::EachCallCountsOnce.holds(model == stored, || {
                format!("the record of {} must be {model:?} and is {stored:?}", call.digest)
            })?;
        }
        Ok(seen)
    }

    fn count(&mut self, now: UnixTime, call: StoreCall) -> Checked {
        let Some(book) = self.book(call) else { return Ok(()) };
        book.counted += 1;
        let book = *book;
        let most = book.open + book.acknowledged + book.doubtful;
        Invariant::NothingIsInvented.holds(book.counted <= most, || format!("{call:?}: {book:?}"))?;
        let record = self.records.entry(call.digest).or_default();
        let tally = if call.op == StoreOp::Report { &mut record.reports } else { &mut record.whitelists };
        let entered = tally.entered.unwrap_or(now);
        *tally = Tally { count: tally.count + 1, entered: Some(entered), updated: Some(now) };
        Ok(())
    }

    fn book(&mut self, call: StoreCall) -> Option<&mut Book> {
        let counts = call.op != StoreOp::Read;
        counts.then(|| self.books.entry((call.digest, call.op == StoreOp::Report)).or_default())
    }

    /// A slice of expiry is over, and these are the store's records. All others must be older than `limit`.
    pub(crate) fn expired(&mut self, limit: UnixTime, stored: &BTreeSet<Digest>) -> Checked {
        for (digest, record) in &self.records {
            let gone = !stored.contains(digest);
            Invariant::FreshRecordsStay.holds(!gone || older(record, limit), || {
                format!("{digest} was removed, whose limit is {limit:?}: {record:?}")
            })?;
        }
        self.records.retain(|digest, _| stored.contains(digest));
        Ok(())
    }

    /// A round of expiry is over: all records but the `touched` ones were looked at, with `limit` or a later
    /// one.
    pub(crate) fn round_ended(&self, limit: UnixTime, touched: &BTreeSet<Digest>) -> Checked {
        let left = |(digest, record): &(&Digest, &Record)| !touched.contains(digest) && older(record, limit);
        match self.records.iter().find(left) {
            None => Ok(()),
            Some((digest, record)) => Err(Invariant::RoundsAreComplete
                .broken(format!("a round with the limit {limit:?} left {digest} behind: {record:?}"))),
        }
    }

    /// A sync that began with these records has ended.
    pub(crate) fn synced(&mut self, records: BTreeMap<Digest, Record>) {
        self.synced = records;
    }

    pub(crate) fn records(&self) -> &BTreeMap<Digest, Record> {
        &self.records
    }

    /// The machine lost power: what was not synced is gone.
    pub(crate) fn power_failed(&mut self) {
        self.records.clone_from(&self.synced);
    }

    /// Nothing is unsynced, and the store holds what it must, no record more or less.
    pub(crate) fn after_stop(&self, disk: impl Iterator<Item = (Digest, Record)>) -> Checked {
        let disk: BTreeMap<Digest, Record> = disk.collect();
        let (found, expected) = (disk.len(), self.records.len());
        Invariant::StopsSync.holds(disk == self.records, || {
            format!(
                "{found} records are on the disk after a stop, which are not the {expected} there must be"
            )
        })
    }
}

/// Whether a record's latest activity was before `limit`.
fn older(record: &Record, limit: UnixTime) -> bool {
    let dates = [record.reports.updated, record.whitelists.updated];
    dates.iter().any(Option::is_some) && dates.iter().flatten().all(|date| *date < limit)
}
