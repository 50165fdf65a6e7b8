//! The gdbm engine against the model, and what it does with values that are not its own.
#![cfg(feature = "gdbm")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::fs;
use std::io;

use common::{at, call, digest, entries, execute, expire, others, report, scratch};
use proptest::prelude::*;
use pyzord_core::{
    Digest, MemoryStore, Progress, Record, Store, StoreCall, StoreError, StoreOp, Task, UnixTime,
};
use pyzord_engines::{Access, Gdbm, OpenCause};

/// A January day: local time is unambiguous then, wherever the tests run.
const NOW: i64 = 1_704_800_000;

fn ops() -> impl Strategy<Value = Vec<StoreCall>> {
    let op = prop_oneof![Just(StoreOp::Read), Just(StoreOp::Report), Just(StoreOp::Whitelist)];
    proptest::collection::vec((op, 0_u64..40).prop_map(|(op, n)| call(op, n)), 0..64)
}

/// One thing that happens to a store.
#[derive(Clone, Debug)]
enum Event {
    Batch(Vec<StoreCall>),
    Sync,
    /// Everything older than this many seconds.
    Expire(i64),
    Reopen,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => ops().prop_map(Event::Batch),
        1 => Just(Event::Sync),
        1 => (0_i64..2000).prop_map(Event::Expire),
        1 => Just(Event::Reopen),
    ];
    proptest::collection::vec(event, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn it_does_what_the_model_does(events in events()) {
        let (_directory, path) = scratch();
        let (mut db, mut model) = (Some(Gdbm::open(&path).unwrap()), MemoryStore::new());
        for (second, event) in (NOW..).step_by(100).zip(events) {
            let open = db.as_mut().unwrap();
            match event {
                Event::Batch(calls) => {
                    prop_assert_eq!(execute(open, at(second), &calls), execute(&mut model, at(second), &calls));
                }
                Event::Sync => prop_assert!(open.upkeep(at(second), Task::Sync).is_ok()),
                Event::Expire(age) => {
                    expire(open, second - age).unwrap();
                    expire(&mut model, second - age).unwrap();
                }
                Event::Reopen => {
                    drop(db.take());
                    db = Some(Gdbm::open(&path).unwrap());
                }
            }
        }
        let mut db = db.unwrap();
        let expected: Vec<(Digest, Record)> = model.records().collect();
        prop_assert_eq!(entries(&db).len(), expected.len());
        for (digest, record) in expected {
            let read = execute(&mut db, at(NOW), &[StoreCall { digest, op: StoreOp::Read }]);
            prop_assert_eq!(read, [Ok(record)]);
        }
    }
}

#[test]
fn clones_are_one_database() {
    let (_directory, path) = scratch();
    let db = Gdbm::open(&path).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut clone = db.clone();
            scope.spawn(move || (0..100).for_each(|_| report(&mut clone, at(NOW), 0..64)));
        }
    });
    let mut clone = db.clone();
    drop(db);
    let record = execute(&mut clone, at(NOW), &[call(StoreOp::Read, 63)])[0].unwrap();
    assert_eq!(record.reports.count, 400);
}

/// Opens a database that holds `values`, the first under the digest numbered 0 and so on.
fn holding(path: &std::path::Path, values: &[&[u8]]) -> Gdbm {
    const SCRIPT: &str = "
import sys, dbm.gnu
with dbm.gnu.open(sys.argv[1].split('|')[0], 'c') as db:
    for pair in sys.argv[1].split('|')[1:]:
        key, value = pair.split('=')
        db[bytes.fromhex(key)] = bytes.fromhex(value)
";
    let mut argument = path.as_os_str().to_owned();
    for (n, value) in (0..).zip(values) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        argument.push(format!("|{}={}", hex(&digest(n).hex()), hex(value)));
    }
    common::run_python(SCRIPT, argument.as_ref(), "UTC");
    Gdbm::open(path).unwrap()
}

#[test]
fn junk_is_answered_as_unreadable_and_left_as_it_is() {
    let (_directory, path) = scratch();
    let junk: [&[u8]; 6] = [
        b"",
        b"junk",
        b"\xff\x00\xfe",
        b"1,-1,None,None,0,None,None",
        b"7,1,2,3,4,5,6",
        b"1,1,2023-02-30 00:00:00,None,0,None,None",
    ];
    let mut db = holding(&path, &junk);
    let before = entries(&db);
    for op in [StoreOp::Read, StoreOp::Report, StoreOp::Whitelist] {
        let calls: Vec<_> = (0..6).map(|n| call(op, n)).collect();
        assert_eq!(execute(&mut db, at(NOW), &calls), [Err(StoreError::Unreadable); 6]);
    }
    expire(&mut db, NOW * 2).unwrap();
    assert_eq!(entries(&db), before);
}

