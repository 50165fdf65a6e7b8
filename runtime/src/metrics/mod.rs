//! What a status page wants to know beyond the log's counters: durations, sizes, operations, networks.
//!
//! Each thread that serves has a shard of its own and adds to it a few times a batch: no lock, no allocation, and no
//! line of cache that another one writes. A reader adds the shards up.

mod histogram;
mod top_clients;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pyzord_core::{Answered, IpNet, Operation, Refusal, StoreAnswer, StoreError, Tick};

use crate::datagrams::Path;
pub use histogram::Distribution;
use histogram::{DURATION, Histogram, SIZE};
pub use top_clients::TopClient;
use top_clients::TopClients;

/// The codes of replies.
const CODES: [u16; 7] = [200, 400, 401, 403, 500, 501, 505];
/// The name of all operations that do not exist: a client can invent any number of them.
const OTHER: &str = "other";
const OPERATIONS: usize = Operation::ALL.len() + 1;

/// The shards of all threads.
#[derive(Debug)]
pub(crate) struct Metrics {
    shards: Box<[Shard]>,
    /// The shard that the next thread gets.
    next: AtomicUsize,
    workers: AtomicUsize,
}

/// What one thread has seen.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    requests: [[AtomicU64; CODES.len()]; OPERATIONS],
    latency: Histogram<DURATION>,
    store: Histogram<DURATION>,
    batches: Histogram<SIZE>,
    unavailable: AtomicU64,
    unreadable: AtomicU64,
    no_place: AtomicU64,
    overloaded: AtomicU64,
    top_clients: TopClients,
}

/// Everything that was counted, at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Details {
    /// Requests answered, by operation and code; those that occurred.
    pub requests: Vec<(&'static str, u16, u64)>,
    /// From the receipt of a request to the moment its reply was sent, in nanoseconds.
    pub latency: Distribution,
    /// How long the store took for the calls of one batch, in nanoseconds.
    pub store: Distribution,
    /// Datagrams that were received together.
    pub batches: Distribution,
    /// Calls that the store did not answer.
    pub unavailable: u64,
    /// Calls for an unreadable record.
    pub unreadable: u64,
    /// Counts of digests that the store has no place for.
    pub no_place: u64,
    /// Requests refused because too many were waiting for the store.
    pub overloaded: u64,
    /// Workers that run.
    pub workers: usize,
    /// The networks that sent most, from the one with most.
    pub top_clients: Vec<TopClient>,
}

impl Metrics {
    /// One shard for each of so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        let shards = (0..threads.max(1)).map(|_| Shard::new()).collect();
        Self { shards, next: AtomicUsize::new(0), workers: AtomicUsize::new(0) }
    }

    /// The shard of one more thread. With more threads than shards they share, which is slower and as exact.
    pub(crate) fn shard(&self) -> Option<&Shard> {
        self.shards.get(self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len())
    }

    /// Counts a worker for as long as what this returns lives.
    pub(crate) fn worker(&self) -> Running<'_> {
        self.workers.fetch_add(1, Ordering::Relaxed);
        Running(&self.workers)
    }

    /// Adds up what all threads have seen, with the `most` networks that sent most.
    pub(crate) fn details(&self, most: usize) -> Details {
        let mut details = Details { workers: self.workers.load(Ordering::Relaxed), ..Details::default() };
        for (index, operation) in operations().enumerate() {
            for (place, code) in CODES.into_iter().enumerate() {
                let cell = |shard: &Shard| Some(read(shard.requests.get(index)?.get(place)?));
                let count = self.shards.iter().filter_map(cell).sum();
                if count > 0 {
                    details.requests.push((operation, code, count));
                }
            }
        }
        for shard in &self.shards {
            shard.latency.add_to(&mut details.latency);
            shard.store.add_to(&mut details.store);
            shard.batches.add_to(&mut details.batches);
            details.unavailable += read(&shard.unavailable);
            details.unreadable += read(&shard.unreadable);
            details.no_place += read(&shard.no_place);
            details.overloaded += read(&shard.overloaded);
        }
        details.top_clients = self.top_clients(most);
        details
    }

    /// Adds up the clients of all threads. The health check wants none of them.
    fn top_clients(&self, most: usize) -> Vec<TopClient> {
        if most == 0 {
            return Vec::new();
        }
        let mut sums: HashMap<IpNet, TopClient> = HashMap::new();
        for client in self.shards.iter().flat_map(|shard| shard.top_clients.all()) {
            let none = TopClient { datagrams: 0, excess: 0, ..client };
            let sum = sums.entry(client.network).or_insert(none);
            sum.datagrams += client.datagrams;
            sum.excess += client.excess;
        }
        let mut clients: Vec<TopClient> = sums.into_values().collect();
        clients.sort_unstable_by_key(|client| (std::cmp::Reverse(client.datagrams), client.network));
        clients.truncate(most);
        clients
    }
}

