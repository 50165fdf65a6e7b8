//! What only the gdbm engine does: old values, slices of expiry, files that shrink, and files that are not
//! databases.
#![cfg(feature = "gdbm")]

mod common;

use std::fs;
use std::io;

use common::{at, call, digest, entries, execute, expire, others, report, scratch, write_raw};
use pyzord_core::{Progress, Record, Store, StoreError, StoreOp, Task, UnixTime};
use pyzord_engines::{Access, Gdbm, OpenCause};

/// A January day: local time is unambiguous then, wherever the tests run.
const NOW: i64 = 1_704_800_000;

/// Python turned a v0 record that was reported again into a v1 record with Unix seconds.
#[test]
fn old_records_are_read_and_written_as_v1() {
    let (_directory, path) = scratch();
    let values: [&[u8]; 2] = [b"3,1000000000,1000000001", b"1,3,1000000000,1000000001,1,0,0"];
    write_raw(&path, (0..).zip(values).map(|(n, value)| (digest(n).to_string(), value)));
    let mut db = Gdbm::open(&path).unwrap();
    for n in [0, 1] {
        let calls = [StoreOp::Report, StoreOp::Read].map(|op| call(op, n));
        let record = execute(&mut db, at(NOW), &calls)[1].unwrap();
        assert_eq!(record.reports.count, 4);
        assert_eq!(record.reports.entered, Some(UnixTime::from_seconds(1_000_000_000)));
        assert_eq!(record.reports.updated, Some(UnixTime::from_seconds(NOW)));
        assert_eq!(record.whitelists.entered, None);
    }
    assert!(entries(&db).iter().all(|(_, value)| value.starts_with(b"1,4,2001-09-0")));
}

/// A request waits for one slice at most, so a slice must be short in a database of any size.
#[test]
fn expiry_goes_in_short_slices_and_lets_requests_in_between() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(NOW), 0..2000);
    report(&mut db, at(NOW + 1000), 500..2000);
    let task = Task::Expire(UnixTime::from_seconds(NOW + 500));
    let mut left = entries(&db).len();
    for slice in 2000.. {
        let progress = db.upkeep(at(NOW), task).unwrap();
        let now_left = entries(&db).len();
        assert!(left - now_left <= 128, "{} removed at once", left - now_left);
        left = now_left;
        report(&mut db, at(NOW + 1000), slice..slice + 1);
        left += 1;
        if progress == Progress::Done {
            assert!(slice > 2000 + 10, "{slice} slices");
            break;
        }
    }
    let old = (0..500)
        .filter(|n| execute(&mut db, at(NOW), &[call(StoreOp::Read, *n)])[0].unwrap().reports.count > 0);
    assert_eq!(old.count(), 0);
}

#[test]
fn a_file_shrinks_when_most_of_it_expired_and_only_then() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(NOW), 0..5000);
    report(&mut db, at(NOW + 1000), 0..3000);
    let size = || fs::metadata(&path).unwrap().len();
    let full = size();
    expire(&mut db, NOW + 500).unwrap();
    assert_eq!((entries(&db).len(), size() >= full), (3000, true));
    report(&mut db, at(NOW + 2000), 0..500);
    expire(&mut db, NOW + 1500).unwrap();
    assert_eq!(entries(&db).len(), 500);
    assert!(size() < full / 4, "{} of {full} bytes", size());
    assert_eq!(others(&path), [""; 0].map(std::path::PathBuf::from));
    // Reports after the reorganization reach the new file.
    report(&mut db, at(NOW + 3000), 9000..9100);
    assert!(db.upkeep(at(NOW), Task::Sync).is_ok());
    drop(db);
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 600);
}

/// An operator removed the key at which a round of expiry stood, and the rest of the round waited for the
/// next day.
#[test]
fn a_round_whose_key_vanishes_begins_again_and_ends() {
    for kept in [0, 3, 1000] {
        let (_directory, path) = scratch();
        let mut db = Gdbm::open(&path).unwrap();
        report(&mut db, at(NOW), 0..1000);
        let task = Task::Expire(UnixTime::from_seconds(NOW + 1));
        assert_eq!(db.upkeep(at(NOW), task).unwrap(), Progress::More);
        for (number, (key, _)) in entries(&db).into_iter().enumerate() {
            assert!(kept == 1000 || number % 10 < kept || db.remove(&key).unwrap());
        }
        let slices = (1..1000).find(|_| db.upkeep(at(NOW), task).unwrap() == Progress::Done);
        assert!(slices.is_some(), "a round that does not end");
        assert_eq!(entries(&db).len(), 0);
    }
}

