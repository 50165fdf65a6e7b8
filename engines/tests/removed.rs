//! A database whose file is removed, renamed or replaced while it is open.
#![cfg(feature = "gdbm")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{call, digest, entries, execute, expire, others, report, scratch};
use pyzord_core::{Now, Progress, Record, Store, StoreError, StoreOp, Task, Tick, UnixTime};
use pyzord_engines::{Access, Gdbm, OpenCause, RecordStore};

const NOW: i64 = 1_704_800_000;

/// A second later than the last look at the file.
fn at(seconds: u64) -> Now {
    Now { wall: UnixTime::from_seconds(NOW), tick: Tick::new(Duration::from_secs(seconds)) }
}

fn sync(db: &mut Gdbm, seconds: u64) {
    assert_eq!(db.upkeep(at(seconds), Task::Sync).unwrap(), Progress::Done);
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn assert_refused(db: &mut Gdbm, now: Now) {
    let calls = [StoreOp::Report, StoreOp::Whitelist, StoreOp::Read].map(|op| call(op, 1));
    let answers = execute(db, now, &calls);
    assert_eq!(answers[..2], [Err(StoreError::Unavailable); 2]);
    assert_eq!(answers[2].unwrap().reports.count, 1, "reads go on");
    let trouble = db.probe(now).expect_err("the health check learns of it").to_string();
    assert!(trouble.contains("while pyzord had it open"), "{trouble}");
    assert!(Gdbm::put(db, digest(1), &Record::default()).is_err());
    assert!(Gdbm::remove(db, &digest(1).hex()).is_err());
    assert!(db.upkeep(now, Task::Expire(UnixTime::from_seconds(NOW + 1))).is_err(), "nothing expires");
}

/// 100 reports were acknowledged into a file that had no name any more, and were gone after the stop.
#[test]
fn a_removed_file_gets_no_counts_and_is_saved() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..100);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(&path).unwrap();
    assert_refused(&mut db, at(1));
    for seconds in [5, 10, 15] {
        sync(&mut db, seconds);
    }
    let saved = beside(&path, ".removed");
    assert_eq!(others(&path), std::slice::from_ref(&saved), "one copy, and no new database");
    assert_eq!(fs::metadata(&saved).unwrap().mode() & 0o777, 0o640);
    drop(db);
    assert_eq!(entries(&Gdbm::open(&saved).unwrap()).len(), 100);
}

#[test]
fn a_file_that_is_removed_just_before_a_stop_is_saved() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..100);
    fs::write(beside(&path, ".removed"), "another file").unwrap();
    fs::remove_file(&path).unwrap();
    sync(&mut db, 0);
    drop(db);
    assert_eq!(entries(&Gdbm::open(&beside(&path, ".removed.2")).unwrap()).len(), 100);
}

#[test]
fn a_file_that_is_renamed_and_comes_back_is_used_again() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..100);
    let elsewhere = path.with_file_name("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    assert_refused(&mut db, at(1));
    sync(&mut db, 5);
    assert_eq!(others(&path), std::slice::from_ref(&elsewhere), "it has a name, so it is not copied");
    fs::rename(&elsewhere, &path).unwrap();
    report(&mut db, at(7), 0..200);
    assert!(db.probe(at(8)).is_ok());
    drop(db);
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 200);
}

/// Makes a database with 5 records beside `path`, and renames it to that.
fn replace(path: &Path) {
    let other = path.with_file_name("other");
    report(&mut Gdbm::open(&other).unwrap(), at(0), 0..5);
    fs::rename(other, path).unwrap();
}

#[test]
fn a_database_that_is_put_in_the_place_is_used() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..100);
    replace(&path);
    assert_refused(&mut db, at(1));
    sync(&mut db, 3);
    assert_refused(&mut db, at(4));
    sync(&mut db, 10);
    assert_eq!(entries(&db).len(), 5);
    report(&mut db, at(11), 0..7);
    expire(&mut db, NOW - 1).unwrap();
    drop(db);
    let counts = entries(&Gdbm::open(&path).unwrap());
    assert_eq!((counts.len(), counts.iter().filter(|(_, value)| value.starts_with(b"1,2,")).count()), (7, 5));
    assert_eq!(entries(&Gdbm::open(&beside(&path, ".removed")).unwrap()).len(), 100);
}

