//! Databases with several writers, and records that cannot be read.

use std::collections::BTreeMap;
use std::thread;

use pyzord_core::{Digest, Mark, Progress, Store, StoreCall, StoreError, StoreOp};
use pyzord_engines::RecordStore;

use crate::common::{at, call, digest, execute, expire};
use crate::subject::{Case, Odd, Stored};

const NOW: i64 = 1_704_800_000;

pub(crate) fn cases<S: Stored>() -> [Case<S>; 3] {
    [
        ("stores of one database count a mark once", one_mark_at_many_stores),
        ("stores of one database lose no increment", no_increment_is_lost),
        ("a record that cannot be read is answered so, and is left as it is", unreadable),
    ]
}

/// Several servers on one database each got a copy of a signed request, and each counted it.
fn one_mark_at_many_stores<S: Stored>(new: &dyn Fn() -> S) {
    if !S::KEEPS_MARKS {
        return;
    }
    const REQUESTS: u64 = 30;
    let database = new();
    let first = database.store();
    // Each request has two digests that others have, too, and one twice.
    let request = |n: u64| {
        let digests = [n % 7, 7 + n % 5, 7 + n % 5];
        (0..).zip(digests).map(move |(place, digest)| StoreCall {
            mark: Some(Mark { signature: common_signature(n), place }),
            ..call(StoreOp::Report, digest)
        })
    };
    let counted: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                let mut store = database.another(&first);
                scope.spawn(move || {
                    let mut counted = 0;
                    for n in (0..REQUESTS).map(|n| (n + worker * 11) % REQUESTS) {
                        let calls: Vec<_> = request(n).chain(request((n + 1) % REQUESTS)).collect();
                        for answer in execute(&mut store, at(NOW), &calls) {
                            assert!(matches!(answer, Ok(_) | Err(StoreError::AlreadyCounted)), "{answer:?}");
                            counted += usize::from(answer.is_ok());
                        }
                    }
                    counted
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(counted as u64, 3 * REQUESTS);
    let mut last = database.another(&first);
    let reads: Vec<_> = (0..12).map(|n| call(StoreOp::Read, n)).collect();
    let total: u64 =
        execute(&mut last, at(NOW), &reads).iter().map(|answer| answer.unwrap().reports.count).sum();
    assert_eq!(total, 3 * REQUESTS);
    // Marks are no records.
    let mut found = Vec::new();
    while last.scan(&mut found).unwrap() == Progress::More {}
    assert_eq!(found.len(), 12);
}

fn common_signature(n: u64) -> Digest {
    digest(5000 + n)
}

/// How often each digest was reported and whitelisted.
type Counts = BTreeMap<u64, (u64, u64)>;

fn no_increment_is_lost<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let first = database.store();
    let counts: Vec<Counts> = thread::scope(|scope| {
        let workers: Vec<_> = (1..=8)
            .map(|seed| {
                let mut store = database.another(&first);
                scope.spawn(move || work(&mut store, seed))
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut last = database.another(&first);
    drop(first);
    let mut expected = Counts::new();
    for (n, (reports, whitelists)) in counts.into_iter().flatten() {
        let sum = expected.entry(n).or_default();
        *sum = (sum.0 + reports, sum.1 + whitelists);
    }
    assert_eq!(database.count(&last), expected.len());
    let mut fetched = Vec::new();
    last.fetch(&expected.keys().map(|n| digest(*n)).collect::<Vec<_>>(), &mut fetched);
    for ((n, counts), fetched) in expected.into_iter().zip(fetched) {
        let answers = execute(&mut last, at(NOW), &[call(StoreOp::Read, n)]);
        assert_eq!(answers, [Ok(fetched.unwrap())]);
        let counted = answers.first().unwrap().map(|record| (record.reports.count, record.whitelists.count));
        assert_eq!(counted, Ok(counts), "{n}");
    }
}

/// Reports and whitelists digests that all workers share, and returns how often.
fn work(store: &mut impl Store, seed: u64) -> Counts {
    let mut random = Random(seed);
    let mut counts = Counts::new();
    for _ in 0..60 {
        let calls: Vec<_> = (0..64).map(|_| (random.op(), random.below(30))).collect();
        for (op, n) in &calls {
            let (reports, whitelists) = counts.entry(*n).or_default();
            match op {
                StoreOp::Read => (),
                StoreOp::Report => *reports += 1,
                StoreOp::Whitelist => *whitelists += 1,
            }
        }
        let calls: Vec<_> = calls.into_iter().map(|(op, n)| call(op, n)).collect();
        let answers = execute(store, at(NOW), &calls);
        assert!(answers.len() == 64 && answers.iter().all(Result::is_ok), "{answers:?}");
    }
    counts
}

fn unreadable<S: Stored>(new: &dyn Fn() -> S) {
    let database = new();
    let odd: Vec<_> = database.spoil().iter().filter_map(Odd::digest).collect();
    assert!(odd.len() > 1);
    let mut store = database.store();
    let before: Vec<_> = odd.iter().map(|digest| database.raw(&store, *digest)).collect();
    let ops: &[StoreOp] = if S::SPARES_UNREADABLE {
        &[StoreOp::Read, StoreOp::Report, StoreOp::Whitelist]
    } else {
        &[StoreOp::Read]
    };
    let sound = [StoreOp::Report, StoreOp::Read].map(|op| call(op, 0));
    let on = |digest: Digest| ops.iter().map(move |op| StoreCall::new(digest, *op)).chain(sound);
    // All of them in one batch, and each in a batch of its own.
    let together = odd.iter().flat_map(|digest| on(*digest)).collect();
    let alone = odd.iter().map(|digest| on(*digest).collect::<Vec<_>>());
    let mut count = 0;
    for calls in alone.chain([together]) {
        let answers = execute(&mut store, at(NOW), &calls);
        assert_eq!(answers.len(), calls.len());
        for (call, answer) in calls.iter().zip(answers) {
            count += u64::from(*call == sound[0]);
            match call.digest == digest(0) {
                false => assert_eq!(answer, Err(StoreError::Unreadable), "{call:?}"),
                true if call.op == StoreOp::Read => assert_eq!(answer.unwrap().reports.count, count),
                true => assert!(answer.is_ok()),
            }
        }
    }
    assert_eq!(count, 2 * odd.len() as u64);
    if S::SPARES_UNREADABLE {
        expire(&mut store, NOW * 2).unwrap();
    }
    let after: Vec<_> = odd.iter().map(|digest| database.raw(&store, *digest)).collect();
    assert_eq!(after, before);
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn op(&mut self) -> StoreOp {
        match self.below(3) {
            0 => StoreOp::Read,
            1 => StoreOp::Report,
            _ => StoreOp::Whitelist,
        }
    }
}