/// A round collects expired keys and removes them later; a record that is reported in between must stay.
#[test]
fn a_record_reported_after_it_was_noted_as_expired_stays() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(NOW), 0..100);
    let task = Task::Expire(UnixTime::from_seconds(NOW + 500));
    assert_eq!(db.upkeep(at(NOW), task).unwrap(), Progress::More);
    assert_eq!(entries(&db).len(), 100);
    report(&mut db, at(NOW + 1000), 0..10);
    while db.upkeep(at(NOW), task).unwrap() == Progress::More {}
    assert_eq!(entries(&db).len(), 10);
}

#[test]
fn records_and_keys_can_be_put_and_removed_as_they_are() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    let mut record = Record::default();
    record.whitelists.add(UnixTime::from_micros(NOW * 1_000_000 + 1));
    db.put(digest(1), &record).unwrap();
    assert_eq!(execute(&mut db, at(NOW), &[call(StoreOp::Read, 1)]), [Ok(record)]);
    assert!(db.remove(&digest(1).hex()).unwrap());
    assert!(!db.remove(&digest(1).hex()).unwrap());
    assert!(!db.remove(b"no digest\0").unwrap());
    assert_eq!(entries(&db), []);
}

#[test]
fn what_cannot_be_opened_is_named_with_the_cause() {
    let (directory, path) = scratch();
    let cause = |path: &std::path::Path| Gdbm::open(path).unwrap_err().cause;
    assert!(matches!(cause(directory.path()), OpenCause::NotAFile));
    assert!(matches!(cause("/dev/null".as_ref()), OpenCause::NotAFile));
    let missing = cause(&directory.path().join("missing/pyzord.db"));
    assert!(matches!(missing, OpenCause::Io(error) if error.kind() == io::ErrorKind::NotFound));
    fs::write(&path, "some other file, longer than any header of a database is").unwrap();
    let error = Gdbm::open(&path).unwrap_err();
    let expected = "is not a usable gdbm file: it begins with 0x656d6f73, which no gdbm file does";
    assert_eq!(error.to_string(), format!("database {} {expected}", path.display()));
    fs::write(&path, "short").unwrap();
    assert!(matches!(cause(&path), OpenCause::NotADatabase(_)));
}

#[test]
fn reading_never_creates_a_database() {
    let (_directory, path) = scratch();
    for access in [Access::Read, Access::Change] {
        let error = Gdbm::open_with(&path, access).unwrap_err();
        assert!(matches!(error.cause, OpenCause::Io(error) if error.kind() == io::ErrorKind::NotFound));
        fs::write(&path, "").unwrap();
        assert!(matches!(Gdbm::open_with(&path, access).unwrap_err().cause, OpenCause::Empty));
        fs::remove_file(&path).unwrap();
    }
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..3);
    let first = Gdbm::open_with(&path, Access::Read).unwrap();
    let second = Gdbm::open_with(&path, Access::Read).unwrap();
    assert_eq!((entries(&first).len(), entries(&second).len()), (3, 3));
    assert!(first.put(digest(1), &Record::default()).is_err());
    assert!(matches!(Gdbm::open_with(&path, Access::Change).unwrap_err().cause, OpenCause::InUse));
    assert!(first.remove(&digest(1).hex()).is_err());
}

#[test]
fn an_empty_file_is_a_new_database() {
    let (_directory, path) = scratch();
    fs::write(&path, "").unwrap();
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..1);
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 1);
}

/// libgdbm finds some damage only when it reads the key: requests are answered meanwhile, and the next upkeep
/// recovers the database, once.
#[test]
fn damage_found_while_serving_is_recovered_once() {
    use std::os::unix::fs::FileExt;
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(NOW), 0..100);
    let spoil = |n: u64| {
        let bytes = fs::read(&path).unwrap();
        let key = digest(n).hex();
        let place = bytes.windows(40).position(|window| window == key).unwrap();
        // Not the first four bytes: the bucket has these, too, and libgdbm compares them first.
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(b"!", place as u64 + 20)
            .unwrap();
    };
    spoil(7);
    assert!(expire(&mut db, 0).is_err());
    assert_eq!(execute(&mut db, at(NOW), &[call(StoreOp::Report, 1)]), [Err(StoreError::Unavailable)]);
    expire(&mut db, 0).unwrap();
    let calls = [StoreOp::Report, StoreOp::Read].map(|op| call(op, 1));
    assert_eq!(execute(&mut db, at(NOW), &calls)[1].unwrap().reports.count, 2);
    assert_eq!(entries(&db).len(), 99, "the key that was spoiled is lost");
    assert_eq!(others(&path).len(), 1, "the backup");
    spoil(8);
    assert!(expire(&mut db, 0).is_err());
    assert!(db.upkeep(at(NOW), Task::Sync).unwrap_err().to_string().contains("must be restarted"));
    assert_eq!(execute(&mut db, at(NOW), &[call(StoreOp::Read, 1)]), [Err(StoreError::Unavailable)]);
    assert_eq!(others(&path).len(), 1, "no second backup");
}
