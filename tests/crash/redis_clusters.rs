//! Slots of a Redis Cluster move under load, and one of its masters is killed.
//!
//! `PYZORD_CRASH_REPORTS` sets the number of reports, half as many as it are the digests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use pyzord_core::{Digest, HashedKey, HeaderBlock, Record};
use pyzord_engines::registry::{Access, open_store};
use pyzord_testkit::RedisCluster;

use crate::harness::{Home, Server, digest, field, numbered_request, wait_for};
use crate::load::{SetOnDrop, wait_for_more};
use crate::random::Random;

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";
/// Concurrent clients. Half of them sign, and repeat a report that failed until it is acknowledged.
const CLIENTS: u32 = 4;
/// Reports of a client in flight.
const WINDOW: usize = 8;
/// A client takes a report for lost after this time. The server answers within half a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long there must be no error until all is well again.
const QUIET: Duration = Duration::from_millis(1500);

/// The failover is under way.
const FAILING: u32 = 1;

/// Returns the number of reports.
fn reports() -> u32 {
    std::env::var("PYZORD_CRASH_REPORTS").map_or(6000, |reports| reports.parse().unwrap())
}

/// What clients share.
#[derive(Default)]
struct Shared {
    done: AtomicBool,
    phase: AtomicU32,
    acknowledged: AtomicU32,
    errors: AtomicU32,
    /// Errors of reports that had nothing to do with the failover.
    unexpected: AtomicU32,
}

/// What became of the reports of a digest. A report and its repeats are one.
#[derive(Clone, Copy, Default, Debug)]
struct Reports {
    acknowledged: u64,
    made: u64,
}

/// A report that waits for its reply.
struct Pending {
    number: u32,
    message: String,
    phase: u32,
    sent: Instant,
}

struct Client<'a> {
    first: u32,
    digests: u32,
    signs: bool,
    quota: u32,
    shared: &'a Shared,
    socket: UdpSocket,
    reports: BTreeMap<u32, Reports>,
    pending: BTreeMap<u16, Pending>,
    id: u16,
}

#[expect(clippy::disallowed_methods, reason = "the time of a signature, and of a reply")]
fn now() -> (u64, Instant) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    (since.as_secs(), Instant::now())
}

impl Client<'_> {
    fn run(mut self) -> BTreeMap<u32, Reports> {
        let mut made = 0;
        loop {
            let more = made < self.quota || !self.shared.done.load(Ordering::Relaxed);
            while more && self.pending.len() < WINDOW {
                self.report(self.first + made % self.digests);
                made += 1;
            }
            if self.pending.is_empty() {
                return self.reports;
            }
            self.receive();
        }
    }

    fn report(&mut self, number: u32) {
        // The numbers up to 1023 are not used by clients.
        self.id = self.id.checked_add(1).unwrap_or(1024);
        let message = if self.signs {
            self.signed(number)
        } else {
            numbered_request("report", &[&digest(number)], self.id)
        };
        self.reports.entry(number).or_default().made += 1;
        self.send(self.id, number, message);
    }

    fn signed(&self, number: u32) -> String {
        let time = now().0;
        let headers = format!(
            "Op: report\nOp-Digest: {}\nThread: {}\nPV: 2.1\nUser: bob\nTime: {time}\n",
            digest(number),
            self.id
        );
        let key = HashedKey::new(b"bob", KEY.as_bytes());
        let signature = key.sign(HeaderBlock::new(headers.as_bytes()), time.try_into().unwrap());
        format!("{headers}Sig: {}\n\n", String::from_utf8_lossy(&signature))
    }

    fn send(&mut self, id: u16, number: u32, message: String) {
        self.socket.send(message.as_bytes()).unwrap();
        let phase = self.shared.phase.load(Ordering::Relaxed);
        self.pending.insert(id, Pending { number, message, phase, sent: now().1 });
    }

    fn receive(&mut self) {
        let mut buffer = [0; 1024];
        if let Ok(length) = self.socket.recv(&mut buffer) {
            let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let id = field(&reply, "Thread").parse().unwrap();
            let Some(pending) = self.pending.remove(&id) else { return };
            if field(&reply, "Code") == "200" {
                self.reports.entry(pending.number).or_default().acknowledged += 1;
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                self.failed(id, pending, &reply);
            }
            return;
        }
        let late: Vec<u16> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.sent.elapsed() > PATIENCE)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let pending = self.pending.remove(&id).unwrap();
            self.failed(id, pending, "no reply");
        }
    }

    fn failed(&mut self, id: u16, pending: Pending, reply: &str) {
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
        if pending.phase != FAILING && self.shared.phase.load(Ordering::Relaxed) != FAILING {
            self.shared.unexpected.fetch_add(1, Ordering::Relaxed);
            println!("an error outside of the failover, digest {}: {reply}", pending.number);
        }
        // A server without a database refuses at once: without a pause all reports would be spent on that.
        thread::sleep(Duration::from_millis(20));
        if self.signs {
            self.send(id, pending.number, pending.message);
        }
    }
}

