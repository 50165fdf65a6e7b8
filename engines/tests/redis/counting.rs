//! Reading and counting: the model, several servers at once, and what is no record.

use std::thread;

use proptest::prelude::*;
use pyzord_core::{MemoryStore, Record, StoreCall, StoreError, StoreOp, Tally};
use pyzord_testkit::RedisServer;

use crate::support::{LAYOUTS, NOW, at, call, dsn, engine, execute, execute_one, key, key_v0, patient};

fn batches() -> impl Strategy<Value = Vec<Vec<StoreCall>>> {
    let op = prop_oneof![Just(StoreOp::Read), Just(StoreOp::Report), Just(StoreOp::Whitelist)];
    let batch = proptest::collection::vec((op, 0_u64..12).prop_map(|(op, n)| call(op, n)), 0..64);
    proptest::collection::vec(batch, 0..12)
}

/// Answers to counts are left out: any record may stand there.
fn read(calls: &[StoreCall], answers: Vec<Result<Record, StoreError>>) -> Vec<Result<Record, StoreError>> {
    let answers = calls.iter().zip(answers);
    answers
        .map(
            |(call, answer)| {
                if call.op == StoreOp::Read { answer } else { answer.map(|_| Record::default()) }
            },
        )
        .collect()
}

#[test]
fn it_does_what_the_model_does() {
    let server = RedisServer::start();
    for layout in LAYOUTS {
        proptest!(ProptestConfig::with_cases(100), |(batches in batches())| {
            assert_eq!(server.ask(&["FLUSHALL"]), "+OK");
            let (mut store, mut model) = (layout(&dsn(&server), patient(0)), MemoryStore::new());
            for (second, calls) in (NOW..).zip(batches) {
                let expected = read(&calls, execute(&mut model, at(second), &calls));
                prop_assert_eq!(read(&calls, execute(&mut store, at(second), &calls)), expected);
            }
            let all: Vec<_> = (0..12).map(|n| call(StoreOp::Read, n)).collect();
            prop_assert_eq!(execute(&mut store, at(NOW), &all), execute(&mut model, at(NOW), &all));
            prop_assert_eq!(server.ask(&["DBSIZE"]), format!(":{}", model.records().count()));
        });
    }
}

#[test]
fn servers_on_one_database_lose_no_increment() {
    const SERVERS: u64 = 4;
    const BATCHES: u64 = 40;
    let server = RedisServer::start();
    for layout in LAYOUTS {
        thread::scope(|scope| {
            for _ in 0..SERVERS {
                scope.spawn(|| {
                    let mut store = layout(&dsn(&server), patient(9000));
                    let calls: Vec<_> = (0..64)
                        .map(|n| call(if n % 2 == 0 { StoreOp::Report } else { StoreOp::Whitelist }, n % 8))
                        .collect();
                    for _ in 0..BATCHES {
                        assert!(execute(&mut store, at(NOW), &calls).iter().all(Result::is_ok));
                    }
                });
            }
        });
        let mut store = layout(&dsn(&server), patient(0));
        for n in 0..8 {
            let record = execute_one(&mut store, at(NOW), StoreOp::Read, n).unwrap();
            assert_eq!(record.reports.count + record.whitelists.count, SERVERS * BATCHES * 8);
        }
    }
}

#[test]
fn counts_stop_at_the_largest_and_dates_go_on() {
    let server = RedisServer::start();
    let most = Tally::MAX.to_string();
    for n in 0..2 {
        let almost = (Tally::MAX - n).to_string();
        let _ = server.ask(&["HSET", &key(n), "r_count", &almost, "wl_count", &most]);
        let _ = server.ask(&["SET", &key_v0(n), &format!("{almost},,,{most},,")]);
    }
    for layout in LAYOUTS {
        let mut store = layout(&dsn(&server), patient(0));
        for n in 0..2 {
            let calls =
                [StoreOp::Report, StoreOp::Whitelist, StoreOp::Report, StoreOp::Read].map(|op| call(op, n));
            let record = execute(&mut store, at(NOW), &calls)[3].unwrap();
            let expected =
                Tally { count: Tally::MAX, entered: Some(at(NOW).wall), updated: Some(at(NOW).wall) };
            assert_eq!(record, Record { reports: expected, whitelists: expected });
        }
    }
}

/// Counts beyond 2^53, where the numbers of redis's scripts are not exact any more.
#[test]
fn large_counts_are_exact() {
    let server = RedisServer::start();
    for (n, count) in
        (0..).zip([9, 99, 199, 9_007_199_254_740_991, 9_007_199_254_740_993, 999_999_999_999_999_999])
    {
        let _ = server.ask(&["HSET", &key(n), "r_count", &count.to_string()]);
        let _ = server.ask(&["SET", &key_v0(n), &format!("{count},,,0,,")]);
        for layout in LAYOUTS {
            let mut store = layout(&dsn(&server), patient(0));
            let answers = execute(&mut store, at(NOW), &[call(StoreOp::Report, n), call(StoreOp::Read, n)]);
            assert_eq!(answers[1].unwrap().reports.count, count + 1);
        }
    }
}

