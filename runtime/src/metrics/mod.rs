//! Figures beyond the log's counters: durations, sizes, operations, networks, users.
//!
//! Each thread that serves has a shard of its own and adds to it a few times a batch: no lock, no allocation, and no
//! line of cache that another one writes. A reader adds the shards up. A shard takes some 40 KiB, from the moment at which
//! its thread asks for it.

mod denied_users;
mod histogram;
mod shard;
mod suspects;
mod top_clients;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyzord_core::IpNet;

pub use denied_users::DeniedUser;
pub use histogram::Distribution;
pub(crate) use shard::Shard;
use shard::{CODES, operations, read};
pub use suspects::{Suspect, Suspicion};
pub use top_clients::TopClient;

/// The shards of all threads.
#[derive(Debug)]
pub(crate) struct Metrics {
    shards: Box<[OnceLock<Box<Shard>>]>,
    /// The shard that the next thread gets.
    next: AtomicUsize,
    workers: AtomicUsize,
}

/// Everything that was counted, at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Details {
    /// Requests answered, by operation and code; combinations that did not occur have 0.
    pub requests: Vec<(&'static str, u16, u64)>,
    /// From the receipt of a request that got 200 to the moment its reply was sent, in nanoseconds.
    pub latency: Distribution,
    /// The same of requests that were refused: some are refused at once, others after a wait for the store.
    pub latency_failed: Distribution,
    /// How long the store took for the calls of one batch, in nanoseconds.
    pub store: Distribution,
    /// Datagrams that were received together.
    pub batches: Distribution,
    /// Checks whose replies tell of at least one report.
    pub hits: u64,
    /// Records that reports and whitelistings have made. 0 with stores whose answers do not tell it.
    pub new_records: u64,
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
    /// The users that were refused most often, from the one with most: as many as networks at most.
    pub denied: Vec<DeniedUser>,
    /// The networks that report without an account, or whose signatures prove nothing. One network can be there several
    /// times, from several threads.
    pub suspects: Vec<Suspect>,
}

