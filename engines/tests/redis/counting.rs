//! How redis counts: large numbers, times to live, scripts, and a server that refuses.

use pyzord_core::{Store, StoreError, StoreOp, Tally};
use pyzord_testkit::RedisServer;

use crate::support::{LAYOUTS, NOW, at, call, dsn, engine, execute, execute_one, key, key_v0, patient};

/// Tests counts beyond 2^53, up to which the numbers of redis's scripts are exact.
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
            let now = Some(at(NOW).wall);
            let expected = Tally { count: count + 1, entered: now, updated: now };
            assert_eq!(answers[1].unwrap().reports, expected);
        }
    }
}

/// Python writes a date that a migrated record does not have as 0, and then takes it for a date.
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

/// A server without free memory refuses commands that need more, and executes the others.
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

/// A server may lose its scripts at any moment; the next batch sends the script again.
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

/// The replies to each batch became a tree of values on the heap.
#[test]
fn a_usual_batch_allocates_nothing() {
    let server = RedisServer::start();
    let mut store = engine(&server);
    let ops = [StoreOp::Read, StoreOp::Report, StoreOp::Whitelist];
    let calls: Vec<_> = (0..40).flat_map(|n| ops.map(|op| call(op, n / 2))).collect();
    let mut answers = Vec::new();
    let mut serve = || {
        answers.clear();
        store.execute(at(NOW), &calls, &mut answers);
    };
    // The first batches connect, and make room in the buffers.
    for _ in 0..3 {
        serve();
    }
    assert_eq!(allocation_counter::measure(serve).count_total, 0);
    assert!(answers.len() == calls.len() && answers.iter().all(Result::is_ok), "{answers:?}");
}
