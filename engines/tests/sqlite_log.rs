//! Logs of SQLite databases that are left beside a database.
#![cfg(feature = "sqlite")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{at, call, digest, execute};
use pyzord_core::{Record, Store as _, StoreOp, Tally, Task, UnixTime};
use pyzord_engines::sqlite::{OpenCause, OpenError, Options, Sqlite};
use pyzord_engines::{Access, RecordStore as _};

const NOW: i64 = 1_704_800_000;

fn open(path: &Path) -> Result<Sqlite, OpenError> {
    Sqlite::open(path, Options::alone(Access::Create))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Copies a database and its log as they are at the death of their server: both at one moment, at which the engine moves
/// no pages.
fn die(path: &Path, to: &Path) {
    let names = ["", "-wal"].map(|suffix| (beside(path, suffix), beside(to, suffix)));
    let is_still = || names.iter().all(|(from, to)| fs::read(from).unwrap() == fs::read(to).unwrap());
    let copy = || names.iter().for_each(|(from, to)| assert!(fs::copy(from, to).is_ok()));
    let copies = (0..10_000).find(|_| {
        copy();
        is_still()
    });
    assert!(copies.is_some(), "the database is never still");
}

fn put(store: &mut Sqlite, range: std::ops::Range<u64>) {
    let reports = Tally { count: 1, entered: Some(UnixTime::from_seconds(NOW)), updated: None };
    let records: Vec<_> = range.map(|n| (digest(n), Record { reports, ..Record::default() })).collect();
    for some in records.chunks(512) {
        let mut results = Vec::new();
        store.put(some, &mut results);
        results.into_iter().for_each(|result| result.unwrap());
    }
}

/// Returns the number of the log, as another process reads it.
fn generation_of(path: &Path) -> i64 {
    let sql = "SELECT value FROM pyzord_meta WHERE name = 'generation'";
    rusqlite::Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn count(store: &mut Sqlite, range: std::ops::Range<u64>) -> usize {
    range
        .filter(|n| execute(store, at(NOW), &[call(StoreOp::Read, *n)])[0].unwrap().reports.count == 1)
        .count()
}

#[test]
fn the_log_of_a_killed_server_is_the_database_s_own_however_often_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().join("0");
    for round in 0..6_u64 {
        let mut store = open(&path).unwrap();
        assert_eq!(count(&mut store, 0..round * 20_000), usize::try_from(round).unwrap() * 20_000);
        put(&mut store, round * 20_000..(round + 1) * 20_000);
        store.upkeep(at(NOW), Task::Sync).unwrap();
        if round % 2 == 0 {
            let next = folder.path().join((round + 1).to_string());
            die(&path, &next);
            path = next;
        }
    }
    assert_eq!(open(&path).unwrap().record_count(at(NOW)), Some(120_000));
}

/// Without its log, such a database has pages that contradict each other, or no tables; the start was refused.
#[test]
fn a_log_completes_a_database_whose_pages_were_being_moved() {
    const PAGE: usize = 1024;
    let folder = tempfile::tempdir().unwrap();
    let [path, dead] = ["db", "dead"].map(|name| folder.path().join(name));
    let mut store = open(&path).unwrap();
    put(&mut store, 0..1000);
    die(&path, &dead);
    drop(store);
    let (old, moved) = (fs::read(&dead).unwrap(), fs::read(&path).unwrap());
    let log = fs::read(beside(&dead, "-wal")).unwrap();
    // Pages of an old database that are moved, the others as they were; and of a new one, whose other pages are empty.
    for is_moved in [|page| page % 2 == 0, |page| page % 2 == 1, |page| page == 0, |page| page != 3] {
        for before in [&old, &vec![0; moved.len()]] {
            let mut disk = before.clone();
            disk.resize(moved.len(), 0);
            for page in (0..moved.len() / PAGE).filter(|page| is_moved(*page) || before[0] == 0 && *page == 0)
            {
                let bytes = page * PAGE..(page + 1) * PAGE;
                disk[bytes.clone()].copy_from_slice(&moved[bytes]);
            }
            fs::write(&dead, disk).unwrap();
            fs::write(beside(&dead, "-wal"), &log).unwrap();
            let mut store = open(&dead).unwrap();
            assert_eq!(count(&mut store, 0..1000), 1000);
            assert!(store.check().unwrap().is_empty());
        }
    }
}

/// The pages of the backup and of the log were mixed.
#[test]
fn a_backup_in_the_place_of_a_database_whose_log_is_left_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [path, backup, dead] = ["db", "backup", "dead"].map(|name| folder.path().join(name));
    let mut store = open(&path).unwrap();
    put(&mut store, 0..1000);
    store.backup(&backup).unwrap();
    let generation = generation_of(&path);
    let mut rounds = 0;
    while generation_of(&path) < generation + 2 {
        put(&mut store, 1000 + rounds * 10_000..1000 + (rounds + 1) * 10_000);
        rounds += 1;
        assert!(rounds < 100, "no log begins");
    }
    die(&path, &dead);
    fs::copy(&backup, &dead).unwrap();
    for access in [Access::Create, Access::Change, Access::Read] {
        let error = Sqlite::open(&dead, Options::alone(access)).unwrap_err();
        assert!(matches!(error.cause, OpenCause::OtherLog { .. }), "{error}");
        assert!(error.to_string().lines().count() == 1 && error.to_string().contains("dead-wal"), "{error}");
    }
    // Neither was changed.
    assert_eq!(fs::read(&dead).unwrap(), fs::read(&backup).unwrap());
    // Another database's log.
    let other = folder.path().join("other");
    put(&mut open(&other).unwrap(), 0..10);
    fs::copy(&other, &dead).unwrap();
    let error = open(&dead).unwrap_err();
    assert!(matches!(error.cause, OpenCause::OtherLog { .. }), "{error}");
    // As the error says.
    fs::copy(&backup, &dead).unwrap();
    ["-wal", "-shm"].iter().for_each(|suffix| fs::remove_file(beside(&dead, suffix)).unwrap());
    let mut store = open(&dead).unwrap();
    assert_eq!((count(&mut store, 0..1100), store.record_count(at(NOW))), (1000, Some(1000)));
}

/// The log was removed, and with it all records that it had.
#[test]
fn a_log_without_its_database_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let [path, dead] = ["db", "dead"].map(|name| folder.path().join(name));
    let mut store = open(&path).unwrap();
    put(&mut store, 0..3);
    die(&path, &dead);
    let moved = folder.path().join("moved");
    fs::rename(&dead, &moved).unwrap();
    let log = fs::read(beside(&dead, "-wal")).unwrap();
    for is_empty in [false, true] {
        if is_empty {
            fs::write(&dead, "").unwrap();
        }
        for access in [Access::Create, Access::Change, Access::Read] {
            let error = Sqlite::open(&dead, Options::alone(access)).unwrap_err();
            assert!(matches!(error.cause, OpenCause::LogAlone { .. }), "{error}");
        }
        assert_eq!(fs::read(beside(&dead, "-wal")).unwrap(), log);
    }
    fs::rename(&moved, &dead).unwrap();
    assert_eq!(count(&mut open(&dead).unwrap(), 0..3), 3);
}
