//! Changes of records in one step, beside servers that count.

use std::thread;

use pyzord_core::{Record, StoreOp, Tally, UnixTime};
use pyzord_engines::{Change, ChangeError, RecordEdit, RecordStore, TallyEdit};

use crate::common::{at, call, digest, execute, successes};
use crate::subject::{Case, Odd, Stored};

/// A January day: local time is unambiguous then, wherever the tests run.
const NOW: i64 = 1_704_800_000;
/// How many digests the threads share, and how often each thread changes them.
const DIGESTS: u64 = 20;
const ROUNDS: u64 = 60;

pub(crate) fn cases<S: Stored>() -> [Case<S>; 4] {
    [
        ("a change does to a stored record what it does to any", changes_of_records),
        ("merges beside servers lose no report, and servers no merge", merges_beside_servers),
        ("edits beside servers lose no report", edits_beside_servers),
        ("a record that cannot be read is not changed", unreadable),
    ]
}

fn date(seconds: i64) -> Option<UnixTime> {
    Some(UnixTime::from_seconds(NOW + seconds))
}

fn change(store: &mut impl RecordStore, changes: &[(u64, Change)]) -> Vec<Result<(), ChangeError>> {
    let changes: Vec<_> = changes.iter().map(|(n, change)| (digest(*n), *change)).collect();
    let mut results = Vec::new();
    store.change(&changes, &mut results);
    assert_eq!(results.len(), changes.len());
    results
}

fn fetch(store: &mut impl RecordStore, numbers: impl Iterator<Item = u64>) -> Vec<Record> {
    let mut results = Vec::new();
    store.fetch(&numbers.map(digest).collect::<Vec<_>>(), &mut results);
    successes(results)
}

/// Tallies that a record can have: none, with one date, with both, with the largest count.
fn tallies() -> Vec<Tally> {
    let tally = |count, entered, updated| Tally { count, entered, updated };
    vec![
        Tally::default(),
        tally(0, None, date(5)),
        tally(3, date(-500), None),
        tally(9, date(20), date(90)),
        tally(1_000_000_007, date(-7), date(7)),
        tally(9_007_199_254_740_993, date(30), date(30)),
        tally(Tally::MAX - 2, date(-30), date(300)),
    ]
}

fn all_changes() -> Vec<Change> {
    let record = |reports, whitelists| Record { reports, whitelists };
    let merges = tallies().into_iter().zip(tallies().into_iter().rev());
    let mut changes: Vec<Change> =
        merges.map(|(reports, whitelists)| Change::Merge(record(reports, whitelists))).collect();
    for count in [None, Some(0), Some(3), Some(12), Some(Tally::MAX)] {
        for last in [None, date(-600), date(600)] {
            let (reports, other) = (TallyEdit { count, last }, TallyEdit::default());
            let now = UnixTime::from_seconds(NOW + 1000);
            changes.push(Change::Set(RecordEdit { reports, whitelists: other, now }));
            changes.push(Change::Set(RecordEdit { reports: other, whitelists: reports, now }));
        }
    }
    changes
}

fn changes_of_records<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    let changes: Vec<(u64, Change)> = (0..).zip(all_changes()).collect();
    for (reports, whitelists) in tallies().into_iter().zip(tallies().into_iter().skip(2).cycle()) {
        let old = Record { reports, whitelists };
        let records: Vec<_> = changes.iter().map(|(n, _)| (digest(*n), old)).collect();
        let mut results = Vec::new();
        store.put(&records, &mut results);
        successes(results);
        assert!(change(&mut store, &changes).iter().all(Result::is_ok));
        let found = fetch(&mut store, changes.iter().map(|(n, _)| *n));
        for ((_, change), found) in changes.iter().zip(found) {
            assert_eq!(found, S::rounded(&change.apply(&S::rounded(&old))), "{old:?} {change:?}");
        }
    }
    // Where there is no record.
    let changes: Vec<(u64, Change)> = (5000..).zip(all_changes()).collect();
    assert!(change(&mut store, &changes).iter().all(Result::is_ok));
    let found = fetch(&mut store, changes.iter().map(|(n, _)| *n));
    for ((_, change), found) in changes.iter().zip(found) {
        assert_eq!(found, S::rounded(&change.apply(&Record::default())), "{change:?}");
    }
}