/// Python turned a v0 record that was reported again into a v1 record with Unix seconds.
#[test]
fn old_records_are_read_and_written_as_v1() {
    let (_directory, path) = scratch();
    let mut db = holding(&path, &[b"3,1000000000,1000000001", b"1,3,1000000000,1000000001,1,0,0"]);
    for n in [0, 1] {
        let record = execute(&mut db, at(NOW), &[call(StoreOp::Report, n)])[0].unwrap();
        assert_eq!(record.reports.count, 4);
        assert_eq!(record.reports.entered, Some(UnixTime::from_seconds(1_000_000_000)));
        assert_eq!(record.reports.updated, Some(UnixTime::from_seconds(NOW)));
        assert_eq!(record.whitelists.entered, None);
    }
    assert!(entries(&db).iter().all(|(_, value)| value.starts_with(b"1,4,2001-09-0")));
}

/// A request waits for one slice at most, so a slice must be short, however large the database.
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
    // What comes after the reorganization reaches the new file.
    report(&mut db, at(NOW + 3000), 9000..9100);
    assert!(db.upkeep(at(NOW), Task::Sync).is_ok());
    drop(db);
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 600);
}

#[test]
fn a_walk_whose_key_vanishes_ends() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(NOW), 0..1000);
    let task = Task::Expire(UnixTime::from_seconds(NOW));
    assert_eq!(db.upkeep(at(NOW), task), Ok(Progress::More));
    for (key, _) in entries(&db) {
        assert_eq!(db.remove(&key), Ok(true));
    }
    assert_eq!(db.upkeep(at(NOW), task), Ok(Progress::Done));
}

/// The walk notes expired keys and removes them later; what is reported in between must stay.
#[test]
fn a_record_reported_after_it_was_noted_as_expired_stays() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(NOW), 0..100);
    let task = Task::Expire(UnixTime::from_seconds(NOW + 500));
    assert_eq!(db.upkeep(at(NOW), task), Ok(Progress::More));
    assert_eq!(entries(&db).len(), 100);
    report(&mut db, at(NOW + 1000), 0..10);
    assert_eq!(db.upkeep(at(NOW), task), Ok(Progress::Done));
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
    assert_eq!(db.remove(&digest(1).hex()), Ok(true));
    assert_eq!(db.remove(&digest(1).hex()), Ok(false));
    assert_eq!(db.remove(b"no digest\0"), Ok(false));
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
    for access in [Access::Read, Access::Write] {
        let error = Gdbm::open_existing(&path, access).unwrap_err();
        assert!(matches!(error.cause, OpenCause::Io(error) if error.kind() == io::ErrorKind::NotFound));
        fs::write(&path, "").unwrap();
        assert!(matches!(Gdbm::open_existing(&path, access).unwrap_err().cause, OpenCause::Empty));
        fs::remove_file(&path).unwrap();
    }
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..3);
    let first = Gdbm::open_existing(&path, Access::Read).unwrap();
    let second = Gdbm::open_existing(&path, Access::Read).unwrap();
    assert_eq!((entries(&first).len(), entries(&second).len()), (3, 3));
    assert!(first.put(digest(1), &Record::default()).is_err());
    assert!(matches!(Gdbm::open_existing(&path, Access::Write).unwrap_err().cause, OpenCause::InUse));
    assert!(first.remove(&digest(1).hex()).is_err());
}

#[test]
fn an_empty_file_is_a_new_database() {
    let (_directory, path) = scratch();
    fs::write(&path, "").unwrap();
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..1);
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 1);
}

/// Damage that libgdbm finds only when it comes to a key: requests are answered meanwhile, and the next upkeep
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
        // Not the first bytes: those are in the bucket, too, where they are compared first.
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
    assert_eq!(execute(&mut db, at(NOW), &[call(StoreOp::Report, 1)])[0].unwrap().reports.count, 2);
    assert_eq!(entries(&db).len(), 100);
    assert_eq!(others(&path).len(), 1, "the backup");
    spoil(8);
    assert!(expire(&mut db, 0).is_err());
    assert!(db.upkeep(at(NOW), Task::Sync).unwrap_err().0.contains("must be restarted"));
    assert_eq!(execute(&mut db, at(NOW), &[call(StoreOp::Read, 1)]), [Err(StoreError::Unavailable)]);
    assert_eq!(others(&path).len(), 1, "no second backup");
}
