//! SQLite databases that others remove, replace, lock and damage.
#![cfg(feature = "sqlite")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{call, execute, expire, report, scratch};
use pyzord_core::{Now, Progress, Store, StoreError, StoreOp, Task, Tick, UnixTime};
use pyzord_engines::sqlite::{DEFAULT_CACHE, Durability, Options, Sqlite};
use pyzord_engines::{Access, RecordStore as _};
use rusqlite::Connection;

const NOW: i64 = 1_704_800_000;

/// The size of a page, in bytes.
const PAGE: usize = 2048;

/// A second later than the last look at the files.
fn at(seconds: u64) -> Now {
    Now { wall: UnixTime::from_seconds(NOW), tick: Tick::new(Duration::from_secs(seconds)) }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, Options::alone(Access::Create)).unwrap()
}

fn sync(db: &mut Sqlite, seconds: u64) {
    assert_eq!(db.upkeep(at(seconds), Task::Sync).unwrap(), Progress::Done);
}

fn reported(db: &mut Sqlite, n: u64) -> u64 {
    execute(db, at(0), &[call(StoreOp::Read, n)])[0].unwrap().reports.count
}

/// Returns how often the digests were reported.
fn counts(db: &mut Sqlite, range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(|n| reported(db, n)).collect()
}

fn assert_refused(db: &mut Sqlite, now: Now) {
    let calls = [StoreOp::Report, StoreOp::Whitelist, StoreOp::Read].map(|op| call(op, 1));
    let answers = calls.map(|call| execute(db, now, &[call])[0]);
    assert_eq!(answers[..2], [Err(StoreError::Unavailable); 2]);
    assert_eq!(answers[2].unwrap().reports.count, 1, "reads go on");
    let trouble = db.probe(now).expect_err("the health check learns of it").to_string();
    assert!(!trouble.contains('\n'), "{trouble}");
}

/// Counts again after some syncs, as a server does them every few seconds.
fn assert_serves(db: &mut Sqlite, n: u64, seconds: u64) {
    (0..4).for_each(|part| drop(db.upkeep(at(seconds + 5 * part), Task::Sync)));
    let before = reported(db, n);
    assert!(execute(db, at(seconds + 30), &[call(StoreOp::Report, n)])[0].is_ok());
    assert_eq!(reported(db, n), before + 1);
    assert_eq!(db.check().unwrap(), [""; 0]);
}