/// A copy that is under way must not be recovered: that would rewrite what is there so far.
#[test]
fn an_incomplete_copy_is_left_alone_until_it_is_complete() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..1000);
    sync(&mut db, 1);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    sync(&mut db, 5);
    for (step, length) in [0, whole.len() / 3, whole.len() / 2].into_iter().enumerate() {
        fs::write(&path, &whole[..length]).unwrap();
        for part in 0..3 {
            sync(&mut db, 10 + 20 * step as u64 + 5 * part);
            assert_eq!(fs::read(&path).unwrap(), whole[..length]);
            assert!(db.probe(at(100)).is_err());
        }
    }
    fs::write(&path, &whole).unwrap();
    (0..3).for_each(|part| sync(&mut db, 200 + 5 * part));
    report(&mut db, at(300), 0..1001);
    assert_eq!(others(&path).len(), 1);
}

#[test]
fn a_database_that_another_process_uses_is_not_taken() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..10);
    replace(&path);
    let other = Gdbm::open(&path).unwrap();
    (1..4).for_each(|time| sync(&mut db, 5 * time));
    assert_refused(&mut db, at(30));
    drop(other);
    sync(&mut db, 35);
    report(&mut db, at(36), 0..10);
}

#[test]
fn a_folder_that_is_gone_is_said_and_nothing_is_made_up() {
    let (directory, _) = scratch();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("pyzord.db");
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..10);
    fs::remove_dir_all(&folder).unwrap();
    assert_refused(&mut db, at(1));
    let failure = db.upkeep(at(5), Task::Sync).unwrap_err().to_string();
    assert!(failure.contains("cannot be saved") && failure.contains("/proc/"), "{failure}");
    fs::create_dir(&folder).unwrap();
    sync(&mut db, 10);
    assert_eq!(entries(&Gdbm::open(&beside(&path, ".removed")).unwrap()).len(), 10);
}

/// A tool without upkeep finds out, too.
#[test]
fn an_import_into_a_removed_file_fails() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let mut results = Vec::new();
    RecordStore::put(&mut db, &[(digest(1), Record::default())], &mut results);
    assert!(results[0].is_err());
}

/// A rewrite put the new file in the place of the link, on the volume that had no room for it.
#[test]
fn a_symbolic_link_stays_one() {
    let (directory, path) = scratch();
    let volume = directory.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let real = volume.join("real.db");
    symlink(&real, &path).unwrap();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..3000);
    let before = fs::metadata(&real).unwrap().ino();
    expire(&mut db, NOW + 1).unwrap();
    let link = fs::symlink_metadata(&path).unwrap();
    assert!(link.is_symlink() && fs::metadata(&real).unwrap().ino() != before, "it was rewritten");
    report(&mut db, at(5), 0..10);
    assert!(matches!(Gdbm::open_with(&real, Access::Change).unwrap_err().cause, OpenCause::InUse));
    drop(db);
    // A recovery keeps its backup beside the file, too.
    let mut bytes = fs::read(&real).unwrap();
    let address =
        |at: usize| usize::try_from(u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let bucket = address(address(8));
    bytes[bucket + 108] ^= 1;
    fs::write(&real, bytes).unwrap();
    let db = Gdbm::open(&path).unwrap();
    assert_eq!(entries(&db).len(), 10);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(others(&real), [beside(&real, ".~1~")]);
    // A link that leads elsewhere is another database.
    let mut db = db;
    fs::remove_file(&path).unwrap();
    symlink(volume.join("missing"), &path).unwrap();
    assert!(db.probe(at(100)).is_err());
    sync(&mut db, 105);
    assert_eq!(others(&real).len(), 1, "the file has a name, so it is not copied");
}

/// A rewrite took a copy of that name for its own temporary file when it failed, and a start called it one.
#[test]
fn a_copy_beside_the_database_stays() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(0), 0..3000);
    let copy = beside(&path, ".backup");
    fs::copy(&path, &copy).unwrap();
    expire(&mut db, NOW + 1).unwrap();
    drop(db);
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 0);
    assert_eq!(others(&path), [copy]);
}
