//! `pyzor-migrate --delete` is killed and run again.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyzord_core::{Digest, Progress, Record, Tally, UnixTime};
use pyzord_engines::Gdbm;
use pyzord_engines::registry::{Access, open_store};
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{Guarded, Home, digest};
use crate::random::Random;
use crate::rounds;

const RECORDS: u32 = 3000;
/// Kills of one migration before it runs to its end.
const KILLS: u32 = 3;

type Database<'a> = (&'a str, &'a str);

fn migration(source: Database<'_>, destination: Database<'_>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyzor-migrate"));
    command.args([
        "--delete",
        "--se",
        source.0,
        "--sd",
        source.1,
        "--de",
        destination.0,
        "--dd",
        destination.1,
    ]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Reads all records of a database, and recovers a damaged one.
fn records(database: Database<'_>) -> BTreeMap<Digest, Record> {
    let mut bulk = open_store(database.0, database.1, Access::Create, None).unwrap();
    let mut found = Vec::new();
    while bulk.scan(&mut found).unwrap() == Progress::More {}
    found.into_iter().map(|entry| entry.record.unwrap()).collect()
}

/// Returns records as they are without the marks of a move: these have a first date of January 1970, and a source's that
/// is moved has no count.
fn without_marks(mut records: BTreeMap<Digest, Record>) -> BTreeMap<Digest, Record> {
    records.retain(|_, record| record.reports.count > 0);
    for record in records.values_mut() {
        let Tally { entered, updated, .. } = &mut record.reports;
        if entered.is_some_and(|entered| entered < UnixTime::from_seconds(1_000_000)) {
            (*entered, record.whitelists) = (*updated, Tally::default());
        }
    }
    records
}

/// Creates a database with records, and returns them.
fn source(path: &str) -> BTreeMap<Digest, Record> {
    let store = Gdbm::open(path.as_ref()).unwrap();
    let record = |number: u32| {
        let time = Some(UnixTime::from_seconds(1_700_000_000 + i64::from(number)));
        let reports = Tally { count: u64::from(number) + 1, entered: time, updated: time };
        (Digest::parse(digest(number).as_bytes()).unwrap(), Record { reports, ..Record::default() })
    };
    let all: BTreeMap<_, _> = (0..RECORDS).map(record).collect();
    all.iter().for_each(|(key, record)| store.put(*key, record).unwrap());
    all
}

#[expect(clippy::disallowed_methods, reason = "the duration of a migration")]
fn now() -> Instant {
    Instant::now()
}

/// Checks that after each kill every record is unchanged in the source or in the destination, and that a last run
/// moves the rest.
fn kill_and_run_again(destination: impl Fn(u32) -> (&'static str, String)) {
    let mut random = Random::new();
    let (mut kills, mut midway) = (0, 0);
    // The first migration is not killed: it measures the duration.
    let mut whole: Option<Duration> = None;
    for round in 0..=rounds(6).div_ceil(KILLS) {
        let home = Home::new();
        let from = home.path("from.db").to_str().unwrap().to_owned();
        let from = ("gdbm", &*from);
        let (engine, dsn) = destination(round);
        let dsn = dsn.replace("HOME", home.dir().to_str().unwrap());
        let to = (engine, &*dsn);
        let expected = source(from.1);
        for whole in whole.into_iter().flat_map(|whole| [whole; KILLS as usize]) {
            let running = Guarded(migration(from, to).stdout(Stdio::null()).spawn().unwrap());
            random.pause(whole);
            // Dropping kills the process.
            drop(running);
            kills += 1;
            let (left, mut all) = (without_marks(records(from)), without_marks(records(to)));
            midway += u32::from(!left.is_empty() && !all.is_empty());
            for (key, record) in left {
                let moved = all.insert(key, record);
                assert!(
                    moved.is_none_or(|moved| moved == record),
                    "{key} differs: {moved:?} is not {record:?}"
                );
            }
            assert!(all == expected, "{} of {RECORDS} records", all.len());
        }
        let started = now();
        let output = migration(from, to).output().unwrap();
        whole = whole.or(Some(started.elapsed()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(records(to) == expected && records(from).is_empty());
    }
    println!("{kills} kills, {midway} of them midway; no record lost");
}

#[test]
fn to_gdbm() {
    kill_and_run_again(|_| ("gdbm", "HOME/to.db".to_owned()));
}

#[test]
fn to_redis() {
    let redis = RedisServer::start();
    kill_and_run_again(|round| {
        assert!(redis.ask(&["FLUSHALL"]).starts_with("+OK"), "round {round}");
        ("redis", format!("127.0.0.1,{},,0", redis.port()))
    });
}

#[test]
fn to_mysql() {
    let mysql = MariadbServer::start();
    kill_and_run_again(|round| {
        let dsn = mysql.dsn(&format!("digests{round}"));
        assert!(Home::new().run(&["-e", "mysql", "--dsn", &dsn, "--create-table"]).status.success());
        ("mysql", dsn)
    });
}