#[test]
fn a_removed_file_gets_no_counts_and_is_saved() {
    let (_directory, path) = scratch();
    let mut db = open(&path);
    report(&mut db, at(0), 0..100);
    fs::remove_file(&path).unwrap();
    assert_refused(&mut db, at(1));
    (1..4).for_each(|time| sync(&mut db, 5 * time));
    assert_refused(&mut db, at(30));
    drop(db);
    assert!(!path.exists());
    let saved = beside(&path, ".removed");
    assert_eq!(counts(&mut open(&saved), 0..100), [1; 100]);
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Two such copies, as after a second time.
#[test]
fn a_saved_file_is_never_replaced() {
    let (_directory, path) = scratch();
    fs::write(beside(&path, ".removed"), "another file").unwrap();
    let mut db = open(&path);
    report(&mut db, at(0), 0..10);
    fs::remove_file(&path).unwrap();
    sync(&mut db, 5);
    drop(db);
    assert_eq!(counts(&mut open(&beside(&path, ".removed.2")), 0..10), [1; 10]);
}

#[test]
fn a_renamed_file_that_comes_back_is_used_again() {
    let (_directory, path) = scratch();
    let mut db = open(&path);
    report(&mut db, at(0), 0..100);
    let elsewhere = path.with_file_name("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    assert_refused(&mut db, at(1));
    sync(&mut db, 5);
    assert_refused(&mut db, at(6));
    assert!(!beside(&path, ".removed").exists(), "it has a name, so it is not copied");
    fs::rename(&elsewhere, &path).unwrap();
    report(&mut db, at(10), 0..200);
    assert!(db.probe(at(11)).is_ok());
    drop(db);
    let mut db = open(&path);
    assert_eq!(counts(&mut db, 0..200), [[2; 100], [1; 100]].concat());
    assert_eq!(db.check().unwrap(), [""; 0]);
}

/// The pages in the log of the old database must not get into the new one.
#[test]
fn a_database_that_is_put_in_the_place_is_used_alone() {
    for moves_log in [false, true] {
        let (_directory, path) = scratch();
        let mut db = open(&path);
        report(&mut db, at(0), 0..3000);
        let other = path.with_file_name("other");
        {
            let mut new = open(&other);
            report(&mut new, at(0), 0..5);
            if moves_log {
                // As of a process that was killed.
                fs::copy(&other, beside(&other, ".copy")).unwrap();
                fs::copy(beside(&other, "-wal"), beside(&other, ".copy-wal")).unwrap();
            }
        }
        if moves_log {
            fs::rename(beside(&other, ".copy"), &other).unwrap();
            fs::rename(beside(&other, ".copy-wal"), beside(&path, "-wal")).unwrap();
        }
        fs::rename(&other, &path).unwrap();
        assert_refused(&mut db, at(1));
        (1..5).for_each(|time| drop(db.upkeep(at(5 * time), Task::Sync)));
        assert_eq!(counts(&mut db, 0..6), [1, 1, 1, 1, 1, 0], "{moves_log}");
        assert_serves(&mut db, 1, 30);
        assert_eq!(db.record_count(at(60)), Some(5));
        drop(db);
        let mut db = open(&path);
        assert_eq!(counts(&mut db, 0..7), [1, 2, 1, 1, 1, 0, 0]);
        assert_eq!(db.check().unwrap(), [""; 0]);
        drop(db);
        // The old one had no name any more.
        assert_eq!(counts(&mut open(&beside(&path, ".removed")), 0..3000), [1; 3000]);
    }
}

/// Checks are answered from the open file until a database of ours is there.
#[test]
fn what_is_no_database_of_ours_is_not_used() {
    let (_directory, path) = scratch();
    let mut db = open(&path);
    report(&mut db, at(0), 0..100);
    let whole = path.with_file_name("whole");
    db.backup(&whole).unwrap();
    let whole_bytes = fs::read(&whole).unwrap();
    let other = path.with_file_name("other");
    let mut seconds = 10;
    let mut contents =
        vec![b"no database".to_vec(), Vec::new(), whole_bytes[..whole_bytes.len() / 2].to_vec()];
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    contents.push(fs::read(&other).unwrap());
    for content in contents {
        fs::write(&other, &content).unwrap();
        fs::rename(&other, &path).unwrap();
        for _ in 0..3 {
            seconds += 5;
            drop(db.upkeep(at(seconds), Task::Sync));
            assert_refused(&mut db, at(seconds));
            assert_eq!(counts(&mut db, 0..100), [1; 100]);
        }
        assert_eq!(fs::read(&path).unwrap(), content, "it is left as it is");
    }
    fs::rename(&whole, &path).unwrap();
    assert_serves(&mut db, 1, seconds + 5);
    assert_eq!(reported(&mut db, 99), 1);
}

#[test]
fn a_log_that_is_removed_is_made_again() {
    for ends in [&["-wal"][..], &["-shm"], &["-wal", "-shm"]] {
        let (_directory, path) = scratch();
        let mut db = open(&path);
        let mut clone = db.clone();
        report(&mut db, at(0), 0..100);
        assert_eq!(reported(&mut clone, 1), 1);
        ends.iter().for_each(|end| fs::remove_file(beside(&path, end)).unwrap());
        assert_refused(&mut db, at(1));
        assert_serves(&mut db, 1, 10);
        assert_eq!(reported(&mut clone, 1), 2);
        // Another process finds all of it.
        assert_eq!(reported(&mut open(&path), 1), 2, "{ends:?}");
        drop((db, clone));
        let mut db = open(&path);
        assert_eq!(counts(&mut db, 2..100), [1; 98]);
    }
}

#[test]
fn a_folder_that_is_gone_is_said_and_nothing_is_made_up() {
    let (directory, _) = scratch();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("pyzord.sqlite");
    let mut db = open(&path);
    report(&mut db, at(0), 0..10);
    fs::remove_dir_all(&folder).unwrap();
    assert_refused(&mut db, at(1));
    assert!(db.upkeep(at(5), Task::Sync).is_err());
    assert_refused(&mut db, at(10));
    assert!(!folder.exists());
}

/// Returns why a database is not opened.
fn refusal(path: &Path, access: Access) -> String {
    let error = Sqlite::open(path, Options::alone(access)).expect_err("it is opened");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.contains(path.to_str().unwrap()), "{text}");
    text
}

#[test]
fn what_cannot_be_opened_is_said_in_one_line() {
    let (directory, path) = scratch();
    let text = refusal(&path, Access::Change);
    assert!(text.contains("No such file"), "{text}");
    fs::create_dir(&path).unwrap();
    assert!(refusal(&path, Access::Create).contains("is not a file"));
    fs::remove_dir(&path).unwrap();
    let missing = directory.path().join("missing/pyzord.sqlite");
    assert!(refusal(&missing, Access::Create).contains("No such file"));
    fs::write(&path, "").unwrap();
    assert!(refusal(&path, Access::Change).contains("no records yet"));
    fs::write(&path, "[server]\nEngine = sqlite\n").unwrap();
    assert!(refusal(&path, Access::Create).contains("not a SQLite database"));
    fs::write(&path, [0xce, 0x9a, 0x57, 0x13, 0, 0, 0, 0].repeat(512)).unwrap();
    assert!(refusal(&path, Access::Create).contains("gdbm"), "{}", refusal(&path, Access::Create));
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE messages(a)").unwrap();
    assert!(refusal(&path, Access::Create).contains("messages"));
    fs::remove_file(&path).unwrap();
    drop(open(&path));
    for (pragma, words) in [
        ("PRAGMA user_version = 2", "version 2"),
        ("PRAGMA user_version = 1; PRAGMA application_id = 7", "another program"),
        ("PRAGMA application_id = 1887009380; ALTER TABLE digests ADD COLUMN more INTEGER", "`digests`"),
        ("ALTER TABLE digests DROP COLUMN more; DROP TABLE pyzord_meta", "pyzord_meta"),
    ] {
        Connection::open(&path).unwrap().execute_batch(pragma).unwrap();
        let text = refusal(&path, Access::Create);
        assert!(text.contains(words), "{text}");
    }
}

/// A file that is cut short, at any place.
#[test]
fn a_file_cut_short_is_refused_or_tells_its_damage() {
    let (_directory, path) = scratch();
    let mut db = open(&path);
    report(&mut db, at(0), 0..500);
    drop(db);
    let whole = fs::read(&path).unwrap();
    for length in [1, 15, 16, 60, 99, 100, 511, 1023, 1024, 1025, 2048, whole.len() / 2, whole.len() - PAGE] {
        fs::write(&path, &whole[..length]).unwrap();
        match Sqlite::open(&path, Options::alone(Access::Create)) {
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            Ok(mut db) => {
                // What is there is served, and nothing else is made up.
                for answer in (0..500).map(|n| execute(&mut db, at(0), &[call(StoreOp::Read, n)])[0]) {
                    assert!(answer.is_err() || answer.is_ok_and(|record| record.reports.count == 1));
                }
                assert!(db.check().map_or(true, |wrong| !wrong.is_empty()), "{length}");
            }
        }
    }
}

/// With the rights of another user than root, which may write anything.
#[test]
fn a_file_that_may_not_be_written_is_said() {
    let (directory, path) = scratch();
    let mut db = open(&path);
    report(&mut db, at(0), 0..10);
    drop(db);
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&path, 0o400);
    if File::options().write(true).open(&path).is_ok() {
        return;
    }
    let text = refusal(&path, Access::Create);
    assert!(text.contains("must be readable and writable"), "{text}");
    set(&path, 0o600);
    set(directory.path(), 0o500);
    let text = refusal(&path, Access::Create);
    assert!(text.contains("must be readable and writable"), "{text}");
    set(directory.path(), 0o700);
}

