//! Servers that refuse, go away, hang and come back.

use std::time::Duration;

use pyzord_core::{Mark, Progress, Store, StoreCall, StoreError, StoreOp, Task, UnixTime};
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::{RedisServer, free_port, wait_for};

use crate::common::digest;
use crate::support::{NOW, at, call, dsn, engine, execute, execute_one, key_v0, patient, tick, timed};

/// The bound for one call. `execute` promises half a second; a slow machine may take longer.
const SOON: Duration = Duration::from_secs(2);

fn serving(server: &RedisServer) -> Redis {
    Redis::new(&dsn(server), Options::serving(None))
}

/// Calls with ever later ticks until the database answers, and returns the tick at which it did.
fn until_back(store: &mut Redis, from: u64) -> u64 {
    let mut now = from;
    wait_for("the database to be back", || {
        now += 50;
        execute_one(store, tick(now), StoreOp::Read, 1).is_ok().then_some(now)
    })
}

#[test]
fn a_killed_server_is_unavailable_and_used_again_within_a_second_of_its_return() {
    let mut server = RedisServer::durable();
    let mut store = serving(&server);
    until_back(&mut store, 0);
    assert!(execute_one(&mut store, tick(5000), StoreOp::Report, 1).is_ok());
    server.kill();
    // The pauses grow while the server is away, and must not delay its return by more than the longest.
    for now in (6000..20_000).step_by(100) {
        let answers = execute(&mut store, tick(now), &[call(StoreOp::Report, 1), call(StoreOp::Read, 1)]);
        // The connection is known to be closed before anything is sent.
        assert_eq!(answers, [Err(StoreError::Unavailable); 2]);
    }
    server.restart();
    let record = execute_one(&mut store, tick(21_000), StoreOp::Read, 1).unwrap();
    assert_eq!(record.reports.count, 1);
}

#[test]
fn a_hanging_server_is_unavailable_soon_and_then_at_once() {
    let server = RedisServer::start();
    let mut store = serving(&server);
    until_back(&mut store, 0);
    server.hang();
    let mark = Some(Mark { signature: digest(9), place: 0 });
    let marked = StoreCall { mark, ..call(StoreOp::Report, 1) };
    let calls = [call(StoreOp::Report, 1), marked, call(StoreOp::Read, 1)];
    let (answers, took) = timed(|| execute(&mut store, tick(1000), &calls));
    // redis may still count; a repeat with the mark does not count again.
    let expected = [StoreError::Unknown, StoreError::Unsettled, StoreError::Unavailable];
    assert_eq!(answers, expected.map(Err));
    assert!(took < SOON, "{took:?}");
    // Connecting again fails in time, too, although a hanging server accepts connections.
    let (answers, took) = timed(|| execute(&mut store, tick(1100), &[call(StoreOp::Read, 1)]));
    assert_eq!(answers, [Err(StoreError::Unavailable)]);
    assert!(took < SOON, "{took:?}");
    let (_, took) = timed(|| {
        for _ in 0..1000 {
            assert_eq!(execute_one(&mut store, tick(1150), StoreOp::Read, 1), Err(StoreError::Unavailable));
        }
    });
    assert!(took < SOON, "{took:?}");
    server.go_on();
    until_back(&mut store, 20_000);
}

/// A reply that comes too late must not become the answer to a later call.
#[test]
fn late_replies_are_never_matched_to_later_calls() {
    let server = RedisServer::start();
    let mut store = serving(&server);
    let mut now = until_back(&mut store, 0);
    let mut patient = engine(&server);
    for n in 0..4 {
        for _ in 0..=n {
            assert!(execute_one(&mut patient, at(NOW), StoreOp::Report, n).is_ok());
        }
    }
    for n in 0..4 {
        server.hang();
        now += 5000;
        assert_eq!(execute_one(&mut store, tick(now), StoreOp::Read, n), Err(StoreError::Unavailable));
        server.go_on();
        now = until_back(&mut store, now);
        let other = (n + 1) % 4;
        assert_eq!(
            execute_one(&mut store, tick(now), StoreOp::Read, other).unwrap().reports.count,
            other + 1
        );
    }
}

#[test]
fn an_engine_can_be_made_before_its_server() {
    let port = free_port();
    let dsn = Dsn::parse(&format!("127.0.0.1,{port}")).unwrap();
    let mut store = Redis::new(&dsn, Options::serving(None));
    assert_eq!(execute_one(&mut store, tick(0), StoreOp::Read, 1), Err(StoreError::Unavailable));
    for task in [Task::Sync, Task::Expire(UnixTime::from_seconds(NOW))] {
        assert_eq!(store.upkeep(tick(1), task).unwrap(), Progress::Done);
    }
}

#[test]
fn passwords_sockets_and_database_numbers_are_used() {
    let server = RedisServer::with_password("se,cret");
    let (port, socket) = (server.port(), server.unix_socket());
    let socket = socket.display();
    let table = [
        (format!("redis://:se%2Ccret@127.0.0.1:{port}/0"), Some(1)),
        (format!("redis://:se%2Ccret@127.0.0.1:{port}/3"), Some(1)),
        (format!("redis+unix://{socket}?db=3&pass=se%2Ccret"), Some(2)),
        (format!("unix://{socket}?pass=se%2Ccret"), Some(2)),
        (format!("redis://:wrong@127.0.0.1:{port}/0"), None),
        (format!("127.0.0.1,{port},wrong,0"), None),
        (format!("127.0.0.1,{port},,"), None),
        (format!("{socket},,,"), None),
        (format!("redis://:se%2Ccret@127.0.0.1:{port}/99"), None),
    ];
    for (dsn, expected) in table {
        let mut store = Redis::new(&Dsn::parse(&dsn).unwrap(), patient(0));
        let answers = execute(&mut store, at(NOW), &[call(StoreOp::Report, 1), call(StoreOp::Read, 1)]);
        let count = answers[1].ok().map(|record| record.reports.count);
        assert_eq!(count, expected, "{dsn}");
    }
}