/// Reports the digests in another thread while this one does its work, and returns the records that were there first
/// with as many reports more.
fn beside_a_server<S: Stored>(
    database: &S,
    first: &mut S::Store,
    work: impl FnOnce(&mut S::Store),
) -> Vec<Record> {
    let mut server = database.another(first);
    thread::scope(|scope| {
        let counting = scope.spawn(move || {
            for round in 0..ROUNDS {
                let calls: Vec<_> = (0..DIGESTS).map(|n| call(StoreOp::Report, n)).collect();
                let now = at(NOW + round.cast_signed());
                assert!(execute(&mut server, now, &calls).iter().all(Result::is_ok));
            }
        });
        work(first);
        counting.join().unwrap();
    });
    fetch(first, 0..DIGESTS)
}

/// `import --merge` read a record, added to it and wrote it: what a server counted between was lost.
fn merges_beside_servers<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    let reports = Tally { count: 1000, entered: date(-50), updated: date(5000) };
    let whitelists = Tally { count: 10, entered: date(-60), updated: date(-60) };
    let merge = Change::Merge(Record { reports, whitelists });
    let found = beside_a_server(&database, &mut store, |store| {
        for _ in 0..ROUNDS {
            let changes: Vec<_> = (0..DIGESTS).map(|n| (n, merge)).collect();
            assert!(change(store, &changes).iter().all(Result::is_ok));
        }
    });
    let expected = Record {
        reports: Tally { count: 1001 * ROUNDS, ..reports },
        whitelists: Tally { count: 10 * ROUNDS, ..whitelists },
    };
    assert_eq!(found, vec![expected; usize::try_from(DIGESTS).unwrap()]);
}

/// `set` wrote the reports, too, that it had read.
fn edits_beside_servers<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    let found = beside_a_server(&database, &mut store, |store| {
        for round in 1..=ROUNDS {
            let whitelists = TallyEdit { count: Some(round), last: date(7000) };
            let now = UnixTime::from_seconds(NOW);
            let edit = Change::Set(RecordEdit { reports: TallyEdit::default(), whitelists, now });
            for n in 0..DIGESTS {
                assert!(change(store, &[(n, edit)]).iter().all(Result::is_ok));
            }
        }
    });
    for record in found {
        let counts = [record.reports.count, record.whitelists.count];
        assert_eq!((counts, record.whitelists.updated), ([ROUNDS; 2], date(7000)));
    }
}

fn unreadable<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let odd: Vec<_> = database.spoil().iter().filter_map(Odd::digest).collect();
    let mut store = database.store();
    let before: Vec<_> = odd.iter().map(|digest| database.raw(&store, *digest)).collect();
    let reports = Tally { count: 1, entered: date(0), updated: date(0) };
    let edit = TallyEdit { count: Some(3), last: date(0) };
    let now = UnixTime::from_seconds(NOW);
    for change in [
        Change::Merge(Record { reports, ..Record::default() }),
        Change::Set(RecordEdit { reports: edit, whitelists: edit, now }),
    ] {
        let changes: Vec<_> = odd.iter().flat_map(|odd| [(*odd, change), (digest(0), change)]).collect();
        let mut results = Vec::new();
        store.change(&changes, &mut results);
        assert_eq!(results.len(), changes.len());
        for pair in results.chunks(2) {
            let [Err(ChangeError::Refused(_)), Ok(())] = pair else { unreachable!("{pair:?}") };
        }
    }
    let after: Vec<_> = odd.iter().map(|digest| database.raw(&store, *digest)).collect();
    assert_eq!(after, before);
}
