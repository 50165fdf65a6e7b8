//! Whole records, as migrations read and write them.

use std::collections::BTreeMap;

use pyzord_core::{Digest, Progress, Record, StoreFailure, StoreOp, Tally, UnixTime};
use pyzord_engines::redis::Redis;
use pyzord_engines::{RecordStore, StoredEntry};
use pyzord_testkit::RedisServer;

use crate::common::successes;
use crate::support::{LAYOUTS, NOW, at, digest, dsn, execute_one, key, key_v0, patient};

const COUNT: u64 = 5000;
/// The largest number of entries that one step of a scan may return.
const STEP: usize = 1000;

fn record(n: u64) -> Record {
    let date = |k: u64| Some(UnixTime::from_micros((NOW + (n * k).cast_signed()) * 1_000_000 + 250_000));
    let reports = Tally { count: n, entered: date(1), updated: date(2) };
    let whitelists = if n.is_multiple_of(2) {
        Tally::default()
    } else {
        Tally { count: Tally::MAX, entered: None, updated: date(3) }
    };
    Record { reports, whitelists }
}

fn records() -> Vec<(Digest, Record)> {
    (1..=COUNT).map(|n| (digest(n), record(n))).collect()
}

fn put(store: &mut Redis, records: &[(Digest, Record)]) -> Vec<Result<(), StoreFailure>> {
    let mut results = Vec::new();
    store.put(records, &mut results);
    results
}

fn fetch(store: &mut Redis, digests: &[Digest]) -> Vec<Result<Record, StoreFailure>> {
    let mut results = Vec::new();
    store.fetch(digests, &mut results);
    results
}

/// Scans the whole database; `meanwhile` is called with the entries of each step.
fn scan(
    store: &mut Redis,
    mut meanwhile: impl FnMut(&mut Redis, &[StoredEntry]),
) -> BTreeMap<String, StoredEntry> {
    let mut all = BTreeMap::new();
    loop {
        let mut found = Vec::new();
        let progress = store.scan(&mut found).unwrap();
        assert!(found.len() <= STEP, "{} at once", found.len());
        meanwhile(store, &found);
        all.extend(found.into_iter().map(|found| (found.key.clone(), found)));
        if progress == Progress::Done {
            return all;
        }
    }
}

#[test]
fn put_takes_the_place_of_whatever_is_there() {
    let server = RedisServer::start();
    for (layout, key) in LAYOUTS.into_iter().zip([key, key_v0]) {
        let _ = server.ask(&["RPUSH", &key(1), "a list"]);
        for age in [500, 0] {
            let mut store = layout(&dsn(&server), patient(age));
            assert_eq!(successes(put(&mut store, &[(digest(1), record(1))])), [()]);
            let rounded = store.rounded(&record(1));
            assert_eq!(execute_one(&mut store, at(NOW), StoreOp::Read, 1), Ok(rounded));
            assert_eq!(server.ask(&["TTL", &key(1)]) == ":-1", age == 0);
        }
    }
}

#[test]
fn a_lost_connection_fails_and_the_next_call_makes_another() {
    let mut server = RedisServer::durable();
    let mut store = LAYOUTS[0](&dsn(&server), patient(0));
    assert!(put(&mut store, &records()).iter().all(Result::is_ok));
    assert_eq!(store.scan(&mut Vec::new()).unwrap(), Progress::More);
    server.kill();
    let mut found = Vec::new();
    let failure = store.scan(&mut found).unwrap_err();
    assert!(failure.to_string().contains("127.0.0.1"), "{failure}");
    assert!(found.is_empty(), "{found:?}");
    assert!(put(&mut store, &records()[..3]).iter().all(Result::is_err));
    assert!(fetch(&mut store, &[digest(1)])[0].is_err());
    assert!(store.remove(&[digest(1)]).is_err());
    assert_eq!(store.estimate(), None);
    server.restart();
    assert_eq!(scan(&mut store, |_, _| ()).len() as u64, COUNT);
}