#[test]
fn the_fields_of_a_dsn_are_used() {
    let server = RedisServer::with_password("secret");
    for dsn in [
        format!("127.0.0.1,{},secret,2", server.port()),
        format!("{},6379,secret,2", server.unix_socket().display()),
    ] {
        let mut store = Redis::new(&Dsn::parse(&dsn).unwrap(), patient(0));
        assert!(execute_one(&mut store, at(NOW), StoreOp::Report, 1).is_ok(), "{dsn}");
    }
    let mut store =
        Redis::new(&Dsn::parse(&format!("127.0.0.1,{},secret,2", server.port())).unwrap(), patient(0));
    assert_eq!(execute_one(&mut store, at(NOW), StoreOp::Read, 1).unwrap().reports.count, 2);
}

/// A master that became a replica refuses writes; its address may lead to the new master. Meanwhile it reads.
#[test]
fn a_replica_keeps_its_checks_until_the_address_leads_elsewhere() {
    let server = RedisServer::start();
    let mut store = serving(&server);
    let now = until_back(&mut store, 0);
    assert!(execute_one(&mut store, tick(now), StoreOp::Report, 2).is_ok());
    assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", "1"]), "+OK");
    for millis in [5000, 5001, 5002] {
        let calls = [call(StoreOp::Read, 2), call(StoreOp::Report, 1), call(StoreOp::Read, 3)];
        let answers = execute(&mut store, tick(now + millis), &calls);
        assert_eq!(answers[0].map(|record| record.reports.count), Ok(1));
        assert_eq!(answers[1], Err(StoreError::Unavailable));
        assert_eq!(answers[2].map(|record| record.reports.count), Ok(0));
    }
    assert_eq!(server.ask(&["REPLICAOF", "NO", "ONE"]), "+OK");
    assert!(execute_one(&mut store, tick(now + 60_000), StoreOp::Report, 1).is_ok());
    // Nor does a connection stay that only reads.
    assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", "1"]), "+OK");
    let connections = || server.ask_all(&["INFO", "stats"]).unwrap();
    let made = |info: &str| {
        info.lines().find_map(|line| line.strip_prefix("total_connections_received:")?.parse::<u64>().ok())
    };
    let before = made(&connections());
    for millis in (70_000..80_000).step_by(500) {
        assert!(execute_one(&mut store, tick(now + millis), StoreOp::Read, 2).is_ok());
    }
    // The second connection of these is the one of the question.
    assert!(made(&connections()) > before.map(|before| before + 1), "it is made again");
}

#[test]
fn a_server_that_is_busy_is_unavailable_and_recovers() {
    let server = RedisServer::with(&["--appendonly", "no", "--lua-time-limit", "1"]);
    let mut store = serving(&server);
    let now = until_back(&mut store, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| server.ask(&["EVAL", "while true do end", "0"]));
        wait_for("a busy server", || server.ask(&["PING"]).starts_with("-BUSY").then_some(()));
        let answers = execute(&mut store, tick(now + 5000), &[call(StoreOp::Read, 1); 3]);
        assert_eq!(answers, [Err(StoreError::Unavailable); 3]);
        assert_eq!(server.ask(&["SCRIPT", "KILL"]), "+OK");
    });
    until_back(&mut store, now + 10_000);
}

#[test]
fn the_search_for_old_records_ends() {
    let server = RedisServer::start();
    let expire = Task::Expire(UnixTime::from_seconds(NOW));
    let calls: Vec<_> = (0..7000).map(|n| call(StoreOp::Report, n)).collect();
    assert!(execute(&mut engine(&server), at(NOW), &calls).iter().all(Result::is_ok));
    for (old, task) in [(false, expire), (true, expire), (false, Task::Sync), (true, Task::Sync)] {
        let _ =
            if old { server.ask(&["SET", &key_v0(1), "1,,,0,,"]) } else { server.ask(&["DEL", &key_v0(1)]) };
        let mut store = engine(&server);
        let mut slices = 1;
        while store.upkeep(at(NOW), task).unwrap() == Progress::More {
            slices += 1;
        }
        let expected = if task == Task::Sync {
            1..=1
        } else if old {
            1..=4
        } else {
            4..=4
        };
        assert!(expected.contains(&slices), "{slices}");
        let scans = server.ask(&["EVAL", SCANS, "0"]);
        assert_eq!(store.upkeep(at(NOW), task).unwrap(), Progress::Done);
        assert_eq!(server.ask(&["EVAL", SCANS, "0"]), scans, "there is no second search");
    }
}

/// A script that returns how many times the server was asked to scan.
const SCANS: &str =
    "return {ok = string.match(redis.call('INFO', 'commandstats'), 'cmdstat_scan:calls=(%d+)') or '0'}";
