//! What one thread has seen.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyzord_core::{Answered, Digest, Operation, Refusal, StoreAnswer, StoreCall, StoreError, StoreOp, Tick};

use super::denied_users::DeniedUsers;
use super::histogram::{DURATION, Histogram, SIZE};
use super::suspects::Suspects;
use super::top_clients::TopClients;
use crate::datagrams::Path;

/// The codes of replies.
pub(super) const CODES: [u16; 7] = [200, 400, 401, 403, 500, 501, 505];
/// The name of all operations that do not exist: a client can invent any number of them.
const OTHER: &str = "other";
const OPERATIONS: usize = Operation::ALL.len() + 1;

/// The counts of one thread.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    pub(super) requests: [[AtomicU64; CODES.len()]; OPERATIONS],
    pub(super) latency: Histogram<DURATION>,
    pub(super) latency_failed: Histogram<DURATION>,
    pub(super) store: Histogram<DURATION>,
    pub(super) batches: Histogram<SIZE>,
    pub(super) hits: AtomicU64,
    pub(super) new_records: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) no_place: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) top_clients: TopClients,
    pub(super) denied: DeniedUsers,
    pub(super) suspects: Suspects,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            requests: [const { [const { AtomicU64::new(0) }; CODES.len()] }; OPERATIONS],
            latency: Histogram::new(),
            latency_failed: Histogram::new(),
            store: Histogram::new(),
            batches: Histogram::new(),
            hits: AtomicU64::new(0),
            new_records: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            no_place: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            top_clients: TopClients::new(),
            denied: DeniedUsers::new(),
            suspects: Suspects::new(),
        }
    }

    /// A datagram came from this address.
    pub(crate) fn heard(&self, peer: IpAddr) {
        self.top_clients.heard(peer);
    }

    /// A datagram from this address was dropped for a limit or a list of networks.
    pub(crate) fn dropped(&self, peer: IpAddr) {
        self.top_clients.dropped(peer);
    }

    /// So many datagrams were received together.
    pub(crate) fn received(&self, datagrams: u64) {
        self.batches.record(datagrams, 1);
    }

    /// The store took this long for these calls.
    pub(crate) fn executed(&self, took: Duration, calls: &[StoreCall], answers: &[StoreAnswer]) {
        self.store.record(nanos(took), 1);
        add(&self.new_records, new_records(calls, answers));
        for error in answers.iter().filter_map(|answer| answer.err()) {
            let counter = match error {
                StoreError::Unreadable => &self.unreadable,
                StoreError::NoPlace => &self.no_place,
                // It is answered as a success.
                StoreError::AlreadyCounted => continue,
                _ => &self.unavailable,
            };
            add(counter, 1);
        }
    }

    /// So many calls were not made, because the store is stuck.
    pub(crate) fn unavailable(&self, calls: usize) {
        add(&self.unavailable, calls as u64);
    }

    /// So many requests were refused because the queue for the store was full.
    pub(crate) fn overloaded(&self, requests: usize) {
        add(&self.overloaded, requests as u64);
    }

    /// The replies of a batch were sent. Requests that are alike and stand together are counted together.
    pub(crate) fn answered(&self, answered: &Answered<Path>, now: Tick) {
        let mut hits = 0;
        let mut requests = answered.usage().map(|usage| {
            hits += u64::from(usage.hit);
            self.suspects.judge(&usage);
            if let Some(refusal) = usage.refusal {
                self.refused(usage.peer.peer.ip(), usage.user, refusal);
            }
            (usage.received, usage.op, usage.refusal.map_or(200, Refusal::code))
        });
        let Some(mut kind) = requests.next() else { return };
        let mut alike = 1;
        for request in requests {
            if request != kind {
                self.count(kind, alike, now);
                (kind, alike) = (request, 0);
            }
            alike += 1;
        }
        self.count(kind, alike, now);
        add(&self.hits, hits);
    }

    fn count(&self, (received, op, code): (Tick, &[u8], u16), times: u64, now: Tick) {
        if let Some(cell) = self.requests.get(operation(op)).and_then(|codes| codes.get(place(code))) {
            add(cell, times);
        }
        let latency = if code == 200 { &self.latency } else { &self.latency_failed };
        latency.record(nanos(now.since(received)), times);
    }

    #[cold]
    fn refused(&self, peer: IpAddr, user: &[u8], refusal: Refusal) {
        self.top_clients.refused(peer);
        let code = refusal.code();
        if matches!(code, 401 | 403) {
            self.denied.count(user, code);
        }
    }
}

