//! Whole records, as migrations read and write them.

use std::collections::BTreeMap;
use std::time::Duration;

use pyzord_core::{Digest, Progress, Record, StoreFailure, StoreOp, Tally, UnixTime};
use pyzord_engines::redis::{Options, Redis};
use pyzord_engines::{Change, ChangeError, RecordEdit, RecordStore, StoredEntry, TallyEdit};
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
            // Without an age a hash keeps its time to live, as with counts; a text loses it.
            let lives_on = age == 0 && !key(1).starts_with("pyzord.digest_v1.");
            assert_eq!(server.ask(&["TTL", &key(1)]) == ":-1", lives_on);
        }
    }
}

/// A whole record was stored by removing the key first: fields of others and the time to live were lost.
#[test]
fn fields_of_others_and_the_time_to_live_stay() {
    let server = RedisServer::start();
    let mut store = LAYOUTS[0](&dsn(&server), patient(0));
    for (name, value) in [("note", "mine"), ("r_count", "5"), ("r_updated", "7")] {
        assert_eq!(server.ask(&["HSET", &key(1), name, value]), ":1");
    }
    assert_eq!(server.ask(&["EXPIRE", &key(1), "4000"]), ":1");
    let reports = TallyEdit { count: Some(3), last: None };
    let now = UnixTime::from_seconds(NOW);
    let edit = Change::Set(RecordEdit { reports, whitelists: TallyEdit::default(), now });
    let mut results = Vec::new();
    store.change(&[(digest(1), edit), (digest(1), Change::Merge(record(2)))], &mut results);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    // An edit and a merge write what they change.
    assert_eq!(server.ask(&["HLEN", &key(1)]), ":4");
    assert_eq!(successes(put(&mut store, &[(digest(1), record(1))])), [()]);
    assert_eq!(server.ask(&["HEXISTS", &key(1), "note"]), ":1");
    assert_eq!(server.ask(&["HLEN", &key(1)]), ":7");
    let seconds: u32 = server.ask(&["TTL", &key(1)]).trim_start_matches(':').parse().unwrap();
    assert!((3000..=4000).contains(&seconds), "{seconds}");
    assert_eq!(successes(fetch(&mut store, &[digest(1)])), [store.rounded(&record(1))]);
}

/// Redis checks the limit of memory for the first write of a script only, and the script began with a removal.
#[test]
fn a_server_without_memory_refuses_before_anything_is_written() {
    let server = RedisServer::start();
    for (layout, key) in LAYOUTS.into_iter().zip([key, key_v0]) {
        assert_eq!(server.ask(&["FLUSHALL"]), "+OK");
        let mut store = layout(&dsn(&server), patient(500));
        assert_eq!(successes(put(&mut store, &[(digest(1), record(1))])), [()]);
        assert_eq!(server.ask(&["RPUSH", &key(2), "a list"]), ":1");
        assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "1"]), "+OK");
        let refused = put(&mut store, &[1, 2, 3].map(|n| (digest(n), record(4))));
        assert!(refused.iter().all(|result| result.as_ref().unwrap_err().to_string().contains("OOM")));
        let mut results = Vec::new();
        store.change(&[1, 3].map(|n| (digest(n), Change::Merge(record(4)))), &mut results);
        for result in results {
            let Err(ChangeError::Refused(why)) = result else { panic!("{result:?}") };
            assert!(why.to_string().contains("OOM"), "{why}");
        }
        assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "0"]), "+OK");
        assert_eq!(successes(fetch(&mut store, &[digest(1)])), [store.rounded(&record(1))]);
        assert_eq!(server.ask(&["TYPE", &key(2)]), "+list");
        assert_eq!(server.ask(&["EXISTS", &key(3)]), ":0");
    }
}

/// What was sent and not answered may have been done; what was not sent is not.
#[test]
fn changes_on_a_lost_connection_are_told_apart() {
    let mut server = RedisServer::durable();
    let options = Options { exchange: Duration::from_millis(300), ..patient(0) };
    let mut store = LAYOUTS[0](&dsn(&server), options);
    let changes: Vec<_> =
        records()[..300].iter().map(|(digest, record)| (*digest, Change::Merge(*record))).collect();
    let mut results = Vec::new();
    let mut connected = LAYOUTS[0](&dsn(&server), options);
    connected.change(&changes[..1], &mut results);
    assert!(matches!(results.as_slice(), [Ok(())]), "{results:?}");
    server.hang();
    connected.change(&changes, &mut results);
    server.go_on();
    let doubtful = results.iter().filter(|result| matches!(result, Err(ChangeError::InDoubt(_)))).count();
    let away = results.iter().filter(|result| matches!(result, Err(ChangeError::Away(_)))).count();
    assert!(doubtful > 0 && doubtful < 300 && doubtful + away == 300, "{doubtful} {away}");
    server.kill();
    results.clear();
    store.change(&changes, &mut results);
    assert_eq!(results.len(), 300);
    assert!(results.iter().all(|result| matches!(result, Err(ChangeError::Away(_)))), "{results:?}");
    server.restart();
    results.clear();
    store.change(&changes, &mut results);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
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