/// A record that is no hash, or has a field nobody can read, answers for itself alone and is left as it is: its time to
/// live, too, which `EXPIRE` would set whatever the key holds.
#[test]
fn what_cannot_be_read_is_left_as_it_is() {
    let server = RedisServer::start();
    let mut store = engine_with_age(&server);
    let _ = server.ask(&["SET", &key(0), "a text"]);
    let _ = server.ask(&["RPUSH", &key(1), "a", "list"]);
    let fields = [
        ("r_count", "x"),
        ("r_count", "-1"),
        ("r_count", "007"),
        ("r_count", "9223372036854775808"),
        ("wl_count", "1.5"),
        ("r_entered", "None"),
        ("wl_updated", "9999999999999999"),
        ("r_updated", ""),
    ];
    for (n, (field, value)) in (2..).zip(fields) {
        let _ = server.ask(&["HSET", &key(n), field, value]);
    }
    for n in 0..10 {
        let before = fingerprint(&server, &key(n));
        let calls = [
            call(StoreOp::Report, n),
            call(StoreOp::Whitelist, n),
            call(StoreOp::Read, n),
            call(StoreOp::Report, 99),
        ];
        let answers = execute(&mut store, at(NOW), &calls);
        assert_eq!(answers[..3], [Err(StoreError::Unreadable); 3], "{n}");
        assert!(answers[3].is_ok());
        assert_eq!(fingerprint(&server, &key(n)), before, "{n}");
        assert_eq!(server.ask(&["TTL", &key(n)]), ":-1", "{n}");
    }
    assert_eq!(execute_one(&mut store, at(NOW), StoreOp::Read, 99).unwrap().reports.count, 10);
}

#[test]
fn texts_that_cannot_be_read_are_left_as_they_are() {
    let server = RedisServer::start();
    let mut store = LAYOUTS[1](&dsn(&server), patient(9000));
    let _ = server.ask(&["HSET", &key_v0(0), "r_count", "1"]);
    let values = [
        "",
        "x",
        "1,,,0,",
        "1,,,0,,,",
        "-1,,,0,,",
        "1,None,,0,,",
        "1,,,9223372036854775808,,",
        "1,1700000000,,0,,",
        "1,2023-11-14 22:13:20.5,,0,,",
        "1,2023-99-14 22:13:20,,0,,",
    ];
    for (n, value) in (1..).zip(values) {
        let _ = server.ask(&["SET", &key_v0(n), value]);
    }
    for n in 0..=values.len() as u64 {
        let before = fingerprint(&server, &key_v0(n));
        for op in [StoreOp::Report, StoreOp::Whitelist, StoreOp::Read] {
            assert_eq!(execute_one(&mut store, at(NOW), op, n), Err(StoreError::Unreadable), "{n}");
        }
        assert_eq!(fingerprint(&server, &key_v0(n)), before, "{n}");
        assert_eq!(server.ask(&["TTL", &key_v0(n)]), ":-1", "{n}");
    }
}

/// Python wrote the dates that a moved record does not have as 0, and could not tell them from dates any more.
#[test]
fn a_date_of_zero_is_set_by_the_first_count() {
    let server = RedisServer::start();
    let _ = server.ask(&["HSET", &key(1), "r_count", "0", "r_entered", "0", "r_updated", "0"]);
    let answers = execute(&mut engine(&server), at(NOW), &[call(StoreOp::Report, 1), call(StoreOp::Read, 1)]);
    assert_eq!(answers[1].unwrap().reports.entered, Some(at(NOW).wall));
}

#[test]
fn records_expire_only_when_an_age_is_set() {
    let server = RedisServer::start();
    for (layout, key) in LAYOUTS.into_iter().zip([key, key_v0]) {
        for (n, age, expected) in [(1, 0, ":-1"), (2, 5000, ":5000"), (3, u64::MAX, ":1125899906842624")] {
            let mut store = layout(&dsn(&server), patient(age));
            assert!(execute_one(&mut store, at(NOW), StoreOp::Report, n).is_ok());
            let left = server.ask(&["TTL", &key(n)]);
            let close: i64 = left[1..].parse::<i64>().unwrap() - expected[1..].parse::<i64>().unwrap();
            assert!((-60..=0).contains(&close), "{left} {expected}");
        }
    }
}

/// A server without memory to spare refuses what would need more, and goes on with what does not.
#[test]
fn refused_counts_are_unavailable_and_reads_go_on() {
    let server = RedisServer::start();
    for layout in LAYOUTS {
        let mut store = layout(&dsn(&server), patient(0));
        assert!(execute_one(&mut store, at(NOW), StoreOp::Report, 1).is_ok());
        assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "1"]), "+OK");
        let answers = execute(&mut store, at(NOW), &[call(StoreOp::Report, 1), call(StoreOp::Read, 1)]);
        assert_eq!(answers[0], Err(StoreError::Unavailable));
        assert_eq!(answers[1].map(|record| record.reports.count), Ok(1));
        assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "0"]), "+OK");
        assert!(execute_one(&mut store, at(NOW), StoreOp::Report, 1).is_ok());
    }
}

/// Scripts may be thrown away at any moment; the next batch brings its own.
#[test]
fn a_server_that_forgot_the_scripts_learns_them_again() {
    let server = RedisServer::start();
    let mut store = engine(&server);
    for count in 1..4 {
        assert!(execute_one(&mut store, at(NOW), StoreOp::Report, 1).is_ok());
        assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "+OK");
        assert_eq!(execute_one(&mut store, at(NOW), StoreOp::Read, 1).unwrap().reports.count, count);
    }
}

fn engine_with_age(server: &RedisServer) -> pyzord_engines::redis::Redis {
    LAYOUTS[0](&dsn(server), patient(9000))
}

/// Tells whether the value of a key has changed.
fn fingerprint(server: &RedisServer, key: &str) -> String {
    let reply = server.ask(&["EVAL", "return {ok = redis.sha1hex(redis.call('DUMP', KEYS[1]))}", "1", key]);
    assert!(reply.len() == 41 && reply.starts_with('+'), "{reply}");
    reply
}
