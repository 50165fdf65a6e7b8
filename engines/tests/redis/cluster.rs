//! A Redis Cluster whose slots move and whose masters fail, and servers that only seem to be one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use pyzord_core::{Digest, Mark, Progress, Record, Store, StoreCall, StoreError, StoreOp, Tally};
use pyzord_engines::RecordStore;
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::{RedisCluster, RedisServer, wait_for};

use crate::support::{LAYOUTS, NOW, at, call, digest, execute, execute_one, patient, tick, timed};

/// The bound for one call. `execute` promises half a second; a slow machine may take longer.
const SOON: Duration = Duration::from_secs(3);

/// Nodes fail alone: the slots of the others are served.
const PARTLY: [&str; 2] = ["--cluster-require-full-coverage", "no"];

fn dsn(text: &str) -> Dsn {
    Dsn::parse(text).unwrap()
}

fn serving(text: &str) -> Redis {
    Redis::new(&dsn(text), Options { connect: Duration::from_secs(5), ..Options::serving(None) })
}

fn marked(n: u64, place: u8) -> StoreCall {
    let mark = Mark { signature: digest(1_000_000 + n), place };
    StoreCall { mark: Some(mark), ..call(StoreOp::Report, n) }
}

fn slot(cluster: &RedisCluster, key: &str) -> u32 {
    cluster.nodes()[0].ask(&["CLUSTER", "KEYSLOT", key]).trim_start_matches(':').parse().unwrap()
}

/// Returns the number of another master than that of a slot.
fn another(cluster: &RedisCluster, slot: u32) -> usize {
    let owner = cluster.owner(slot);
    cluster.masters().into_iter().find(|master| *master != owner).unwrap()
}

/// Returns the digests of all records, each as often as a scan finds it.
fn scanned(store: &mut Redis) -> Vec<Digest> {
    let mut found = Vec::new();
    while store.scan(&mut found).unwrap() == Progress::More {}
    found.into_iter().map(|entry| entry.record.unwrap().0).collect()
}

fn put(store: &mut Redis, numbers: impl Iterator<Item = u64>) -> BTreeSet<Digest> {
    let reports = Tally { count: 7, ..Tally::default() };
    let records: Vec<_> = numbers.map(|n| (digest(n), Record { reports, ..Record::default() })).collect();
    let mut results = Vec::new();
    store.put(&records, &mut results);
    results.into_iter().for_each(|result| result.unwrap());
    records.into_iter().map(|(digest, _)| digest).collect()
}

/// Checks that a scan finds each digest, and each once.
fn assert_each_once(found: &[Digest], expected: &BTreeSet<Digest>) {
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), *expected);
}

/// A count with a mark has two keys, which are on two nodes while their slot moves.
#[test]
fn a_slot_that_moves_is_served_and_each_count_counts_once() {
    let cluster = RedisCluster::with(3, 0, &[]);
    for (layout, prefix) in LAYOUTS.into_iter().zip(["pyzord.digest_v1.", "pyzord.digest."]) {
        let mut store = layout(&dsn(&cluster.dsn()), Options::serving(None));
        let mut first = layout(&dsn(&cluster.dsn()), Options::serving(None));
        let slot = slot(&cluster, &format!("{prefix}{}", digest(1)));
        let (mut count, mut place) = (0, 0);
        let mut report = |store: &mut Redis| {
            (count, place) = (count + 2, place + 1);
            let calls = [marked(1, place), call(StoreOp::Report, 1), call(StoreOp::Read, 1)];
            let answers = execute(store, at(NOW), &calls);
            assert!(answers[0].is_ok() && answers[1].is_ok(), "{answers:?}");
            assert_eq!(answers[2].map(|record| record.reports.count), Ok(count));
            assert_eq!(execute(store, at(NOW), &calls[..1]), [Err(StoreError::AlreadyCounted)]);
        };
        (0..3).for_each(|_| report(&mut store));
        for _ in 0..2 {
            cluster.move_slot(slot, another(&cluster, slot), || {
                report(&mut store);
                // One that has not met the cluster yet.
                report(&mut layout(&dsn(&cluster.dsn()), Options::serving(None)));
            });
            report(&mut first);
        }
        report(&mut store);
    }
}