/// Two servers that start on a new file.
#[test]
fn many_make_one_database() {
    for _ in 0..20 {
        let (_directory, path) = scratch();
        let opened: Vec<_> = std::thread::scope(|scope| {
            let openers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| Sqlite::open(&path, Options::alone(Access::Create)))).collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        for (n, db) in (0..).zip(opened) {
            report(&mut db.unwrap(), at(0), n..n + 5);
        }
        assert_eq!(counts(&mut open(&path), 0..8), [1, 2, 3, 4, 4, 3, 2, 1]);
    }
}

/// Another process has locked it, and is gone again.
#[test]
fn a_lock_of_another_refuses_counts_and_no_reads() {
    for durability in [Durability::Deferred, Durability::Strict] {
        let (_directory, path) = scratch();
        let options = Options { access: Access::Create, durability, cache: DEFAULT_CACHE, handles: 1 };
        let mut db = Sqlite::open(&path, options).unwrap();
        report(&mut db, at(0), 0..10);
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE; UPDATE digests SET r_count = 7").unwrap();
        assert_refused(&mut db, at(1));
        drop(other);
        assert_eq!(counts(&mut db, 0..10), [1; 10]);
        report(&mut db, at(2), 0..10);
        // A reader keeps its state, and the log grows.
        let other = Connection::open(&path).unwrap();
        let old: i64 = {
            other.execute_batch("BEGIN").unwrap();
            other.query_row("SELECT sum(r_count) FROM digests", [], |row| row.get(0)).unwrap()
        };
        report(&mut db, at(3), 0..4000);
        let sum = "SELECT sum(r_count) FROM digests";
        assert_eq!(other.query_row(sum, [], |row| row.get::<_, i64>(0)), Ok(old));
        sync(&mut db, 5);
        drop(other);
        report(&mut db, at(6), 0..10);
        assert_eq!(db.check().unwrap(), [""; 0]);
    }
}

