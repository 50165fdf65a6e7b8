//! A node of a Galera cluster is killed under the load of two servers, and rejoins.
//!
//! Each 100 of `PYZORD_CRASH_ROUNDS` are 100,000 reports over 50,000 digests, and a kill.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_testkit::GaleraCluster;

use crate::harness::{Home, Server, digest, field, numbered_request, wait_for};
use crate::random::Random;
use crate::rounds;

/// Digests that both servers report all the time: a quarter of all reports.
const HOT: u32 = 50;
/// Clients of each server, and reports of a client in flight.
const CLIENTS: u32 = 2;
const WINDOW: usize = 16;

/// What is known of a digest's reports.
#[derive(Clone, Copy, Default, Debug)]
struct Reports {
    acknowledged: u64,
    /// They may be counted.
    failed: u64,
}

type Outcome = BTreeMap<u32, Reports>;

/// A client that reports so many times.
struct Reporter<'a> {
    random: Random,
    digests: u32,
    reports: u32,
    answered: &'a AtomicU32,
}

impl Reporter<'_> {
    fn run(mut self, server: SocketAddr) -> Outcome {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (mut outcome, mut pending) = (Outcome::new(), BTreeMap::new());
        let (mut id, mut buffer, mut left) = (1024_u16, [0; 1024], self.reports);
        while left > 0 || !pending.is_empty() {
            while left > 0 && pending.len() < WINDOW {
                left -= 1;
                let hot = self.random.below(4) == 0;
                let number = self.random.below(if hot { HOT } else { self.digests });
                id = id.checked_add(1).unwrap_or(1024);
                pending.insert(id, number);
                let report = numbered_request("report", &[&digest(number)], id);
                socket.send(report.as_bytes()).unwrap();
            }
            let Ok(length) = socket.recv(&mut buffer) else {
                for number in std::mem::take(&mut pending).into_values() {
                    outcome.entry(number).or_default().failed += 1;
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            };
            let reply = String::from_utf8_lossy(&buffer[..length]);
            let Some(number) = pending.remove(&field(&reply, "Thread").parse().unwrap()) else { continue };
            self.answered.fetch_add(1, Ordering::Relaxed);
            let reports = outcome.entry(number).or_default();
            if field(&reply, "Code") == "200" {
                reports.acknowledged += 1;
            } else {
                reports.failed += 1;
                // A server without its database refuses reports at once.
                thread::sleep(Duration::from_millis(50));
            }
        }
        outcome
    }
}

#[test]
fn a_node_that_is_killed_and_rejoins_loses_no_count_and_doubles_none() {
    let hundreds = rounds(1) / 100;
    let large = hundreds > 0;
    let (reports, digests, kills) =
        if large { (100_000 * hundreds, 50_000, hundreds) } else { (6000, 3000, 1) };
    let mut cluster = GaleraCluster::start();
    let dsns = [cluster.dsn(&[0, 1, 2], "digests"), cluster.dsn(&[1, 2, 0], "digests")];
    let created = Home::new().run(&["-e", "mysql", "--dsn", &dsns[0], "--create-table"]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let servers = dsns.each_ref().map(|dsn| Server::start(&["-e", "mysql", "--dsn", dsn]));
    let _logs = LogsOfPanic(&servers);
    let (mut random, answered) = (Random::new(), AtomicU32::new(0));
    let addresses = servers.each_ref().map(|server| server.address);
    let outcomes = thread::scope(|scope| {
        let clients: Vec<_> = addresses
            .into_iter()
            .flat_map(|server| (0..CLIENTS).map(move |_| server))
            .map(|server| {
                let reports = reports / (2 * CLIENTS);
                let reporter = Reporter { random: random.fork(), digests, reports, answered: &answered };
                scope.spawn(move || reporter.run(server))
            })
            .collect();
        for kill in 0..kills {
            let when = reports / (kills + 1) * (kill + 1);
            wait_for("the time of a kill", || (answered.load(Ordering::Relaxed) >= when).then_some(()));
            // Each server loses its node in turn.
            let node = kill as usize % 2;
            cluster.kill(node);
            cluster.rejoin(node);
        }
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let mut all = Outcome::new();
    for (number, reports) in outcomes.into_iter().flatten() {
        let sum = all.entry(number).or_default();
        sum.acknowledged += reports.acknowledged;
        sum.failed += reports.failed;
    }
    let logs = servers.each_ref().map(Server::log);
    verify(&cluster, &all, &logs);
    let sum = |of: fn(&Reports) -> u64| all.values().map(of).sum::<u64>();
    let (counted, failed) = (sum(|reports| reports.acknowledged), sum(|reports| reports.failed));
    println!("{kills} kills: {counted} acknowledged, none lost or doubled; {failed} failed");
    // On few reports one failover is many.
    assert!(!large || failed * 100 <= counted + failed, "{failed} of {}: {logs:?}", counted + failed);
}

/// Prints the servers' logs if the test fails.
struct LogsOfPanic<'a>(&'a [Server; 2]);

impl Drop for LogsOfPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.iter().for_each(|server| println!("{}", server.log()));
        }
    }
}

/// Checks the counts on each node.
fn verify(cluster: &GaleraCluster, all: &Outcome, logs: &[String; 2]) {
    let names: BTreeMap<String, u32> = all.keys().map(|number| (digest(*number), *number)).collect();
    for node in 0..3 {
        wait_for("a node that has applied all", || {
            let state = cluster.rows(node, "SHOW STATUS LIKE 'wsrep_local_recv_queue'");
            state.trim().ends_with("\t0").then_some(())
        });
        let rows = cluster.rows(node, "SELECT digest, r_count FROM pyzor.digests");
        let counts: BTreeMap<u32, u64> = rows
            .lines()
            .map(|row| row.split_once('\t').unwrap())
            .map(|(name, count)| (names[name], count.parse().unwrap()))
            .collect();
        for (number, reports) in all {
            let count = counts.get(number).copied().unwrap_or(0);
            let most = reports.acknowledged + reports.failed;
            assert!(
                (reports.acknowledged..=most).contains(&count),
                "node {node}, digest {number}: {count}, {reports:?}: {logs:?}"
            );
        }
    }
}