/// `SCAN` on one master after another misses a slot that moves to one that was scanned.
#[test]
fn a_scan_finds_each_record_once_although_slots_move() {
    let cluster = RedisCluster::with(3, 0, &[]);
    let new = || Redis::new(&dsn(&cluster.dsn()), patient(0));
    let mut store = new();
    let all = put(&mut store, 0..1500);
    assert_each_once(&scanned(&mut store), &all);
    let slot = slot(&cluster, &format!("pyzord.digest_v1.{}", digest(1)));
    cluster.move_slot(slot, another(&cluster, slot), || assert_each_once(&scanned(&mut new()), &all));
    // Between the steps of a scan, slots of its beginning and of its end move.
    let mut found = Vec::new();
    let mut moved = [0, 16_383, 1, 16_382].into_iter().cycle();
    let mut steps = 0;
    while store.scan(&mut found).unwrap() == Progress::More {
        steps += 1;
        if steps % 16 == 0 {
            let slot = moved.next().unwrap();
            cluster.move_slot(slot, another(&cluster, slot), || ());
        }
    }
    let found: Vec<_> = found.into_iter().map(|entry| entry.record.unwrap().0).collect();
    assert_each_once(&found, &all);
}

/// Returns a digest of each master, by their numbers.
fn digest_of_each(cluster: &RedisCluster) -> Vec<(usize, u64)> {
    let owner = |n: u64| cluster.owner(slot(cluster, &format!("pyzord.digest_v1.{}", digest(n))));
    let of = |master: usize| (0..).find(|n| owner(*n) == master).unwrap();
    cluster.masters().into_iter().map(|master| (master, of(master))).collect()
}

#[test]
fn a_master_that_hangs_holds_up_no_other_and_is_back_when_it_goes_on() {
    let cluster = RedisCluster::with(3, 0, &PARTLY);
    let numbers = digest_of_each(&cluster);
    let calls: Vec<_> = numbers.iter().map(|(_, n)| call(StoreOp::Report, *n)).collect();
    let reads: Vec<_> = numbers.iter().map(|(_, n)| call(StoreOp::Read, *n)).collect();
    let mut store = serving(&cluster.dsn());
    assert!(execute(&mut store, tick(0), &calls).iter().all(Result::is_ok));
    let hung = &cluster.nodes()[numbers[1].0];
    hung.hang();
    let (answers, took) = timed(|| execute(&mut store, tick(1000), &calls));
    assert!(took < SOON, "{took:?}");
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(answers[1], Err(StoreError::Unknown), "it may still count");
    // It is known to hang: nothing waits for it any more.
    let (_, took) = timed(|| {
        for now in 0..50 {
            let answers = execute(&mut store, tick(1200 + 100 * now), &calls);
            assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
            assert_eq!(answers[1], Err(StoreError::Unavailable));
        }
    });
    assert!(took < SOON, "{took:?} for 50 batches");
    hung.go_on();
    let mut now = 10_000;
    let record = wait_for("the master to be back", || {
        now += 50;
        execute(&mut store, tick(now), &reads)[1].ok()
    });
    assert!((1..=2).contains(&record.reports.count), "{record:?}");
}

#[test]
fn a_master_that_ends_fails_its_slots_alone_and_is_used_when_it_is_back() {
    let mut cluster = RedisCluster::with(3, 0, &PARTLY);
    let numbers = digest_of_each(&cluster);
    let calls: Vec<_> = numbers.iter().map(|(_, n)| call(StoreOp::Report, *n)).collect();
    let mut store = serving(&cluster.dsn());
    assert!(execute(&mut store, tick(0), &calls).iter().all(Result::is_ok));
    cluster.kill(numbers[2].0);
    for now in (1000..3000).step_by(50) {
        let answers = execute(&mut store, tick(now), &calls);
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(answers[2], Err(StoreError::Unavailable), "nothing was sent");
    }
    assert!(store.probe(tick(3000)).unwrap_err().to_string().contains("node 127.0.0.1"));
    cluster.restart(numbers[2].0);
    let mut now = 4000;
    wait_for("the master to be back", || {
        now += 50;
        execute(&mut store, tick(now), &calls)[2].ok()
    });
    assert!(store.probe(tick(now + 50)).is_ok());
}

/// Two thirds of all requests failed, and `--check-config` said that the database answers.
#[test]
fn a_server_of_a_cluster_is_served_as_the_cluster() {
    let cluster = RedisCluster::with(3, 0, &[]);
    let plain = format!("127.0.0.1,{}", cluster.nodes()[1].port());
    let mut store = Redis::new(&dsn(&plain), Options::serving(None));
    let calls: Vec<_> = (0..60).map(|n| call(StoreOp::Report, n)).collect();
    assert!(execute(&mut store, at(NOW), &calls).iter().all(Result::is_ok));
    let mut tool = Redis::new(&dsn(&plain), patient(0));
    assert_eq!(scanned(&mut tool).len(), 60);
    let (state, refused) = Redis::new(&dsn(&plain), patient(0)).check().unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    let port = cluster.nodes()[1].port();
    let expected = format!("a cluster of 3 masters; its DSN is redis+cluster://127.0.0.1:{port}/");
    assert!(state.ends_with(&expected), "{state}");
    // Another database does not exist.
    let error = Redis::new(&dsn(&format!("{plain},,3")), Options::serving(None)).refusals().unwrap_err();
    assert!(error.to_string().contains("cluster"), "{error}");
}

