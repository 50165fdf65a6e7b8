//! A service of a master, replicas and sentinels; and sentinels that lie, hang or lag.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_core::{Mark, StoreCall, StoreOp};
use pyzord_engines::RecordStore;
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::{RedisSentinels, RedisServer, free_port, wait_for};

use crate::common::digest;
use crate::support::{NOW, at, call, execute, execute_one, patient, tick, timed};

/// The bound for one dial that must not use up its deadline of ten seconds.
const BOUNDED: Duration = Duration::from_secs(8);

fn serving(dsn: &str) -> Redis {
    Redis::new(&Dsn::parse(dsn).unwrap(), Options::serving(None))
}

/// Returns why nothing can be read.
fn failure(dsn: &str) -> String {
    let mut results = Vec::new();
    Redis::new(&Dsn::parse(dsn).unwrap(), patient(0)).fetch(&[digest(1)], &mut results);
    results.remove(0).unwrap_err().to_string()
}

fn count(store: &mut Redis, n: u64) -> u64 {
    let mut results = Vec::new();
    store.fetch(&[digest(n)], &mut results);
    results.remove(0).unwrap().reports.count
}

/// A peer that answers PING, and every other command with the same bytes.
struct Liar {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Liar {
    /// Without an answer it accepts connections, and hangs.
    fn saying(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ended = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&ended);
        thread::spawn(move || {
            for peer in listener.incoming() {
                if of_thread.load(Ordering::Relaxed) {
                    return;
                }
                let (mut peer, answer) = (peer.unwrap(), answer.clone());
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(read @ 1..) = peer.read(&mut buffer) {
                        let asked = String::from_utf8_lossy(&buffer[..read]).into_owned();
                        let Some(answer) = &answer else { continue };
                        let bytes: &[u8] = if asked.contains("PING") { b"+PONG\r\n" } else { answer };
                        if peer.write_all(bytes).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, ended }
    }

    fn naming(host: &str, port: &str) -> Self {
        let answer = format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len());
        Self::saying(Some(answer.into_bytes()))
    }

    fn naming_server(server: &RedisServer) -> Self {
        Self::naming("127.0.0.1", &server.port().to_string())
    }

    fn dsn(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/pz/0", self.port)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

#[test]
fn a_failover_is_followed_and_a_demoted_master_is_left() {
    let mut service = RedisSentinels::start();
    let dsn = service.dsn();
    let (mut counting, mut reading) = (serving(&dsn), serving(&dsn));
    let mut now = 0;
    let mut until_back = |store: &mut Redis, op| {
        wait_for("the master", || {
            now += 100;
            execute_one(store, tick(now), op, 1).ok()
        });
        now
    };
    for _ in 0..2 {
        until_back(&mut counting, StoreOp::Report);
        until_back(&mut reading, StoreOp::Read);
        let old = service.fail_over();
        until_back(&mut counting, StoreOp::Report);
        until_back(&mut reading, StoreOp::Read);
        service.bring_back(old);
        // Returned as a replica, it has what the new master has counted.
        assert_eq!(count(&mut reading, 1), count(&mut counting, 1));
    }
    // On request, both stay alive: the old one is a replica that answers reads.
    let old = service.master();
    let before = count(&mut reading, 1);
    let fail_over = ["SENTINEL", "FAILOVER", service.service()];
    // A replica that returned a moment ago is none to promote yet.
    wait_for("a failover on request", || (service.ask_sentinel(0, &fail_over) == "+OK").then_some(()));
    service.wait_for_promotion(old);
    until_back(&mut counting, StoreOp::Report);
    let expected = count(&mut counting, 1);
    assert!(expected > before);
    let now = until_back(&mut reading, StoreOp::Read);
    let read = execute_one(&mut reading, tick(now), StoreOp::Read, 1).unwrap();
    assert_eq!(read.reports.count, expected);
}

/// Sentinels close the clients' connections of a master that they demote; an operator, or a network that is cut for a
/// while, does not. A check does not show that a server is a replica.
#[test]
fn a_replica_is_left_before_it_answers_checks_with_old_counts() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let (to_old, to_new) = (Liar::naming_server(&old), Liar::naming_server(&new));
    let mut store =
        serving(&format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/pz", to_old.port, to_new.port));
    wait_for("the master", || execute_one(&mut store, tick(0), StoreOp::Report, 1).ok());
    for _ in 0..2 {
        assert!(execute_one(&mut serving(&to_new.dsn()), tick(0), StoreOp::Report, 1).is_ok());
    }
    assert_eq!(old.ask(&["REPLICAOF", "127.0.0.1", "1"]), "+OK");
    let counts =
        [1000, 6000].map(|now| execute_one(&mut store, tick(now), StoreOp::Read, 1).unwrap().reports.count);
    assert_eq!(counts, [1, 2]);
}

/// A count that a replica refuses was not executed: it is made by the master in the same batch.
#[test]
fn a_count_that_a_replica_refuses_is_made_by_the_master() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let (to_old, to_new) = (Liar::naming_server(&old), Liar::naming_server(&new));
    let dsn = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/pz", to_old.port, to_new.port);
    let mut store = serving(&dsn);
    wait_for("the master", || execute_one(&mut store, tick(0), StoreOp::Report, 1).ok());
    assert_eq!(old.ask(&["DBSIZE"]), ":1");
    assert_eq!(old.ask(&["REPLICAOF", "127.0.0.1", "1"]), "+OK");
    let marked =
        StoreCall { mark: Some(Mark { signature: digest(9), place: 0 }), ..call(StoreOp::Report, 3) };
    let answers =
        execute(&mut store, tick(1000), &[call(StoreOp::Report, 2), marked, call(StoreOp::Read, 2)]);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(new.ask(&["DBSIZE"]), ":3", "two records and a mark");
}

/// A master that most sentinels have replaced takes writes while it is cut off from them. They are lost.
#[test]
fn a_master_that_most_sentinels_replaced_is_left_though_it_serves() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let sentinels = [&old, &new, &new].map(Liar::naming_server);
    let ports: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    let mut store = serving(&format!("redis+sentinel://{}/pz", ports.join(",")));
    let mut now = 0;
    wait_for("a count at the new master", || {
        now += 10;
        let _ = execute_one(&mut store, tick(now), StoreOp::Report, 1);
        (new.ask(&["DBSIZE"]) == ":1").then_some(())
    });
    let left = old.ask(&["HGET", &crate::support::key(1), "r_count"]);
    for _ in 0..20 {
        now += 10;
        assert!(execute_one(&mut store, tick(now), StoreOp::Report, 1).is_ok());
    }
    assert_eq!(old.ask(&["HGET", &crate::support::key(1), "r_count"]), left);
}

#[test]
fn sentinels_that_lie_or_hang_cost_a_bounded_time() {
    let server = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &server.port().to_string()]);
    let honest = Liar::naming_server(&server);
    let text = |text: &str| Liar::saying(Some(text.as_bytes().to_vec()));
    let mut flood = b"*2\r\n$1000000\r\n".to_vec();
    flood.resize(300_000, b'x');
    let no_redis = text("HTTP/1.1 400 Bad Request\r\n\r\n");
    let hanging = Liar::saying(None);
    let itself = free_port();
    let itself = Liar::naming("127.0.0.1", &itself.to_string());
    let liars = [
        (text("*2\r\n$1\r\nx\r\n"), "does not answer in time"),
        (text("junk\r\n"), "does not speak redis's protocol"),
        (text("+OK\r\n"), "answers with something that is no address"),
        (text("*2\r\n$3\r\na b\r\n$1\r\n1\r\n"), "is no address"),
        (text("*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n"), "is no address"),
        (text("*1\r\n$9\r\n127.0.0.1\r\n"), "is no address"),
        (text("*-1\r\n"), "does not know this service"),
        (
            text("-NOAUTH Authentication required.\r\n"),
            "says: NOAUTH Authentication required. (sentinel-user",
        ),
        (text("-NOPERM no permissions\r\n"), "says: NOPERM no permissions (the user needs"),
        (text("-ERR unknown command 'SENTINEL'\r\n"), "is no sentinel"),
        (Liar::saying(Some(flood)), "too large"),
        (Liar::naming("127.0.0.1", &replica.port().to_string()), "which is a replica of 127.0.0.1:"),
        (Liar::naming("127.0.0.1", &no_redis.port.to_string()), "does not speak redis's protocol"),
        (Liar::naming("127.0.0.1", &hanging.port.to_string()), "no answer in time"),
        (Liar::naming("127.0.0.1", &itself.port.to_string()), "does not say whether it is a master"),
        (Liar::saying(None), "does not answer in time"),
    ];
    wait_for("the replica", || replica.ask_all(&["ROLE"])?.contains("connected").then_some(()));
    let try_one = |liar: &Liar, expected: &str| {
        let (said, took) = timed(|| failure(&liar.dsn()));
        let named = format!("no sentinel leads to the master of pz: 127.0.0.1:{} ", liar.port);
        assert!(said.contains(&named) && said.contains(expected), "{said}, not {expected}");
        assert!(took < BOUNDED, "{took:?}: {said}");
        let dsn = format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/pz", liar.port, honest.port);
        let mut store = Redis::new(&Dsn::parse(&dsn).unwrap(), patient(0));
        let (read, took) = timed(|| count(&mut store, 1));
        assert!(read == 0 && took < BOUNDED, "{took:?}");
    };
    thread::scope(|scope| {
        for (liar, expected) in &liars {
            scope.spawn(|| try_one(liar, expected));
        }
    });
    // All of them before an honest one.
    let all = liars.iter().map(|(liar, _)| liar).chain([&honest]);
    let hosts: Vec<_> = all.map(|liar| format!("127.0.0.1:{}", liar.port)).collect();
    let dsn = format!("redis+sentinel://{}/pz", hosts.join(","));
    let mut store = Redis::new(&Dsn::parse(&dsn).unwrap(), patient(0));
    assert_eq!(count(&mut store, 1), 0);
}

