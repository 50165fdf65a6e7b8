//! Batches and upkeep: the behaviour of every store.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;
use pyzord_core::{
    Mark, MemoryStore, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreOp, Survey,
    Tally, Task, Tick, UnixTime,
};

use crate::common::{at, call, digest, execute, expire, report};
use crate::subject::{Case, Subject};

/// A January day: local time is unambiguous then, wherever the tests run.
const NOW: i64 = 1_704_800_000;
/// More digests than one statement or one slice of any engine has.
const DIGESTS: u64 = 400;
/// The limit of the expiry cases: older records expire.
const OLD: i64 = NOW;
const LIMIT: i64 = NOW + 500;
const NEW: i64 = NOW + 1000;
/// Enough records for several slices of expiry.
const MANY: u64 = 5000;

pub(crate) fn cases<S: Subject>() -> [Case<S>; 9] {
    [
        ("a mark counts once, in any batch and after a new start", marks),
        ("random histories are as the model's", as_the_model),
        ("reads of unknown digests create nothing", reads_create_nothing),
        ("counts stop at the largest, and dates go on", saturation),
        ("the number of records is known", record_count),
        ("records expire by their latest activity", expiry),
        ("what is reported while others expire stays", expiry_among_requests),
        ("dates never go back", dates_never_go_back),
        ("a survey tells what would expire", survey),
    ]
}

/// An event in the life of a store.
#[derive(Clone, Debug)]
enum Event {
    Batch(Vec<StoreCall>),
    Sync,
    /// Expires records that are older than this many seconds.
    Expire(i64),
    Reopen,
}

/// Generates calls in any order: on a few digests, so that most are repeated, or on many.
fn batch() -> impl Strategy<Value = Vec<StoreCall>> {
    let calls = |digests: u64, sizes: Range<usize>| {
        let op = prop_oneof![Just(StoreOp::Read), Just(StoreOp::Report), Just(StoreOp::Whitelist)];
        proptest::collection::vec((op, 0..digests).prop_map(|(op, n)| call(op, n)), sizes)
    };
    prop_oneof![6 => calls(12, 0..64), 3 => calls(40, 0..64), 1 => calls(DIGESTS, 300..800)]
}

/// Generates events with their times; clocks are set back, too.
fn history() -> impl Strategy<Value = Vec<(Now, Event)>> {
    let event = prop_oneof![
        8 => batch().prop_map(Event::Batch),
        1 => Just(Event::Sync),
        1 => (0_i64..2000).prop_map(Event::Expire),
        1 => Just(Event::Reopen),
    ];
    let wall = (NOW * 1_000_000..(NOW + 4000) * 1_000_000).prop_map(UnixTime::from_micros);
    let now = wall.prop_map(|wall| Now { wall, tick: Tick::default() });
    proptest::collection::vec((now, event), 0..40)
}

/// Returns what the engine must answer if the model answers so. The answer to a count that succeeds may hold
/// any record.
fn comparable<S: Subject>(calls: &[StoreCall], answers: &[StoreAnswer]) -> Vec<StoreAnswer> {
    let comparable = |(call, answer): (&StoreCall, &StoreAnswer)| {
        let tells = S::TELLS || call.op == StoreOp::Read;
        answer.map(|record| if tells { record } else { Record::default() })
    };
    calls.iter().zip(answers).map(comparable).collect()
}

fn rounded<S: Subject>(answers: &[StoreAnswer]) -> Vec<StoreAnswer> {
    answers.iter().map(|answer| answer.map(|record| S::rounded(&record))).collect()
}

fn as_the_model<S: Subject>(new: &dyn Fn() -> S) {
    proptest!(ProptestConfig::with_cases(S::HISTORIES), |(history in history())| {
        let database = new();
        let (mut store, mut model) = (database.store(), MemoryStore::new());
        for (now, event) in history {
            match event {
                Event::Batch(calls) => {
                    let (ours, models) = (execute(&mut store, now, &calls), execute(&mut model, now, &calls));
                    prop_assert_eq!(ours.len(), calls.len());
                    let expected = comparable::<S>(&calls, &rounded::<S>(&models));
                    prop_assert_eq!(comparable::<S>(&calls, &ours), expected);
                }
                Event::Sync => prop_assert_eq!(store.upkeep(now, Task::Sync).unwrap(), Progress::Done),
                Event::Expire(age) => {
                    let limit = now.wall.seconds() - age;
                    prop_assert!(expire(&mut store, limit).is_ok());
                    if S::EXPIRES {
                        expire(&mut model, limit).unwrap();
                    }
                }
                Event::Reopen => store = database.reopen(store),
            }
        }
        let all: Vec<_> = (0..DIGESTS).map(|n| call(StoreOp::Read, n)).collect();
        let expected = rounded::<S>(&execute(&mut model, at(NOW), &all));
        prop_assert_eq!(execute(&mut store, at(NOW), &all), expected);
        prop_assert_eq!(database.count(&store), model.records().count());
    });
}

