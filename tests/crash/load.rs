//! Clients that report, and a ledger of the replies.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Client, Server, digest, field, numbered_request, request, wait_for};
use crate::random::Random;

/// Concurrent clients.
const CLIENTS: u32 = 4;
/// Reports of a client in flight.
const WINDOW: usize = 4;
/// Digests of each client.
const DIGESTS: u32 = 200;
/// New digests of each client per round, so that the file grows.
const NEW: u32 = 50;

/// The bounds of a count: the acknowledged reports, and the sent ones.
#[derive(Clone, Copy, Default, Debug)]
struct Bounds {
    least: u64,
    most: u64,
}

/// The bounds of all digests, and the totals.
#[derive(Default)]
pub(crate) struct Ledger {
    bounds: BTreeMap<u32, Bounds>,
    rounds: u32,
    pub(crate) acknowledged: u64,
    pub(crate) unanswered: u64,
}

impl Ledger {
    /// Reports to a server from several clients while `work` runs. `work` gets the number of acknowledged reports so
    /// far.
    pub(crate) fn load(&mut self, server: SocketAddr, random: &mut Random, work: impl FnOnce(&AtomicU32)) {
        let (done, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0));
        self.rounds += 1;
        let round = self.rounds;
        let reports = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| (number, random.fork()))
                .map(|(number, random)| {
                    let client = Reporter { number, round, random, done: &done, acknowledged: &acknowledged };
                    scope.spawn(|| client.run(server))
                })
                .collect();
            {
                // A panic in `work` ends the load too.
                let _done = SetOnDrop(&done);
                work(&acknowledged);
            }
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        for (number, Bounds { least, most }) in reports.into_iter().flatten() {
            let bounds = self.bounds.entry(number).or_default();
            *bounds = Bounds { least: bounds.least + least, most: bounds.most + most };
            self.acknowledged += least;
            self.unanswered += most - least;
        }
    }

    /// Returns the sums of two ledgers.
    pub(crate) fn joined(mut self, other: Self) -> Self {
        for (number, Bounds { least, most }) in other.bounds {
            let bounds = self.bounds.entry(number).or_default();
            *bounds = Bounds { least: bounds.least + least, most: bounds.most + most };
        }
        self.acknowledged += other.acknowledged;
        self.unanswered += other.unanswered;
        self
    }

    /// Checks the count of every digest: no acknowledged report is lost, and no report is counted twice.
    pub(crate) fn verify(&mut self, server: &Server) {
        let client = server.client();
        for (number, bounds) in &mut self.bounds {
            let count = count(&client, &digest(*number));
            let allowed = bounds.least..=bounds.most;
            assert!(
                allowed.contains(&count),
                "{count} of digest {number}, not {allowed:?}: {}",
                server.log()
            );
            *bounds = Bounds { least: count, most: count };
        }
    }
}

/// Returns the count of a digest. Waits for a database that is down.
pub(crate) fn count(client: &Client, digest: &str) -> u64 {
    wait_for("a count", || {
        let reply = client.ask(request("check", &[digest]));
        (field(&reply, "Code") == "200").then(|| field(&reply, "Count").parse().unwrap())
    })
}

/// Waits for this many more acknowledged reports.
pub(crate) fn wait_for_more(acknowledged: &AtomicU32, more: u32) {
    let wanted = acknowledged.load(Ordering::Relaxed) + more;
    wait_for("acknowledged reports", || (acknowledged.load(Ordering::Relaxed) >= wanted).then_some(()));
}

/// Sets a flag when it is dropped.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that reports.
struct Reporter<'a> {
    number: u32,
    round: u32,
    random: Random,
    done: &'a AtomicBool,
    acknowledged: &'a AtomicU32,
}

impl Reporter<'_> {
    fn run(mut self, server: SocketAddr) -> BTreeMap<u32, Bounds> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut reports = BTreeMap::<u32, Bounds>::new();
        let mut pending = BTreeMap::new();
        let (mut id, mut buffer) = (1024_u16, [0; 1024]);
        while !self.done.load(Ordering::Relaxed) {
            while pending.len() < WINDOW {
                let number = self.next_digest();
                id = id.checked_add(1).unwrap_or(1024);
                pending.insert(id, number);
                reports.entry(number).or_default().most += 1;
                let report = numbered_request("report", &[&digest(number)], id);
                // Sending fails after the server was killed; `done` ends the loop.
                let _ = socket.send(report.as_bytes());
            }
            // After a timeout all reports in flight count as unanswered, even if a reply arrives later.
            let Ok(length) = socket.recv(&mut buffer) else {
                pending.clear();
                continue;
            };
            let reply = String::from_utf8_lossy(&buffer[..length]);
            let answered = pending.remove(&field(&reply, "Thread").parse().unwrap());
            match (answered, field(&reply, "Code")) {
                (Some(number), "200") => {
                    reports.entry(number).or_default().least += 1;
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // A server without its database refuses reports at once. A pause keeps the bounds narrow.
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
        reports
    }

    fn next_digest(&mut self) -> u32 {
        let own = self.number * 10_000_000;
        let old = self.random.below(DIGESTS);
        let new = DIGESTS + self.round * NEW + self.random.below(NEW);
        own + if self.random.below(2) == 0 { old } else { new }
    }
}