impl Metrics {
    /// One shard for each of so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        let shards = (0..threads.max(1)).map(|_| OnceLock::new()).collect();
        Self { shards, next: AtomicUsize::new(0), workers: AtomicUsize::new(0) }
    }

    /// The shard of one more thread. With more threads than shards they share, which is slower and as exact.
    pub(crate) fn shard(&self) -> Option<&Shard> {
        let place = self.shards.get(self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len())?;
        Some(place.get_or_init(|| Box::new(Shard::new())))
    }

    /// Counts a worker for as long as what this returns lives.
    pub(crate) fn worker(&self) -> Running<'_> {
        self.workers.fetch_add(1, Ordering::Relaxed);
        Running(&self.workers)
    }

    /// Adds up what all threads have seen, with the `most` networks and users.
    pub(crate) fn details(&self, most: usize) -> Details {
        let mut details = Details { workers: self.workers.load(Ordering::Relaxed), ..Details::default() };
        for (index, operation) in operations().enumerate() {
            for (place, code) in CODES.into_iter().enumerate() {
                let cell = |shard: &Shard| Some(read(shard.requests.get(index)?.get(place)?));
                details.requests.push((operation, code, self.used().filter_map(cell).sum()));
            }
        }
        for shard in self.used() {
            shard.latency.add_to(&mut details.latency);
            shard.latency_failed.add_to(&mut details.latency_failed);
            shard.store.add_to(&mut details.store);
            shard.batches.add_to(&mut details.batches);
            details.hits += read(&shard.hits);
            details.new_records += read(&shard.new_records);
            details.unavailable += read(&shard.unavailable);
            details.unreadable += read(&shard.unreadable);
            details.no_place += read(&shard.no_place);
            details.overloaded += read(&shard.overloaded);
        }
        if most > 0 {
            details.top_clients = self.top_clients(most);
            details.denied = self.denied(most);
            details.suspects = self.used().flat_map(|shard| shard.suspects.all()).collect();
        }
        details
    }

    /// Iterates over the shards that threads have asked for.
    fn used(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter_map(|shard| shard.get().map(AsRef::as_ref))
    }

    /// Adds up the clients of all threads.
    fn top_clients(&self, most: usize) -> Vec<TopClient> {
        let mut sums: HashMap<IpNet, TopClient> = HashMap::new();
        for client in self.used().flat_map(|shard| shard.top_clients.all()) {
            let none = TopClient { datagrams: 0, excess: 0, refused: 0, dropped: 0, ..client };
            let sum = sums.entry(client.network).or_insert(none);
            sum.datagrams += client.datagrams;
            sum.excess += client.excess;
            sum.refused += client.refused;
            sum.dropped += client.dropped;
        }
        let mut clients: Vec<TopClient> = sums.into_values().collect();
        clients.sort_unstable_by_key(|client| (std::cmp::Reverse(client.datagrams), client.network));
        clients.truncate(most);
        clients
    }

    /// Adds up the denied users of all threads.
    fn denied(&self, most: usize) -> Vec<DeniedUser> {
        let mut sums: HashMap<(String, u16), u64> = HashMap::new();
        for DeniedUser { user, code, count } in self.used().flat_map(|shard| shard.denied.all()) {
            *sums.entry((user, code)).or_default() += count;
        }
        let mut users: Vec<DeniedUser> =
            sums.into_iter().map(|((user, code), count)| DeniedUser { user, code, count }).collect();
        users.sort_unstable_by(|one, other| {
            other.count.cmp(&one.count).then_with(|| (&one.user, one.code).cmp(&(&other.user, other.code)))
        });
        users.truncate(most);
        users
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::datagrams::Path;
    use pyzord_core::{
        Batch, Digest, Guard, Limits, MemoryStore, Now, Policy, Server, Store as _, StoreCall, StoreError,
        StoreOp, Tick, UnixTime,
    };

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
        let occurred: Vec<_> = details.requests.iter().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(occurred, [&("ping", 200, 8), &("pong", 200, 2), &("other", 403, 2)]);
        let buckets = |found: &Distribution| found.buckets().collect::<Vec<_>>();
        assert_eq!(buckets(&details.latency), [(5_000_000, 6), (10_000_000, 4)]);
        assert_eq!(
            buckets(&details.latency_failed),
            [(5_000_000, 2)],
            "a refusal says nothing of the others"
        );
        assert_eq!((details.top_clients[0].refused, details.top_clients[0].dropped), (2, 0));
        let denied: Vec<_> = details.denied.iter().map(|user| (&*user.user, user.code, user.count)).collect();
        assert_eq!(denied, [("anonymous", 403, 2)]);
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
        let calls = [StoreCall::new(Digest::new([1; 20]), StoreOp::Report); 4];
        shard.executed(Duration::from_micros(250), &calls, &errors.map(Err));
        let details = metrics.details(1);
        assert_eq!((details.unavailable, details.unreadable, details.no_place), (2, 1, 1));
        assert_eq!(details.store.quantile(1, 2), Some(250_000));
    }

    #[test]
    fn checks_of_what_was_reported_are_hits() {
        let (metrics, mut store) = (Metrics::new(1), MemoryStore::new());
        let mut batch = Batch::new();
        let [known, other] =
            ["da39a3ee5e6b4b0d3255bfef95601890afd80709", "00000000000000000000000000000000000000ff"];
        for (op, digest) in [
            ("check", known),
            ("report", known),
            ("check", known),
            ("check", other),
            ("info", known),
            ("pong", known),
        ] {
            accept(&mut batch, &format!("Op: {op}\nOp-Digest: {digest}\nThread: 1024\nPV: 2.1\n\n"), tick(0));
        }
        let (asked, mut answers) = (batch.ask(), Vec::new());
        let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: tick(0) };
        store.execute(now, asked.calls(), &mut answers);
        let shard = metrics.shard().unwrap();
        shard.executed(Duration::ZERO, asked.calls(), &answers);
        shard.answered(&asked.resolve(&server(), &answers), tick(1));
        let details = metrics.details(1);
        assert_eq!((details.hits, details.new_records, details.denied.len()), (1, 1, 0));
    }

    #[test]
    fn a_thread_that_asks_for_no_shard_costs_no_memory() {
        let metrics = Metrics::new(3);
        assert_eq!(metrics.used().count(), 0);
        assert!(metrics.details(5).requests.iter().all(|(_, _, count)| *count == 0));
        metrics.shard();
        assert_eq!(metrics.used().count(), 1);
    }
}