fn reads_create_nothing<S: Subject>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    let reads: Vec<_> = (0..DIGESTS).map(|n| call(StoreOp::Read, n)).collect();
    // The answers of an earlier batch must stay.
    let mut answers = vec![Err(StoreError::Unavailable)];
    store.execute(at(NOW), &reads, &mut answers);
    assert_eq!(answers.remove(0), Err(StoreError::Unavailable));
    assert_eq!(answers, vec![Ok(Record::default()); reads.len()]);
    assert_eq!(database.count(&store), 0);
    assert!(execute(&mut store, at(NOW), &[]).is_empty());
    assert_eq!(database.count(&store), 0);
}

/// The store was asked twice where its first answer was lost, and counted twice.
fn marks<S: Subject>(new: &dyn Fn() -> S) {
    use StoreOp::{Read, Report, Whitelist};
    let database = new();
    let mut store = database.store();
    let counts = |store: &mut S::Store, n| {
        let record = execute(store, at(NOW), &[call(Read, n)]).pop().unwrap().unwrap();
        (record.reports.count, record.whitelists.count)
    };
    let calls: Vec<StoreCall> = [
        marked(Report, 1, 0),
        marked(Report, 1, 1),
        call(Report, 1),
        marked(Whitelist, 1, 2),
        marked(Report, 2, 3),
        call(Read, 1),
    ]
    .into();
    let first = execute(&mut store, at(NOW), &calls);
    assert!(first.iter().all(Result::is_ok), "{first:?}");
    assert_eq!((counts(&mut store, 1), counts(&mut store, 2)), ((3, 1), (1, 0)));
    if !S::KEEPS_MARKS {
        return;
    }
    let mut store = database.reopen(store);
    let again = execute(&mut store, at(NOW + 1), &calls);
    let is_repeated: Vec<_> = again.iter().map(|answer| *answer == Err(StoreError::AlreadyCounted)).collect();
    assert_eq!(is_repeated, [true, true, false, true, true, false], "{again:?}");
    // Twice in one batch, and among new ones, more than one statement has.
    let many: Vec<_> = (0..DIGESTS).map(|n| marked(Report, n, 4 + u8::try_from(n % 140).unwrap())).collect();
    let half: Vec<_> = many.iter().copied().step_by(2).collect();
    let answers = execute(&mut store, at(NOW), &[half.clone(), half].concat());
    let counted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(counted, 200);
    let answers = execute(&mut store, at(NOW), &many);
    let is_new: Vec<_> = (0..DIGESTS).map(|n| n % 2 == 1).collect();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), is_new);
    assert_eq!((counts(&mut store, 1), counts(&mut store, 2)), ((5, 1), (2, 0)));
}

/// Returns a count of a signed request: of one for each range of digests that has different places.
fn marked(op: StoreOp, n: u64, place: u8) -> StoreCall {
    StoreCall { mark: Some(Mark { signature: digest(1000 + n / 140), place }), ..call(op, n) }
}

fn record_count<S: Subject>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    let check = |store: &mut S::Store| {
        let exact = database.count(store) as u64;
        let known = store.record_count(at(NOW));
        assert!(if S::COUNTS { known == Some(exact) } else { known.is_some() }, "{known:?}, not {exact}");
    };
    check(&mut store);
    report(&mut store, at(OLD), 0..20);
    report(&mut store, at(NEW), 10..30);
    execute(&mut store, at(NEW), &[call(StoreOp::Read, 99), call(StoreOp::Whitelist, 29)]);
    check(&mut store);
    let mut store = database.reopen(store);
    check(&mut store);
    report(&mut store, at(NEW), 30..40);
    expire(&mut store, LIMIT).unwrap();
    check(&mut store);
}