/// Returns how many records these calls have made, of those whose answers tell it: all counts of the record are in this
/// batch. It takes linear time, as clients choose the digests of a batch.
fn new_records(calls: &[StoreCall], answers: &[StoreAnswer]) -> u64 {
    let counts = |call: &&StoreCall| call.op != StoreOp::Read;
    // 0 is the answer of an engine that does not know it. As a rule a record has more counts than a batch.
    let young = calls.iter().zip(answers).filter_map(|(call, answer)| {
        let record = answer.as_ref().ok().filter(|_| counts(&call))?;
        let total = record.reports.count.saturating_add(record.whitelists.count);
        (1..=calls.len() as u64).contains(&total).then_some((call.digest, total))
    });
    let (mut ones, mut all) = (0, 0);
    young.clone().for_each(|(_, total)| {
        ones += u64::from(total == 1);
        all += 1;
    });
    if ones == all {
        return ones;
    }
    let mut counted: HashMap<Digest, u64> = HashMap::new();
    calls.iter().filter(counts).for_each(|call| *counted.entry(call.digest).or_default() += 1);
    // The first answer for a digest tells it; later ones are about the same record.
    let is_new =
        |(digest, total): &(Digest, u64)| counted.remove(digest).is_some_and(|counts| *total <= counts);
    young.filter(is_new).count() as u64
}

/// Their names, each at its index.
pub(super) fn operations() -> impl Iterator<Item = &'static str> {
    Operation::ALL.into_iter().map(Operation::name).chain([OTHER])
}

fn operation(word: &[u8]) -> usize {
    let named = |operation: &Operation| operation.name().as_bytes() == word;
    Operation::ALL.iter().position(named).unwrap_or(Operation::ALL.len())
}

/// A code that is not in the list would be an error of ours.
fn place(code: u16) -> usize {
    CODES.iter().position(|known| *known == code).unwrap_or(4)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

/// Most counts are zero.
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{BadSignature, Now, Record, UnixTime};

    #[test]
    fn every_code_has_a_place() {
        let store =
            [StoreError::Unavailable, StoreError::Unreadable, StoreError::NoPlace].map(Refusal::Store);
        let others = [
            Refusal::TooLong,
            Refusal::Signature(BadSignature::Invalid),
            Refusal::Forbidden,
            Refusal::NotImplemented,
            Refusal::Version,
        ];
        for refusal in store.into_iter().chain(others) {
            assert_eq!(CODES[place(refusal.code())], refusal.code());
        }
    }

    #[test]
    fn a_shard_stays_small() {
        assert!(size_of::<Shard>() <= 40 << 10, "{}", size_of::<Shard>());
    }

    /// Engines merge the counts of one digest, so that each answer has the record behind all of them.
    #[test]
    fn a_record_is_new_if_all_its_counts_are_in_one_batch() {
        let call = |number: u8, op| StoreCall::new(Digest::new([number; 20]), op);
        let (report, whitelist) = (StoreOp::Report, StoreOp::Whitelist);
        let record = |reports, whitelists| {
            let (mut record, now) = (Record::default(), UnixTime::from_seconds(1));
            (0..reports).for_each(|_| record.reports.add(now));
            (0..whitelists).for_each(|_| record.whitelists.add(now));
            Ok(record)
        };
        for (calls, answers, expected) in [
            (vec![], vec![], 0),
            (vec![call(1, report)], vec![record(1, 0)], 1),
            (vec![call(1, whitelist)], vec![record(0, 1)], 1),
            (vec![call(1, report)], vec![record(2, 0)], 0),
            (vec![call(1, StoreOp::Read)], vec![record(1, 0)], 0),
            (vec![call(1, report)], vec![Err(StoreError::Unavailable)], 0),
            // An engine that does not tell it.
            (vec![call(1, report)], vec![record(0, 0)], 0),
            (vec![call(1, report), call(1, report)], vec![record(2, 0), record(2, 0)], 1),
            (vec![call(1, report), call(1, report)], vec![record(1, 0), record(2, 0)], 1),
            (vec![call(1, report), call(1, whitelist)], vec![record(1, 0), record(1, 1)], 1),
            (vec![call(1, report), call(1, report)], vec![record(3, 0), record(3, 0)], 0),
            (vec![call(1, report), call(2, report)], vec![record(2, 0), record(1, 0)], 1),
            ((0..200).map(|n| call(n / 2, report)).collect(), vec![record(2, 0); 200], 100),
        ] {
            assert_eq!(new_records(&calls, &answers), expected, "{calls:?} {answers:?}");
        }
    }

    /// What engines in memory answer, call by call and merged.
    #[test]
    fn new_records_are_those_of_the_store() {
        use pyzord_core::{MemoryStore, Store as _};
        let (mut store, mut answers, mut found) = (MemoryStore::new(), Vec::new(), 0);
        let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
        for batch in 0..50_u8 {
            let call = |place: u8| {
                let op = [StoreOp::Report, StoreOp::Read, StoreOp::Whitelist][usize::from(place % 3)];
                StoreCall::new(Digest::new([(batch / 2).wrapping_mul(place % 7); 20]), op)
            };
            let calls: Vec<_> = (0..20).map(call).collect();
            answers.clear();
            store.execute(now, &calls, &mut answers);
            found += new_records(&calls, &answers);
        }
        assert_eq!(found, store.records().count() as u64);
    }
}
