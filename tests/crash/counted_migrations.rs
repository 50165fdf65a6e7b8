//! Migrations between all engines, while servers count in both databases, and the tool, the source or the destination is
//! killed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_core::{Digest, Progress, Record, Tally, UnixTime};
use pyzord_engines::registry::{Access, is_file, open_store};
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{Guarded, Home, Server, digest, field, numbered_request, wait_for};
use crate::random::Random;
use crate::rounds;

const ENGINES: [&str; 5] = ["gdbm", "redis", "redis_v0", "mysql", "sqlite"];
/// Records of the source; every second one is in the destination, too.
const RECORDS: u32 = 1500;
/// Digests that are reported meanwhile, some of them new.
const REPORTED: u32 = RECORDS + 100;
/// Kills of one migration before it runs to its end.
const KILLS: u32 = 3;
/// The longest time to a kill: a migration of so many records takes about that.
const LONGEST: Duration = Duration::from_millis(500);
/// The servers' own expiry would remove the old records of this test.
const FOR_EVER: [&str; 2] = ["--cleanup-age", "0"];

/// The database servers of all rounds, a redis server for each side.
struct Databases {
    redis: [RefCell<RedisServer>; 2],
    mysql: RefCell<MariadbServer>,
}

/// One of the two databases of a migration.
struct Side<'a> {
    databases: &'a Databases,
    engine: &'static str,
    number: usize,
    dsn: String,
}

impl<'a> Side<'a> {
    fn new(databases: &'a Databases, engine: &'static str, number: usize, home: &Home, round: u32) -> Self {
        let redis = databases.redis[number].borrow();
        let dsn = match engine {
            "gdbm" | "sqlite" => home.path(&format!("{number}.db")).to_str().unwrap().to_owned(),
            "mysql" => databases.mysql.borrow().dsn(&format!("round{round}_{number}")),
            _ => {
                assert!(redis.ask(&["FLUSHALL"]).starts_with("+OK"));
                format!("127.0.0.1,{},,0", redis.port())
            }
        };
        if engine == "mysql" {
            let created = Home::new().run(&["-e", "mysql", "--dsn", &dsn, "--create-table"]);
            assert!(created.status.success(), "{created:?}");
        }
        Self { databases, engine, number, dsn }
    }

    /// Starts a server on the database; a gdbm file has one user.
    fn server(&self) -> Option<Server> {
        let arguments = ["-e", self.engine, "--dsn", &self.dsn];
        (self.engine != "gdbm").then(|| Server::start(&[&arguments[..], &FOR_EVER].concat()))
    }

    fn put(&self, records: &[(Digest, Record)]) {
        let mut store = open_store(self.engine, &self.dsn, Access::Create, None).unwrap();
        let mut results = Vec::new();
        store.put(records, &mut results);
        results.into_iter().for_each(|result| result.unwrap());
    }

    fn counts(&self) -> BTreeMap<Digest, u64> {
        let mut store = open_store(self.engine, &self.dsn, Access::Create, None).unwrap();
        let mut found = Vec::new();
        while store.scan(&mut found).unwrap() == Progress::More {}
        found
            .into_iter()
            .map(|entry| entry.record.unwrap())
            .map(|(key, record)| (key, record.reports.count))
            .collect()
    }

    fn kill_and_restart(&self) {
        if self.engine == "mysql" {
            let mut mysql = self.databases.mysql.borrow_mut();
            mysql.kill();
            mysql.restart();
        } else {
            let mut redis = self.databases.redis[self.number].borrow_mut();
            redis.kill();
            redis.restart();
        }
    }
}

fn key(number: u32) -> Digest {
    Digest::parse(digest(number).as_bytes()).unwrap()
}

fn record(count: u32, entered: u32) -> Record {
    let at = |seconds: u32| Some(UnixTime::from_seconds(i64::from(seconds)));
    let reports = Tally { count: count.into(), entered: at(entered), updated: at(entered + 10) };
    Record { reports, ..Record::default() }
}

/// The bounds of a count: what was acknowledged, and what was sent.
#[derive(Clone, Copy, Default, Debug)]
struct Bounds {
    least: u64,
    most: u64,
}

/// Reports to a server until the migration is done.
fn report(server: SocketAddr, mut random: Random, done: &AtomicBool) -> BTreeMap<u32, Bounds> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let (mut bounds, mut id, mut buffer) = (BTreeMap::<u32, Bounds>::new(), 1024_u16, [0; 1024]);
    while !done.load(Ordering::Relaxed) {
        let number = random.below(REPORTED);
        let bounds = bounds.entry(number).or_default();
        id = id.checked_add(1).unwrap_or(1024);
        bounds.most += 1;
        socket.send(numbered_request("report", &[&digest(number)], id).as_bytes()).unwrap();
        while let Ok(length) = socket.recv(&mut buffer) {
            let reply = String::from_utf8_lossy(&buffer[..length]);
            if field(&reply, "Thread") == id.to_string() {
                bounds.least += u64::from(field(&reply, "Code") == "200");
                break;
            }
        }
    }
    bounds
}

