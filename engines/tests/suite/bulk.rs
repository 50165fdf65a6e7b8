//! Whole records, as migrations read and write them.

use std::collections::BTreeMap;

use pyzord_core::{Digest, Progress, Record, StoreFailure, StoreOp, Tally, UnixTime};
use pyzord_engines::{Exchange, RecordStore, StoredEntry};

use crate::common::{at, call, digest, execute, successes};
use crate::subject::{Case, Odd, Stored};

/// A January day: local time is unambiguous then, wherever the tests run.
const NOW: i64 = 1_704_800_000;
const COUNT: u64 = 5000;
/// The largest number of entries that one step of a scan may return.
const STEP: usize = 1000;

pub(crate) fn cases<S: Stored>() -> [Case<S>; 5] {
    [
        ("thousands of records go in and come out", thousands),
        ("removing what a scan found hides nothing from it", removing_what_was_found),
        ("removing what a scan has not found hides nothing else", removing_others),
        ("a record is changed only if it is the expected one", exchanges),
        ("odd entries are found with their cause, and give way to records", odd_entries),
    ]
}

/// Returns a record with counts of every size, and dates with fractions or none.
fn record(n: u64) -> Record {
    let date = |k: u64| {
        let micros = NOW * 1_000_000 + (n * k * 1_000_003).cast_signed();
        (!n.is_multiple_of(k + 2)).then(|| UnixTime::from_micros(micros))
    };
    let large = if n.is_multiple_of(2) { n << 40 } else { Tally::MAX };
    Record {
        reports: Tally { count: n, entered: date(1), updated: date(2) },
        whitelists: Tally { count: large, entered: date(3), updated: date(4) },
    }
}

fn records() -> Vec<(Digest, Record)> {
    (0..COUNT).map(|n| (digest(n), record(n))).collect()
}

fn digests() -> Vec<Digest> {
    (0..COUNT).map(digest).collect()
}

fn put(store: &mut impl RecordStore, records: &[(Digest, Record)]) {
    let mut results = Vec::new();
    store.put(records, &mut results);
    assert_eq!(successes(results), vec![(); records.len()]);
}

fn fetch(store: &mut impl RecordStore, digests: &[Digest]) -> Vec<Result<Record, StoreFailure>> {
    let mut results = Vec::new();
    store.fetch(digests, &mut results);
    assert_eq!(results.len(), digests.len());
    results
}

/// Scans the whole database, and returns the entries by key; `meanwhile` is called with those of each step.
fn scan<B: RecordStore>(
    store: &mut B,
    mut meanwhile: impl FnMut(&mut B, &[StoredEntry]),
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

/// Scans a database that has only records.
fn scan_records(store: &mut impl RecordStore) -> BTreeMap<Digest, Record> {
    let found = scan(store, |_, _| ());
    found
        .into_iter()
        .map(|(key, found)| {
            let (digest, record) = found.record.unwrap();
            assert_eq!(key, digest.to_string());
            (digest, record)
        })
        .collect()
}

fn thousands<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let (mut store, mut expected) = (database.store(), BTreeMap::new());
    assert_eq!(scan(&mut store, |_, _| ()).len(), 0);
    put(&mut store, &records());
    for (digest, record) in records() {
        assert_eq!(store.rounded(&record), S::rounded(&record), "{record:?}");
        expected.insert(digest, S::rounded(&record));
    }
    let present = |store: &mut S::Store, expected: &BTreeMap<Digest, Record>| {
        assert_eq!(scan_records(store), *expected);
        assert_eq!(store.estimate(), Some(expected.len() as u64));
        assert_eq!(database.count(store), expected.len());
        let mut digests: Vec<Digest> = (0..COUNT + 1000).map(digest).collect();
        digests.push(digest(1));
        let known = |digest| expected.get(digest).copied().unwrap_or_default();
        let known: Vec<_> = digests.iter().map(known).collect();
        assert_eq!(successes(fetch(store, &digests)), known);
    };
    present(&mut store, &expected);
    // A scan begins again after the last one has ended, and in another store.
    let mut store = database.reopen(store);
    present(&mut store, &expected);
    let reads: Vec<_> = (0..COUNT).map(|n| call(StoreOp::Read, n)).collect();
    let read: Vec<_> = execute(&mut store, at(NOW), &reads).into_iter().map(Result::unwrap).collect();
    assert_eq!(read, digests().iter().filter_map(|digest| expected.get(digest).copied()).collect::<Vec<_>>());

    // In place of others, in place of removed ones, and where there was none.
    put(&mut store, &[(digest(0), record(9)), (digest(1), Record::default())]);
    expected.extend([(digest(0), S::rounded(&record(9))), (digest(1), Record::default())]);
    let removed: Vec<Digest> = (2..4321).chain(COUNT + 1..COUNT + 9).map(digest).collect();
    for _ in 0..2 {
        store.remove(&removed).unwrap();
    }
    expected.retain(|digest, _| !removed.contains(digest));
    present(&mut store, &expected);
    put(&mut store, &[(digest(7), record(8)), (digest(4900), record(4901))]);
    expected.extend([(digest(7), S::rounded(&record(8))), (digest(4900), S::rounded(&record(4901)))]);
    present(&mut store, &expected);
    store.remove(&[]).unwrap();
    store.remove(&digests()).unwrap();
    assert_eq!(store.estimate(), Some(0));
    present(&mut store, &BTreeMap::new());
}

