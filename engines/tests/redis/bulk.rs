//! Whole records: everything that a migration does.

use std::collections::BTreeMap;

use pyzord_core::{Digest, Progress, Record, StoreFailure, StoreOp, Tally, UnixTime};
use pyzord_engines::redis::Redis;
use pyzord_engines::{Bulk, Found};
use pyzord_testkit::RedisServer;

use crate::support::{LAYOUTS, NOW, at, digest, dsn, execute_one, key, key_v0, patient};

const COUNT: u64 = 5000;
/// More than this a step of a scan must not hold in memory.
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

/// A whole scan, during which `meanwhile` is told what each step found.
fn scan(store: &mut Redis, mut meanwhile: impl FnMut(&mut Redis, &[Found])) -> BTreeMap<String, Found> {
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
fn records_are_put_found_fetched_and_removed() {
    let server = RedisServer::start();
    for layout in LAYOUTS {
        let (mut store, records) = (layout(&dsn(&server), patient(0)), records());
        let digests: Vec<_> = records.iter().map(|(digest, _)| *digest).collect();
        assert_eq!(put(&mut store, &records), vec![Ok(()); records.len()]);
        assert_eq!(store.estimate(), Some(COUNT));
        let rounded: Vec<_> = records.iter().map(|(_, record)| store.rounded(record)).collect();
        assert_ne!(rounded[0], records[0].1);
        for round in 0..2 {
            let all = scan(&mut store, |_, _| ());
            assert_eq!(all.len(), records.len(), "round {round}");
            for (digest, rounded) in digests.iter().zip(&rounded) {
                assert_eq!(all[&digest.to_string()].record, Ok((*digest, *rounded)));
            }
        }
        let fetched: Vec<_> = fetch(&mut store, &digests).into_iter().map(Result::unwrap).collect();
        assert_eq!(fetched, rounded);
        assert_eq!(fetch(&mut store, &[digest(COUNT + 1)]), [Ok(Record::default())]);
        assert_eq!(store.remove(&digests), Ok(()));
        assert_eq!(store.remove(&digests[..1]), Ok(()));
        assert_eq!(store.estimate(), Some(0));
    }
}

#[test]
fn removing_what_was_found_hides_nothing() {
    let server = RedisServer::start();
    for layout in LAYOUTS {
        let mut store = layout(&dsn(&server), patient(0));
        assert!(put(&mut store, &records()).iter().all(Result::is_ok));
        let all = scan(&mut store, |store, found| {
            let digests: Vec<_> = found.iter().map(|found| found.record.clone().unwrap().0).collect();
            store.remove(&digests).unwrap();
        });
        assert_eq!((all.len() as u64, store.estimate()), (COUNT, Some(0)));
    }
}

#[test]
fn odd_keys_and_values_are_found_with_their_cause() {
    let server = RedisServer::start();
    for (n, (layout, key)) in LAYOUTS.into_iter().zip([key, key_v0]).enumerate() {
        let prefix = key(0).rsplit_once('.').unwrap().0.to_owned();
        let _ = server.ask(&["SET", &format!("{prefix}.short"), "x"]);
        let _ = server.ask(&[
            "SET",
            &key(7).to_uppercase().replace("PYZORD.DIGEST_V1", &prefix).replace("PYZORD.DIGEST", &prefix),
            "x",
        ]);
        let _ = server.ask(&["RPUSH", &key(1), "a list"]);
        let _ = if n == 0 {
            server.ask(&["HSET", &key(2), "r_count", "x"])
        } else {
            server.ask(&["SET", &key(2), "x"])
        };
        let _ = server.ask(&["SET", "another", "x"]);
        let mut store = layout(&dsn(&server), patient(0));
        assert_eq!(put(&mut store, &[(digest(3), record(3))]), [Ok(())]);
        let all = scan(&mut store, |_, _| ());
        let name = |n| digest(n).to_string();
        let mut keys = vec!["short".to_owned(), name(7).to_uppercase(), name(1), name(2), name(3)];
        keys.sort();
        assert_eq!(all.keys().cloned().collect::<Vec<_>>(), keys);
        assert_eq!(all.values().filter(|found| found.record.is_ok()).count(), 1);
        let cause = |key: &str| all[key].record.clone().unwrap_err();
        assert!(cause("short").contains("not a digest"));
        assert!(cause(&name(1)).contains("of another type"));
        assert!(cause(&name(2)).contains("unreadable"));
        let failure = fetch(&mut store, &[digest(1), digest(3)]);
        assert!(failure[0].is_err() && failure[1].is_ok());
    }
}

#[test]
fn put_takes_the_place_of_whatever_is_there() {
    let server = RedisServer::start();
    for (layout, key) in LAYOUTS.into_iter().zip([key, key_v0]) {
        let _ = server.ask(&["RPUSH", &key(1), "a list"]);
        for age in [500, 0] {
            let mut store = layout(&dsn(&server), patient(age));
            assert_eq!(put(&mut store, &[(digest(1), record(1))]), [Ok(())]);
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
    assert_eq!(store.scan(&mut Vec::new()), Ok(Progress::More));
    server.kill();
    let mut found = Vec::new();
    let failure = store.scan(&mut found).unwrap_err();
    assert!(failure.0.contains("127.0.0.1"), "{failure}");
    assert_eq!(found, []);
    assert!(put(&mut store, &records()[..3]).iter().all(Result::is_err));
    assert!(fetch(&mut store, &[digest(1)])[0].is_err());
    assert!(store.remove(&[digest(1)]).is_err());
    assert_eq!(store.estimate(), None);
    server.restart();
    assert_eq!(scan(&mut store, |_, _| ()).len() as u64, COUNT);
}