#[test]
fn what_sentinels_and_servers_refuse_is_told_with_the_sentinel() {
    let server = RedisServer::with_password("hunter2");
    let honest = Liar::naming_server(&server);
    let with = |account: &str| format!("redis+sentinel://{account}127.0.0.1:{}/pz", honest.port);
    let (none, wrong) = (failure(&with("")), failure(&with(":wrong@")));
    assert!(none.contains(&format!("names 127.0.0.1:{}: NOAUTH", server.port())), "{none}");
    assert!(wrong.contains("WRONGPASS") && !wrong.contains("wrong@"), "{wrong}");
    assert_eq!(count(&mut serving(&with(":hunter2@")), 1), 0);
    assert_eq!(server.ask(&["AUTH", "hunter2"]), "+OK");
    let gone = free_port();
    let gone = failure(&format!("redis+sentinel://127.0.0.1:{gone}/pz"));
    assert!(gone.contains("cannot be asked: Connection refused"), "{gone}");
}

#[test]
fn changes_and_scans_go_to_the_master() {
    let mut service = RedisSentinels::start();
    let mut store = Redis::new(&Dsn::parse(&service.dsn()).unwrap(), patient(0));
    for n in 0..10 {
        assert!(execute_one(&mut store, at(NOW), StoreOp::Report, n).is_ok());
    }
    service.fail_over();
    let mut found = Vec::new();
    wait_for("a scan of the new master", || {
        found.clear();
        store.scan(&mut found).ok()
    });
    assert_eq!(found.len(), 10);
}

/// `--check-config` said that such a server does not know HMGET.
#[test]
fn a_sentinel_that_a_dsn_names_as_a_database_is_told_as_such() {
    let service = RedisSentinels::start();
    let port = service.sentinel_ports()[0];
    for dsn in [format!("127.0.0.1,{port},,0"), format!("redis://127.0.0.1:{port}/2")] {
        let refused = Redis::new(&Dsn::parse(&dsn).unwrap(), patient(0)).refusals();
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("is a sentinel") && said.contains("/pyzor/0"), "{said}");
    }
    assert!(Redis::new(&Dsn::parse(&service.dsn()).unwrap(), patient(0)).refusals().unwrap().is_empty());
}