fn saturation<S: Subject>(new: &dyn Fn() -> S) {
    use StoreOp::{Read, Report, Whitelist};
    let database = new();
    let mut store = database.store();
    let full = |entered, updated| {
        let tally = Tally { count: S::MOST, entered: Some(entered), updated: Some(updated) };
        Record { reports: tally, whitelists: tally }
    };
    let (first, second) = (at(NOW), at(NOW + 7));
    for (n, missing) in (0..).zip([0, 1, 2]) {
        let tally = Tally { count: S::MOST - missing, entered: None, updated: None };
        S::put(&mut store, digest(n), &Record { reports: tally, whitelists: tally });
        let calls = [Report, Report, Whitelist, Whitelist, Read].map(|op| call(op, n));
        assert_eq!(execute(&mut store, first, &calls).pop(), Some(Ok(full(first.wall, first.wall))));
        assert_eq!(execute(&mut store, second, &calls).pop(), Some(Ok(full(first.wall, second.wall))));
        let read = execute(&mut store, second, &[call(Read, n)]);
        assert_eq!(read, [Ok(full(first.wall, second.wall))]);
    }
    // One batch has more calls of one kind than a count has room for.
    let tally = Tally { count: S::MOST - 100, entered: None, updated: None };
    S::put(&mut store, digest(9), &Record { reports: tally, whitelists: tally });
    let calls: Vec<_> = [Report, Whitelist].into_iter().flat_map(|op| [call(op, 9); 300]).collect();
    assert!(execute(&mut store, first, &calls).iter().all(Result::is_ok));
    assert_eq!(execute(&mut store, first, &[call(Read, 9)]), [Ok(full(first.wall, first.wall))]);
}

/// A clock that was at 1980 for a moment dated records to 1980, and they expired when it was right again.
fn dates_never_go_back<S: Subject>(new: &dyn Fn() -> S) {
    const HOUR: i64 = 3600;
    const YEAR: i64 = 365 * 24 * HOUR;
    let database = new();
    let mut store = database.store();
    let now = UnixTime::BUILT.seconds() + 10 * 24 * HOUR;
    for (op, tally) in [
        (StoreOp::Report, (|record| record.reports) as fn(Record) -> Tally),
        (StoreOp::Whitelist, |record| record.whitelists),
    ] {
        let mut counted = |clock, expected: i64, count| {
            assert!(execute(&mut store, at(clock), &[call(op, 1)]).iter().all(Result::is_ok));
            let mut read = execute(&mut store, at(clock), &[call(StoreOp::Read, 1)]);
            let read = tally(read.remove(0).unwrap());
            let entered = Some(UnixTime::from_seconds(now));
            assert_eq!(
                read,
                Tally { count, entered, updated: Some(UnixTime::from_seconds(expected)) },
                "at {clock}"
            );
        };
        counted(now, now, 1);
        for (clock, count) in [315_532_800, 5, now - HOUR, now - 24 * HOUR].into_iter().zip(2..) {
            counted(clock, now, count);
        }
        // A clock that is a year ahead for a moment leaves no date in the future.
        counted(now + YEAR, now + YEAR, 6);
        counted(5, now + YEAR, 7);
        counted(now + 60, now + 60, 8);
        counted(now + 30, now + 60, 9);
    }
}

/// Returns the calls on a digest of the expiry cases and their times, which depend on the digest's number.
fn activities(n: u64) -> Vec<(i64, StoreOp)> {
    use StoreOp::{Report, Whitelist};
    match n % 6 {
        0 => vec![(OLD, Report)],
        1 => vec![(OLD, Whitelist)],
        2 => vec![(OLD, Report), (NEW, Whitelist)],
        3 => vec![(OLD, Whitelist), (NEW, Report)],
        4 => vec![(LIMIT - 1, Report), (LIMIT - 1, Whitelist)],
        _ => vec![(OLD, Report), (LIMIT, Report)],
    }
}

fn stays(n: u64) -> bool {
    activities(n).iter().any(|(second, _)| *second >= LIMIT)
}

fn fill(store: &mut impl Store) {
    for second in [OLD, LIMIT - 1, LIMIT, NEW] {
        let calls: Vec<StoreCall> = (0..MANY)
            .flat_map(|n| activities(n).into_iter().map(move |activity| (n, activity)))
            .filter(|(_, (when, _))| *when == second)
            .map(|(n, (_, op))| call(op, n))
            .collect();
        for batch in calls.chunks(64) {
            assert!(execute(store, at(second), batch).iter().all(Result::is_ok));
        }
    }
}