/// A worker that runs.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shard {
    fn new() -> Self {
        Self {
            requests: [const { [const { AtomicU64::new(0) }; CODES.len()] }; OPERATIONS],
            latency: Histogram::new(),
            store: Histogram::new(),
            batches: Histogram::new(),
            unavailable: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            no_place: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            top_clients: TopClients::new(),
        }
    }

    /// A datagram came from this address.
    pub(crate) fn heard(&self, peer: IpAddr) {
        self.top_clients.count(peer);
    }

    /// So many datagrams were received together.
    pub(crate) fn received(&self, datagrams: u64) {
        self.batches.record(datagrams, 1);
    }

    /// The store took this long for these answers.
    pub(crate) fn executed(&self, took: Duration, answers: &[StoreAnswer]) {
        self.store.record(nanos(took), 1);
        for error in answers.iter().filter_map(|answer| answer.err()) {
            let counter = match error {
                StoreError::Unreadable => &self.unreadable,
                StoreError::NoPlace => &self.no_place,
                // It is answered as a success.
                StoreError::AlreadyCounted => continue,
                _ => &self.unavailable,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many calls were not made, because the store is stuck.
    pub(crate) fn unavailable(&self, calls: usize) {
        self.unavailable.fetch_add(calls as u64, Ordering::Relaxed);
    }

    /// So many requests were refused because the queue for the store was full.
    pub(crate) fn overloaded(&self, requests: usize) {
        self.overloaded.fetch_add(requests as u64, Ordering::Relaxed);
    }

    /// The replies of a batch were sent. Requests that are alike and stand together are counted together.
    pub(crate) fn answered(&self, answered: &Answered<Path>, now: Tick) {
        let mut requests = answered.usage().map(|usage| {
            let code = usage.refusal.map_or(200, Refusal::code);
            (usage.received, usage.op, code)
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
    }

    fn count(&self, (received, op, code): (Tick, &[u8], u16), times: u64, now: Tick) {
        if let Some(cell) = self.requests.get(operation(op)).and_then(|codes| codes.get(place(code))) {
            cell.fetch_add(times, Ordering::Relaxed);
        }
        self.latency.record(nanos(now.since(received)), times);
    }
}

/// Their names, each at its index.
fn operations() -> impl Iterator<Item = &'static str> {
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

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{BadSignature, Batch, Guard, Limits, Now, Policy, Server, UnixTime};

    fn tick(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    fn server() -> Server {
        Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]))
    }

    fn accept(batch: &mut Batch<Path>, request: &str, at: Tick) {
        let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: at };
        let path = Path { peer: "192.0.2.1:9".parse().unwrap(), local: None };
        batch.accept(&server(), path, request.as_bytes(), now).unwrap();
    }

    #[test]
    fn requests_are_counted_by_operation_and_code_and_timed_from_their_own_receipt() {
        let metrics = Metrics::new(2);
        let [first, second] = [metrics.shard().unwrap(), metrics.shard().unwrap()];
        let mut batch = Batch::new();
        for (op, at) in [("ping", 0), ("ping", 0), ("ping", 5), ("pong", 5), ("nonsense", 5), ("ping", 5)] {
            accept(&mut batch, &format!("Op: {op}\nPV: 2.1\n\n"), tick(at));
        }
        let answered = batch.ask().resolve(&server(), &[]);
        first.answered(&answered, tick(10));
        second.answered(&answered, tick(10));
        let details = metrics.details(5);
        assert_eq!(details.requests, [("ping", 200, 8), ("pong", 200, 2), ("other", 403, 2)]);
        let found: Vec<_> = details.latency.buckets().collect();
        assert_eq!(found, [(5_000_000, 8), (10_000_000, 4)]);
    }

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
    fn workers_are_counted_while_they_run() {
        let metrics = Metrics::new(1);
        let running = metrics.worker();
        metrics.shard().unwrap().received(3);
        assert_eq!((metrics.details(5).workers, metrics.details(5).batches.sum()), (1, 3));
        drop(running);
        assert_eq!(metrics.details(5).workers, 0);
    }

    #[test]
    fn top_clients_of_all_threads_are_added_up() {
        let metrics = Metrics::new(2);
        for (address, times) in [("192.0.2.1", 2), ("192.0.2.2", 5), ("192.0.2.3", 1)] {
            let shards = [metrics.shard().unwrap(), metrics.shard().unwrap()];
            (0..times).for_each(|_| shards.iter().for_each(|shard| shard.heard(address.parse().unwrap())));
        }
        let found = metrics.details(2).top_clients;
        let found: Vec<_> =
            found.iter().map(|client| (client.network.to_string(), client.datagrams)).collect();
        assert_eq!(found, [("192.0.2.2/32".to_owned(), 10), ("192.0.2.1/32".to_owned(), 4)]);
    }

    /// Each client was looked for among all others: a health check with 256 workers took 1.6 s.
    #[test]
    fn many_threads_with_many_clients_are_added_up_at_once() {
        let metrics = Metrics::new(64);
        for number in 0..64 {
            let shard = metrics.shard().unwrap();
            (0..2000_u32).for_each(|host| shard.heard(IpAddr::from((number << 16 | host).to_be_bytes())));
        }
        assert_eq!(metrics.details(0).top_clients, []);
        let found = metrics.details(64 * 256).top_clients;
        assert_eq!(found.len(), 64 * 256);
        assert_eq!(found.iter().map(|client| client.datagrams).sum::<u64>(), 64 * 2000);
    }

    #[test]
    fn answers_of_the_store_that_are_none_are_counted() {
        let metrics = Metrics::new(1);
        let shard = metrics.shard().unwrap();
        let errors =
            [StoreError::Unavailable, StoreError::Unreadable, StoreError::NoPlace, StoreError::Unavailable];
        let answers = errors.map(Err);
        shard.executed(Duration::from_micros(250), &answers);
        let details = metrics.details(1);
        assert_eq!((details.unavailable, details.unreadable, details.no_place), (2, 1, 1));
        assert_eq!(details.store.quantile(1, 2), Some(250_000));
    }
}
