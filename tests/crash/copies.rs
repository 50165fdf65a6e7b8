//! Each signed report is sent to two servers on one database until both have acknowledged it, while the database and the
//! servers are killed: it counts once.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_testkit::{MariadbServer, RedisServer};

use crate::bob::{Signed, home_of_bob, now, signed};
use crate::harness::{Home, Server, field, wait_for};
use crate::load::{count, wait_for_more};
use crate::random::Random;
use crate::rounds;

/// The reports of one round.
const REPORTS: u32 = 400;
/// The digests of one round, each of which is in several reports.
const DIGESTS: u32 = 150;
/// How many of them a client sends before it reads replies.
const WINDOW: usize = 32;

/// A database server that can be disturbed.
trait Database {
    fn arguments(&self) -> Vec<String>;
    fn restart(&mut self);
    fn hang(&self);
    fn go_on(&self);
}

impl Database for RedisServer {
    fn arguments(&self) -> Vec<String> {
        ["-e", "redis", "--dsn", &format!("127.0.0.1,{},,0", self.port())].map(str::to_owned).to_vec()
    }

    fn restart(&mut self) {
        self.restart();
    }

    fn hang(&self) {
        self.hang();
    }

    fn go_on(&self) {
        self.go_on();
    }
}

impl Database for MariadbServer {
    fn arguments(&self) -> Vec<String> {
        ["-e", "mysql", "--dsn", &self.dsn("digests")].map(str::to_owned).to_vec()
    }

    fn restart(&mut self) {
        self.kill();
        self.restart();
    }

    fn hang(&self) {
        self.hang();
    }

    fn go_on(&self) {
        self.go_on();
    }
}

/// Reports of one digest and of several.
fn reports(round: u32, random: &mut Random) -> Vec<Signed> {
    let time = now();
    let mut digests = || 1000 * round + random.below(DIGESTS);
    let mut report = |number| {
        let most = if number % 4 == 0 { 12 } else { 1 };
        let digests: Vec<u32> = (0..most).map(|_| digests()).collect();
        signed("report", &digests, 2000 + number, time)
    };
    (0..REPORTS).map(&mut report).collect()
}

/// Sends all reports to a server, again and again, until each is acknowledged.
fn send(server: SocketAddr, reports: &[Signed], acknowledged: &AtomicU32) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let threads = (2000..).map(|thread: u32| thread.to_string());
    let mut open: BTreeMap<String, &Signed> = threads.zip(reports).collect();
    wait_for("the acknowledgement of all reports", || {
        let some: Vec<_> = open.values().take(WINDOW).copied().collect();
        // A server that is away refuses.
        some.iter().for_each(|report| drop(socket.send(&report.datagram)));
        let mut buffer = [0; 1000];
        for _ in some {
            let Ok(length) = socket.recv(&mut buffer) else { break };
            let reply = String::from_utf8_lossy(&buffer[..length]);
            if field(&reply, "Code") == "200" && open.remove(field(&reply, "Thread")).is_some() {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
        open.is_empty().then_some(())
    });
}

/// Starts a server on a home directory and an address.
fn start(home: Home, address: Option<SocketAddr>, runtime: &str, database: &[String]) -> Server {
    let port = address.map_or(0, |address| address.port()).to_string();
    let database: Vec<&str> = database.iter().map(String::as_str).collect();
    let arguments = ["--address", "127.0.0.1", "--port", &port, "--runtime", runtime];
    Server::spawn(home, &[&arguments[..], &database].concat())
}

/// Kills a server and starts it again at its address.
fn restart(server: Server, runtime: &str, database: &[String]) -> Server {
    let address = server.address;
    start(server.kill(), Some(address), runtime, database)
}

/// Disturbs the database, the first server or the second one.
fn disturb(database: &mut impl Database, servers: [Server; 2], random: &mut Random) -> [Server; 2] {
    let arguments = database.arguments();
    let [first, second] = servers;
    match random.below(4) {
        0 => database.restart(),
        1 => {
            database.hang();
            random.pause(Duration::from_millis(1500));
            database.go_on();
        }
        2 => return [restart(first, "std", &arguments), second],
        _ => return [first, restart(second, "smol", &arguments)],
    }
    [first, second]
}

fn copies_count_once(rounds: u32, mut database: impl Database) {
    let mut random = Random::new();
    let arguments = database.arguments();
    let mut servers = ["std", "smol"].map(|runtime| start(home_of_bob(), None, runtime, &arguments));
    for round in 0..rounds {
        let reports = reports(round, &mut random);
        let acknowledged = &AtomicU32::new(0);
        let addresses = servers.each_ref().map(|server| server.address);
        servers = thread::scope(|scope| {
            for address in addresses {
                let reports = &reports;
                scope.spawn(move || send(address, reports, acknowledged));
            }
            wait_for_more(acknowledged, 1 + random.below(REPORTS));
            disturb(&mut database, servers, &mut random)
        });
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let digests = reports.iter().flat_map(|report| &report.digests);
        digests.for_each(|digest| *counts.entry(digest).or_default() += 1);
        for server in &servers {
            let client = server.client();
            for (digest, expected) in &counts {
                assert_eq!(count(&client, digest), *expected, "{digest} in round {round}: {}", server.log());
            }
        }
    }
    println!("{rounds} disturbances: {} reports at two servers each, all counted once", rounds * REPORTS);
}

#[test]
fn redis() {
    copies_count_once(rounds(4), RedisServer::durable());
}

#[test]
fn mysql() {
    let mysql = MariadbServer::start_with(&["--innodb-flush-log-at-trx-commit=1"]);
    let arguments = mysql.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let created = Home::new().run(&[&arguments[..], &["--create-table"]].concat());
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    copies_count_once(rounds(4), mysql);
}