fn migration(source: &Side<'_>, destination: &Side<'_>, home: &Home) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyzor-migrate"));
    command.args(["--delete", "--on-conflict", "add", "--journal"]).arg(home.path("journal"));
    command.args(["--se", source.engine, "--sd", &source.dsn]);
    command.args(["--de", destination.engine, "--dd", &destination.dsn]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Kills the tool, the source or the destination at a random moment of a migration.
fn kill_once(source: &Side<'_>, destination: &Side<'_>, home: &Home, random: &mut Random) {
    let mut running = Guarded(migration(source, destination, home).spawn().unwrap());
    random.pause(LONGEST);
    let victims: Vec<&Side<'_>> =
        [source, destination].into_iter().filter(|side| !is_file(side.engine)).collect();
    // Dropping kills the tool.
    if let Some(victim) = victims.get(random.below(3) as usize) {
        victim.kill_and_restart();
        wait_for("the end of the migration", || running.0.try_wait().unwrap());
    }
}

/// Runs the migration to its end.
fn finish(source: &Side<'_>, destination: &Side<'_>, home: &Home) -> String {
    let run = || -> Output {
        let mut command = migration(source, destination, home);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    };
    let said = |output: &Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    // A database that was restarted may not answer the first one.
    wait_for("a migration that runs to its end", || {
        let output = run();
        said(&output).contains("Migration complete").then(|| said(&output))
    })
}

fn round(databases: &Databases, [from, to]: [&'static str; 2], number: u32, random: &mut Random) {
    let home = Home::new();
    let source = Side::new(databases, from, 0, &home, number);
    let destination = Side::new(databases, to, 1, &home, number);
    let old = |n: u32| (key(n), record(10 + n % 90, 1_600_000_000 + n));
    // Some of the destination's records are older, some younger.
    let other = |n: u32| (key(n), record(5000 + n, 1_500_000_000 + n % 4 * 50_000_000));
    source.put(&(0..RECORDS).map(old).collect::<Vec<_>>());
    destination.put(&(0..RECORDS).step_by(2).map(other).collect::<Vec<_>>());
    let servers: Vec<Server> = [&source, &destination].into_iter().filter_map(Side::server).collect();
    let done = AtomicBool::new(false);
    let mut bounds = vec![Bounds::default(); REPORTED as usize];
    let counted = thread::scope(|scope| {
        let done = &done;
        let clients: Vec<_> = servers
            .iter()
            .map(|server| (server.address, random.fork()))
            .map(|(address, random)| scope.spawn(move || report(address, random, done)))
            .collect();
        let _done = crate::load::SetOnDrop(done);
        (0..KILLS).for_each(|_| kill_once(&source, &destination, &home, random));
        done.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    for (n, Bounds { least, most }) in counted {
        bounds[n as usize] =
            Bounds { least: bounds[n as usize].least + least, most: bounds[n as usize].most + most };
    }
    let said = finish(&source, &destination, &home);
    let (mut left, counts) = (source.counts(), destination.counts());
    for (n, Bounds { least, most }) in (0..).zip(bounds) {
        let mut initial = if n < RECORDS { u64::from(10 + n % 90) } else { 0 };
        initial += if n < RECORDS && n % 2 == 0 { u64::from(5000 + n) } else { 0 };
        let count = counts.get(&key(n)).copied().unwrap_or_default();
        let allowed = initial + least..=initial + most;
        let remaining = left.remove(&key(n)).unwrap_or_default();
        assert!(
            allowed.contains(&count) && remaining == 0,
            "{from} to {to}: digest {n} has {count} and {remaining} in the source, not {allowed:?}: {said}"
        );
    }
    assert!(left.is_empty(), "{left:?}");
}

/// Checks that no count of either side is lost, and none counts twice.
#[test]
fn while_servers_count() {
    let databases = Databases {
        redis: [RedisServer::durable(), RedisServer::durable()].map(RefCell::new),
        mysql: RefCell::new(MariadbServer::start_with(&["--innodb-flush-log-at-trx-commit=1"])),
    };
    let mut random = Random::new();
    let migrations = rounds(12).div_ceil(KILLS);
    for number in 0..migrations {
        // All pairs in turn, from a random one on.
        let pair = if migrations < 25 { random.below(25) } else { number % 25 };
        let pair = [ENGINES[pair as usize / 5], ENGINES[pair as usize % 5]];
        println!("{} to {}", pair[0], pair[1]);
        round(&databases, pair, number, &mut random);
    }
    println!("{} kills; no count lost, none doubled", migrations * KILLS);
}

/// A gdbm file has one user: a migration from or to the file of a running server is refused.
#[test]
fn the_file_of_a_running_server_is_refused() {
    let server = Server::start(&[]);
    let file = server.home.path("pyzord.db").to_str().unwrap().to_owned();
    let other = Home::new().path("other.db").to_str().unwrap().to_owned();
    for [from, to] in [[&file, &other], [&other, &file]] {
        if from == &other {
            let created = std::path::Path::new(&other).parent().unwrap();
            std::fs::create_dir_all(created).unwrap();
            pyzord_engines::Gdbm::open(other.as_ref()).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyzor-migrate"));
        command.args(["--delete", "--se", "gdbm", "--sd", from, "--de", "gdbm", "--dd", to]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("is in use by another process"), "{said}");
    }
}