/// Returns which of these records exist.
fn present(store: &mut impl Store) -> BTreeSet<u64> {
    let calls: Vec<_> = (0..MANY).map(|n| call(StoreOp::Read, n)).collect();
    let answers = execute(store, at(NEW), &calls);
    (0..).zip(answers).filter(|(_, answer)| *answer != Ok(Record::default())).map(|(n, _)| n).collect()
}

fn expiry<S: Subject>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    fill(&mut store);
    // A record without dates has no age.
    let dateless = Record { reports: Tally { count: 3, ..Tally::default() }, ..Record::default() };
    S::put(&mut store, digest(MANY), &dateless);
    let before = execute(&mut store, at(NEW), &[call(StoreOp::Read, 2)]);
    let slices = expire(&mut store, LIMIT).unwrap();
    if !S::EXPIRES {
        assert_eq!(present(&mut store).len() as u64, MANY);
        assert_eq!(store.expired(), None);
        return;
    }
    assert!(slices > 4, "{slices} slices");
    let expected: BTreeSet<u64> = (0..MANY).filter(|n| stays(*n)).collect();
    assert_eq!(present(&mut store), expected);
    assert_eq!(store.expired(), Some(MANY - expected.len() as u64));
    assert_eq!(database.count(&store), expected.len() + 1);
    assert_eq!(execute(&mut store, at(NEW), &[call(StoreOp::Read, 2)]), before);
    // The next round starts again, and finds nothing more.
    let slices = expire(&mut store, LIMIT).unwrap();
    assert!(slices > 2, "{slices} slices");
    assert_eq!(database.count(&store), expected.len() + 1);
    expire(&mut store, NEW + 1).unwrap();
    assert_eq!((database.count(&store), store.expired()), (1, Some(MANY)));
    assert_eq!(execute(&mut store, at(NEW), &[call(StoreOp::Read, MANY)]), [Ok(dateless)]);
}

/// A round of expiry is judged by what it would remove.
fn survey<S: Subject>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    let survey = |store: &mut S::Store, limit: i64| {
        let mut slices =
            (0..1000).map(|_| store.upkeep(at(NEW), Task::Survey(UnixTime::from_seconds(limit))).unwrap());
        slices.find(|progress| *progress != Progress::More).unwrap()
    };
    let newest = |seconds: Option<i64>| seconds.map(UnixTime::from_seconds);
    let expected = |survey| if S::EXPIRES { Progress::Surveyed(survey) } else { Progress::Done };
    assert_eq!(survey(&mut store, LIMIT), expected(Survey::default()));
    fill(&mut store);
    let old = (0..MANY).filter(|n| !stays(*n)).count() as u64;
    let found = Survey { records: MANY, expired: old, newest: newest(Some(NEW)) };
    assert_eq!(survey(&mut store, LIMIT), expected(found));
    // Another limit begins anew.
    let _ = store.upkeep(at(NEW), Task::Survey(UnixTime::from_seconds(OLD))).unwrap();
    let found = Survey { records: MANY, expired: MANY, newest: newest(Some(NEW)) };
    assert_eq!(survey(&mut store, NEW + 1), expected(found));
    assert_eq!(present(&mut store).len() as u64, MANY);
}

/// Requests come between the slices; a record that is reported then must stay.
fn expiry_among_requests<S: Subject>(new: &dyn Fn() -> S) {
    let database = new();
    let mut store = database.store();
    fill(&mut store);
    let mut reported = BTreeSet::new();
    let task = Task::Expire(UnixTime::from_seconds(LIMIT));
    // Every sixth record expires. These are from both ends, so that the round has seen only some of them.
    let old = (0..MANY).filter(|n| n % 6 == 0);
    for n in old.clone().zip(old.rev()).flat_map(|(first, last)| [first, last]) {
        let progress = store.upkeep(at(NEW), task).unwrap();
        if progress == Progress::Done {
            break;
        }
        assert!(execute(&mut store, at(NEW), &[call(StoreOp::Report, n)]).iter().all(Result::is_ok));
        reported.insert(n);
    }
    assert!(!S::EXPIRES || reported.len() > 2, "{reported:?}");
    let expected = (0..MANY).filter(|n| !S::EXPIRES || stays(*n) || reported.contains(n));
    assert_eq!(present(&mut store), expected.collect());
}