fn removing_what_was_found<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    put(&mut store, &records());
    let all = scan(&mut store, |store, found| {
        let digests: Vec<_> = found.iter().map(|found| found.record.clone().unwrap().0).collect();
        store.remove(&digests).unwrap();
    });
    assert_eq!((all.len() as u64, store.estimate()), (COUNT, Some(0)));
    assert_eq!(database.count(&store), 0);
}

fn removing_others<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    put(&mut store, &records());
    // They are spread over the database, in an order in which no engine scans.
    let (victims, staying): (Vec<_>, Vec<_>) =
        digests().into_iter().partition(|digest| digest.as_bytes()[19] & 1 == 0);
    let mut batches = victims.chunks(victims.len() / 10);
    let all = scan(&mut store, |store, _| {
        if let Some(batch) = batches.next() {
            store.remove(batch).unwrap();
        }
    });
    let missed: Vec<_> = staying.iter().filter(|digest| !all.contains_key(&digest.to_string())).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

/// A migration changes records that a server counts meanwhile.
fn exchanges<S: Stored>(new: &dyn Fn() -> S) {
    const SOME: u64 = 300;
    let database = new();
    let (mut store, none) = (database.store(), Record::default());
    let sound = |n: u64| S::rounded(&record(n + 1));
    let exchange =
        |store: &mut S::Store, expected: &dyn Fn(u64) -> Record, new: &dyn Fn(u64) -> Option<Record>| {
            let change = |n: u64| Exchange { digest: digest(n), expected: expected(n), new: new(n) };
            let (changes, mut results): (Vec<_>, _) = ((0..SOME).map(change).collect(), Vec::new());
            store.exchange(&changes, &mut results);
            successes(results)
        };
    let all = |changed: bool| vec![changed; usize::try_from(SOME).unwrap()];
    let odd = |n: &u64| !n.is_multiple_of(2);
    let expected = |present: &dyn Fn(&u64) -> bool, record: &dyn Fn(u64) -> Record| -> BTreeMap<_, _> {
        (0..SOME).filter(|n| present(n)).map(|n| (digest(n), record(n))).collect()
    };
    assert_eq!(exchange(&mut store, &|_| none, &|_| None), all(true), "nothing is removed where nothing is");
    assert_eq!(exchange(&mut store, &|n| sound(n), &|n| Some(record(n))), all(false));
    assert_eq!(scan_records(&mut store), BTreeMap::new());
    assert_eq!(exchange(&mut store, &|_| none, &|n| Some(record(n + 1))), all(true));
    assert_eq!(exchange(&mut store, &|_| none, &|n| Some(record(n + 2))), all(false));
    assert_eq!(exchange(&mut store, &|n| sound(n + 1), &|_| None), all(false));
    assert_eq!(scan_records(&mut store), expected(&|_| true, &sound));
    // Some of them are as expected, in every part of a batch.
    let half = |n: u64| if odd(&n) { sound(n) } else { none };
    let halves: Vec<bool> = (0..SOME).map(|n| odd(&n)).collect();
    assert_eq!(exchange(&mut store, &half, &|n| Some(record(n + 7))), halves);
    let mixed = |n: u64| if odd(&n) { sound(n + 6) } else { sound(n) };
    assert_eq!(scan_records(&mut store), expected(&|_| true, &mixed));
    assert_eq!(exchange(&mut store, &|n| sound(n + 6), &|_| None), halves);
    assert_eq!(scan_records(&mut store), expected(&|n| !odd(n), &sound));
    assert_eq!(exchange(&mut store, &half, &|_| None), all(false));
    let refill = |n: u64| if odd(&n) { none } else { sound(n) };
    assert_eq!(exchange(&mut store, &refill, &|n| Some(sound(n))), all(true));
    assert_eq!(scan_records(&mut store), expected(&|_| true, &sound));
}

fn odd_entries<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let odd = database.spoil();
    let mut store = database.store();
    put(&mut store, &[(digest(0), record(3))]);
    let found = scan(&mut store, |_, _| ());
    let mut keys: Vec<_> = odd.iter().map(|odd| odd.key.clone()).collect();
    keys.push(digest(0).to_string());
    keys.sort();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), keys);
    for Odd { key, cause } in &odd {
        let error = found.get(key).unwrap().record.as_ref().unwrap_err();
        assert_eq!(error.to_string(), *cause, "{key}");
    }
    let sound = S::rounded(&record(3));
    let (_, found_record) = found.get(&digest(0).to_string()).unwrap().record.clone().unwrap();
    assert_eq!(found_record, sound);

    // One that cannot be read does not make the others fail.
    let unreadable: Vec<_> = odd.iter().filter_map(|odd| Some((odd.digest()?, odd))).collect();
    let digests: Vec<_> = unreadable.iter().flat_map(|(odd, _)| [*odd, digest(0)]).collect();
    let fetched = fetch(&mut store, &digests);
    for ((_, odd), pair) in unreadable.iter().zip(fetched.chunks(2)) {
        let [Err(failure), Ok(record)] = pair else { unreachable!("{pair:?}") };
        assert!(failure.to_string().ends_with(odd.cause.rsplit(": ").next().unwrap()), "{failure}");
        assert_eq!(*record, sound);
    }

    let records: Vec<_> = unreadable.iter().zip(1..).map(|((digest, _), n)| (*digest, record(n))).collect();
    put(&mut store, &records);
    let digests: Vec<_> = unreadable.iter().map(|(digest, _)| *digest).collect();
    let expected: Vec<_> = records.iter().map(|(_, record)| S::rounded(record)).collect();
    assert_eq!(successes(fetch(&mut store, &digests)), expected);
    store.remove(&digests).unwrap();
    assert_eq!(scan(&mut store, |_, _| ()).len(), keys.len() - unreadable.len());
}