#[test]
fn without_the_right_to_ask_for_the_slots_redirections_tell() {
    let cluster = RedisCluster::with(3, 0, &[]);
    let rights = ["~pyzord.digest*", "+ping", "+hmget", "+hset", "+expire", "+eval", "+evalsha", "+dbsize"];
    cluster.tell_masters(&[&["ACL", "SETUSER", "u", "on", ">secret"], &rights[..]].concat());
    let url = cluster.dsn().replace("//", "//u:secret@");
    let mut store = serving(&url);
    let calls: Vec<_> = (0..60).map(|n| marked(n, 1)).collect();
    assert!(execute(&mut store, tick(0), &calls).iter().all(Result::is_ok));
    let error = serving(&url).refusals().unwrap_err().to_string();
    assert!(error.contains("CLUSTER SLOTS: NOPERM") && !error.contains("secret"), "{error}");
}

/// Reads a command, and returns its name; `None` after the last one.
fn command_name(requests: &mut impl BufRead) -> Option<String> {
    let number = |requests: &mut dyn BufRead| -> Option<usize> {
        let mut line = String::new();
        requests.read_line(&mut line).ok()?;
        line.get(1..)?.trim_end().parse().ok()
    };
    let mut words = Vec::new();
    for _ in 0..number(requests)? {
        let mut word = vec![0; number(requests)? + 2];
        requests.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word).trim_end().to_owned());
    }
    words.into_iter().next()
}

/// A server that sends every client elsewhere, to itself in the end, and describes a cluster of one slot.
fn liar() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut requests = BufReader::new(stream.try_clone().unwrap());
                while let Some(name) = command_name(&mut requests) {
                    let reply = match name.as_str() {
                        "PING" => "+PONG\r\n".to_owned(),
                        "CLUSTER" => {
                            format!("*1\r\n*3\r\n:0\r\n:0\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
                        }
                        _ => format!("-MOVED 5 127.0.0.1:{port}\r\n"),
                    };
                    if stream.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn redirections_without_end_end_with_the_time_of_the_call() {
    for url in ["redis+cluster", "redis"].map(|scheme| format!("{scheme}://127.0.0.1:{}/", liar())) {
        let mut store = serving(&url);
        let calls = [call(StoreOp::Report, 1), marked(1, 1), call(StoreOp::Read, 1)];
        let (answers, took) = timed(|| execute(&mut store, tick(0), &calls));
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert!(took < SOON, "{took:?}");
    }
}

/// Checks what a count is worth that is not on a replica in time.
fn without_its_replica(url: &str, replica: &RedisServer) {
    let mut store = serving(url);
    let n = 1;
    wait_for("a replica that confirms", || {
        let answers = execute(&mut store, at(NOW), &[call(StoreOp::Report, 2), marked(2, 1)]);
        (answers[0].is_ok() && answers[1] != Err(StoreError::Unsettled)).then_some(())
    });
    replica.hang();
    let calls = [call(StoreOp::Report, n), marked(n, 1)];
    let (answers, took) = timed(|| execute(&mut store, at(NOW), &calls));
    assert_eq!(answers, [Err(StoreError::Unknown), Err(StoreError::Unsettled)]);
    assert!(took < SOON, "{took:?}");
    assert_eq!(execute_one(&mut store, at(NOW), StoreOp::Read, n).unwrap().reports.count, 2);
    let mut results = Vec::new();
    let options = Options { exchange: Duration::from_millis(400), ..patient(0) };
    Redis::new(&dsn(url), options).put(&[(digest(n), Record::default())], &mut results);
    let error = results.pop().unwrap().unwrap_err().to_string();
    assert!(error.contains("0 of 1 replicas"), "{error}");
    replica.go_on();
    let repeated = wait_for("a replica that confirms", || {
        Some(execute(&mut store, at(NOW), &calls[1..])[0])
            .filter(|answer| *answer != Err(StoreError::Unsettled))
    });
    assert_eq!(repeated, Err(StoreError::AlreadyCounted), "a repeat with the mark counts once");
}

#[test]
fn a_count_that_is_on_too_few_replicas_is_not_acknowledged() {
    let master = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    without_its_replica(&format!("redis://127.0.0.1:{}/?wait-replicas=1", master.port()), &replica);
}

#[test]
fn a_cluster_waits_for_its_replicas() {
    let cluster = RedisCluster::with(3, 1, &[]);
    let slot = slot(&cluster, &format!("pyzord.digest_v1.{}", digest(1)));
    let replica = cluster.replica_of(cluster.owner(slot));
    without_its_replica(&(cluster.dsn() + "?wait-replicas=1"), &cluster.nodes()[replica]);
}