/// Rounds of expiry on a file that another tool has made without incremental vacuum, or with free pages that are none.
#[test]
fn expiry_ends_on_any_file() {
    let (_directory, path) = scratch();
    let mut db = open(&path);
    let mut insert = |range| report(&mut db, at(0), range);
    insert(0..80_000);
    drop(db);
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "PRAGMA journal_mode = delete; PRAGMA auto_vacuum = 0; VACUUM; PRAGMA journal_mode = wal",
        )
        .unwrap();
    let mut db = open(&path);
    let slices = expire(&mut db, NOW + 1).unwrap();
    assert!(slices < 2000, "{slices}");
    assert_eq!(db.record_count(at(0)), Some(0));
}

/// The free pages go back to the system in steps.
#[test]
fn a_file_shrinks_after_a_great_expiry() {
    let (_directory, path) = scratch();
    let mut db = open(&path);
    report(&mut db, at(0), 0..80_000);
    expire(&mut db, NOW + 1).unwrap();
    drop(db);
    let pages = fs::metadata(&path).unwrap().len() / PAGE as u64;
    assert!(pages < 5000, "{pages} pages");
}

/// What a process that was killed in its creation can leave.
#[test]
fn an_empty_file_becomes_a_database() {
    let (_directory, path) = scratch();
    File::create(&path).unwrap();
    File::create(beside(&path, "-wal")).unwrap().write_all(&[7; 100]).unwrap();
    let mut db = open(&path);
    report(&mut db, at(0), 0..10);
    drop(db);
    assert_eq!(counts(&mut open(&path), 0..10), [1; 10]);
}