/// Runs clients while `work` runs, and returns what became of the reports of each digest.
fn load(server: &Server, shared: &Shared, work: impl FnOnce()) -> BTreeMap<u32, Reports> {
    let digests = reports() / 2 / CLIENTS;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(server.address).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                let client = Client {
                    first: number * digests,
                    digests,
                    signs: number % 2 == 0,
                    quota: reports() / CLIENTS,
                    shared,
                    socket,
                    reports: BTreeMap::new(),
                    pending: BTreeMap::new(),
                    id: 1024,
                };
                scope.spawn(|| client.run())
            })
            .collect();
        {
            // A panic in `work` ends the load too.
            let _done = SetOnDrop(&shared.done);
            work();
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// Moves slots for as long as it takes to acknowledge so many reports. Returns how many.
fn move_slots(cluster: &RedisCluster, shared: &Shared, until: u32, random: &mut Random) -> u32 {
    let mut moved = 0;
    while moved < 3 || shared.acknowledged.load(Ordering::Relaxed) < until {
        let slot = random.below(16_384);
        let from = cluster.owner(slot);
        let others: Vec<usize> = cluster.masters().into_iter().filter(|master| *master != from).collect();
        cluster.move_slot(slot, others[random.below(2) as usize], || ());
        moved += 1;
    }
    moved
}

/// Kills a master, and starts it again once its replica has taken its place. Returns how long there were errors.
fn fail_over(cluster: &RefCell<RedisCluster>, shared: &Shared, random: &mut Random) -> Duration {
    let masters = cluster.borrow().masters();
    let victim = masters[random.below(u32::try_from(masters.len()).unwrap()) as usize];
    shared.phase.store(FAILING, Ordering::Relaxed);
    let began = now().1;
    cluster.borrow_mut().kill(victim);
    cluster.borrow().wait_for_failover(masters.len());
    cluster.borrow_mut().restart(victim);
    cluster.borrow().wait_until_whole();
    let (mut errors, mut since) = (shared.errors.load(Ordering::Relaxed), now().1);
    wait_for("an end of the errors", || {
        let seen = shared.errors.load(Ordering::Relaxed);
        if seen != errors {
            (errors, since) = (seen, now().1);
        }
        (since.elapsed() >= QUIET).then_some(())
    });
    shared.phase.store(FAILING + 1, Ordering::Relaxed);
    since - began
}

/// Returns the counts of digests.
fn counts(dsn: &str, digests: &[u32]) -> Vec<u64> {
    let keys: Vec<Digest> =
        digests.iter().map(|number| Digest::parse(digest(*number).as_bytes()).unwrap()).collect();
    let mut store = open_store("redis", dsn, Access::Read, None).unwrap();
    let mut records = Vec::new();
    store.fetch(&keys, &mut records);
    records.into_iter().map(|record: Result<Record, _>| record.unwrap().reports.count).collect()
}

/// Returns how many acknowledged reports were lost.
fn run(cluster: &RefCell<RedisCluster>, options: &str) -> u64 {
    let mut random = Random::new();
    cluster.borrow().tell_masters(&["FLUSHALL"]);
    let dsn = cluster.borrow().dsn() + options;
    let home = Home::new();
    home.write("pyzord.passwd", format!("bob : {KEY}\n"));
    home.write("pyzord.access", "all : bob anonymous : allow\n");
    let server = Server::on(home, &["-e", "redis", "--dsn", &dsn]);
    let shared = Shared::default();
    let (mut moved, mut took) = (0, Duration::ZERO);
    let made = load(&server, &shared, || {
        wait_for_more(&shared.acknowledged, reports() / 6);
        moved = move_slots(&cluster.borrow(), &shared, reports() / 3, &mut random);
        took = fail_over(cluster, &shared, &mut random);
        moved += move_slots(&cluster.borrow(), &shared, 0, &mut random);
        wait_for_more(&shared.acknowledged, reports() / 6);
    });
    let digests: Vec<u32> = made.keys().copied().collect();
    let mut lost = 0;
    for ((number, reports), count) in made.iter().zip(counts(&dsn, &digests)) {
        assert!(count <= reports.made, "digest {number} has {count}: {reports:?}\n{}", server.log());
        lost += reports.acknowledged.saturating_sub(count);
    }
    let [acknowledged, errors, unexpected] = [&shared.acknowledged, &shared.errors, &shared.unexpected]
        .map(|number| number.load(Ordering::Relaxed));
    println!(
        "a cluster{options}: {acknowledged} reports acknowledged over {} digests, {errors} errors in a failover of {took:?}, \
         {moved} slots moved; {lost} acknowledged reports lost, none counted twice",
        digests.len()
    );
    assert_eq!(unexpected, 0, "{}", server.log());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.stop();
    lost
}

/// Redis replicates after it has answered: without a wait the number of reports that are lost is not known beforehand.
#[test]
fn a_failover_is_survived_and_nothing_counts_twice() {
    let cluster = RefCell::new(RedisCluster::start());
    run(&cluster, "");
    assert_eq!(run(&cluster, "?wait-replicas=1"), 0);
}