/// A copy is that of one moment, is whole, and replaces nothing.
#[test]
fn a_copy_is_made_beside_counts() {
    let (_directory, path) = scratch();
    let mut db = open(&path);
    report(&mut db, at(0), 0..5000);
    let copy = path.with_file_name("copy");
    std::thread::scope(|scope| {
        let mut writer = db.clone();
        let counting = scope.spawn(move || report(&mut writer, at(0), 0..5000));
        db.backup(&copy).unwrap();
        counting.join().unwrap();
    });
    let before = fs::read(&copy).unwrap();
    let error = db.backup(&copy).unwrap_err().to_string();
    assert!(error.contains("exists") && fs::read(&copy).unwrap() == before, "{error}");
    let error = db.backup(&path.with_file_name("missing/copy")).unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    let mut copy = open(&copy);
    assert!(counts(&mut copy, 0..5000).into_iter().all(|count| count == 1 || count == 2));
    assert_eq!((copy.check().unwrap(), copy.estimate()), (Vec::new(), Some(5000)));
}

/// A page that contradicts others concerns its own digests alone.
#[test]
fn digests_on_sound_pages_are_served_beside_a_damaged_one() {
    const DIGESTS: u64 = 4000;
    let (_directory, path) = scratch();
    report(&mut open(&path), at(0), 0..DIGESTS);
    let whole = fs::read(&path).unwrap();
    let kind = |page: usize| whole[page * PAGE];
    // A leaf of an index, in which a table without row numbers is. The first ones have figures and free pages.
    let leaves: Vec<_> = (4..whole.len() / PAGE).filter(|page| kind(*page) == 0x0a).collect();
    assert!(leaves.len() > 50);
    for page in leaves.into_iter().step_by(25) {
        let cells = u64::from(whole[page * PAGE + 4]);
        let mut bytes = whole.clone();
        bytes[page * PAGE..][..512].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        let mut db = open(&path);
        // Each beside others in one batch, some of which are on that page.
        for op in [StoreOp::Read, StoreOp::Report] {
            let calls: Vec<_> = (0..DIGESTS).map(|n| call(op, n)).collect();
            let answers = calls.chunks(64).flat_map(|calls| execute(&mut db, at(0), calls));
            let refused = answers.filter(Result::is_err).count() as u64;
            // A count may have to move rows to or from the page.
            let most = if op == StoreOp::Read { cells + 2 } else { 3 * (cells + 2) };
            assert!((1..=most).contains(&refused), "{op:?}: {refused} of {cells} on page {page}");
        }
        let counted = counts_or_errors(&mut db, DIGESTS);
        assert!(counted.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable) | Ok(1 | 2))));
        assert!(!db.check().unwrap().is_empty());
        // It is told from a round of expiry and from a scan, which end.
        let told = expire(&mut db, NOW - 1).unwrap_err().to_string();
        assert!(told.contains("check-database") && !told.contains('\n'), "{told}");
        let (mut found, mut steps) = (Vec::new(), 0..100);
        while db.scan(&mut found).is_ok_and(|progress| progress == Progress::More) {
            assert!(steps.next().is_some(), "a scan has no end");
        }
    }
}

fn counts_or_errors(db: &mut Sqlite, digests: u64) -> Vec<Result<u64, StoreError>> {
    let answer = |n| execute(db, at(0), &[call(StoreOp::Read, n)])[0].map(|record| record.reports.count);
    (0..digests).map(answer).collect()
}

/// A server that was killed while its log was moved did not start: the database alone was shorter than its head says.
#[test]
fn a_log_that_is_partly_moved_is_used() {
    let (_directory, path) = scratch();
    report(&mut open(&path), at(0), 0..10);
    let few = fs::read(&path).unwrap();
    let mut db = open(&path);
    report(&mut db, at(0), 10..500);
    let log = fs::read(beside(&path, "-wal")).unwrap();
    drop(db);
    let many = fs::read(&path).unwrap();
    assert!(few.len() < many.len() / 2);
    for moved in (0..many.len() / PAGE).step_by(3) {
        let mut part = many[..moved * PAGE].to_vec();
        part.extend_from_slice(few.get(part.len()..).unwrap_or_default());
        fs::write(&path, part).unwrap();
        fs::write(beside(&path, "-wal"), &log).unwrap();
        let mut db = open(&path);
        assert_eq!(counts(&mut db, 0..500), [1; 500], "{moved} pages");
        assert_eq!(db.check().unwrap(), [""; 0]);
    }
}
