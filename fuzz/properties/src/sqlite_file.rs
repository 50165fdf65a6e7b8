use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{Digest, Now, Progress, Store as _, StoreAnswer, StoreCall, StoreOp, Task, Tick, UnixTime};
use pyzord_engines::sqlite::{Options, Sqlite};
use pyzord_engines::{Access, RecordStore as _};

/// Records in some ten pages, and those that are counted in the log.
const RECORDS: u8 = 200;
const IN_LOG: u8 = 40;
/// More steps than any walk over these files needs.
const STEPS: u32 = 1000;

const NOW: Now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::new(Duration::ZERO) };

/// What is done to a sound database or its log.
#[derive(Arbitrary, Debug)]
struct Change<'a> {
    is_log: bool,
    contents: Contents<'a>,
}

#[derive(Arbitrary, Debug)]
enum Contents<'a> {
    Bytes(&'a [u8]),
    Cut(u16),
    /// A part of another page in the place of a page: as a disk that writes to the wrong place.
    Moved(u8, u8),
    Damaged(Vec<Damage>),
}

/// One byte. Half of the places are in the head of a page or of a frame, where all numbers are.
#[derive(Arbitrary, Debug)]
struct Damage {
    page: u8,
    at: u16,
    is_in_head: bool,
    value: u8,
    is_xor: bool,
}

/// Any database, and any log, is refused in one line or used: every call ends, none panics, and a count that is
/// acknowledged is read back if the pages are sound.
pub fn sqlite_file(data: &[u8]) {
    let Ok(change) = Change::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pyzord.sqlite");
    let [database, log] = change.files();
    fs::write(&path, database).expect("a temporary file");
    fs::write(log_of(&path), log).expect("a temporary file");
    // What was refused leaves the files as they are, so that it is refused again.
    for _ in 0..2 {
        match Sqlite::open(&path, Options::alone(Access::Change)) {
            Ok(mut store) => work(&mut store, folder.path()),
            Err(error) => one_line(&error),
        }
    }
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("sqlite-wal")
}

fn one_line(error: &dyn Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// Uses the database as a server and the tools do.
fn work(store: &mut Sqlite, folder: &Path) {
    // In pages that contradict each other, a digest can be in two places.
    let is_sound = store.check().is_ok_and(|wrong| wrong.is_empty());
    let (mut found, mut steps) = (Vec::new(), 0..STEPS);
    while let Ok(Progress::More) = store.scan(&mut found) {
        assert!(steps.next().is_some(), "a scan has no end");
    }
    found.iter().filter_map(|entry| entry.record.as_ref().err()).for_each(|error| one_line(error));
    for number in 0..RECORDS {
        let _ = ask(store, number, StoreOp::Read);
    }
    for number in (0..RECORDS).step_by(16).chain([0xee]) {
        for op in [StoreOp::Report, StoreOp::Whitelist] {
            let before = ask(store, number, StoreOp::Read);
            if let (Ok(mut expected), Ok(_)) = (before, ask(store, number, op)) {
                op.apply(&mut expected, NOW.wall);
                let read = ask(store, number, StoreOp::Read);
                assert!(!is_sound || read == Ok(expected), "{number} {op:?}: {read:?}");
            }
        }
    }
    let all: Vec<_> = (0..RECORDS).map(|number| call(number, StoreOp::Report)).collect();
    let mut answers = Vec::new();
    store.execute(NOW, &all, &mut answers);
    assert_eq!(answers.len(), all.len());
    let limit = UnixTime::from_seconds(1_600_000_000);
    for task in [Task::Survey(limit), Task::Expire(limit), Task::Sync] {
        let mut steps = 0..STEPS;
        while let Ok(Progress::More) = store.upkeep(NOW, task) {
            assert!(steps.next().is_some(), "{task:?} has no end");
        }
    }
    store.check().iter().flatten().for_each(|wrong| one_line(wrong));
    if let Err(error) = store.backup(&folder.join("copy")) {
        one_line(&error);
    }
    let _ = (store.probe(NOW), store.record_count(NOW), store.estimate());
}

fn call(number: u8, op: StoreOp) -> StoreCall {
    StoreCall::new(Digest::new([number; 20]), op)
}

fn ask(store: &mut Sqlite, number: u8, op: StoreOp) -> StoreAnswer {
    let mut answers = Vec::new();
    store.execute(NOW, &[call(number, op)], &mut answers);
    answers.pop().expect("one answer for each call")
}

/// The bytes of a sound database and of its log, as a server leaves them that is killed.
static SOUND: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pyzord.sqlite");
    let report = |store: &mut Sqlite, digests| {
        let calls: Vec<_> = (0..digests).map(|number| call(number, StoreOp::Report)).collect();
        let mut answers = Vec::new();
        store.execute(NOW, &calls, &mut answers);
        assert!(answers.iter().all(Result::is_ok));
    };
    let open = || Sqlite::open(&path, Options::alone(Access::Create)).expect("a new database");
    report(&mut open(), RECORDS);
    let mut store = open();
    report(&mut store, IN_LOG);
    [&path, &log_of(&path)].map(|file| fs::read(file).expect("a file of the database"))
});

impl Change<'_> {
    fn files(&self) -> [Vec<u8>; 2] {
        let mut files = SOUND.clone();
        let [database, log] = &mut files;
        // A frame of the log has a head, and so has the log.
        let (bytes, (begin, page, head)) =
            if self.is_log { (log, (32, 2072, 36)) } else { (database, (0, 2048, 112)) };
        match &self.contents {
            Contents::Bytes(other) => *bytes = other.to_vec(),
            Contents::Cut(length) => bytes.truncate(usize::from(*length)),
            Contents::Moved(from, to) => {
                let pages = bytes.len().saturating_sub(begin) / page;
                let [from, to] = [from, to].map(|page_number| usize::from(*page_number) % pages * page + begin);
                bytes.copy_within(from..from + page, to);
            }
            Contents::Damaged(damages) => damages.iter().for_each(|damage| {
                let pages = bytes.len().div_ceil(page);
                let at = usize::from(damage.at) % if damage.is_in_head { head } else { page };
                let first = if damage.page == 0 { 0 } else { begin };
                let Some(byte) = bytes.get_mut(usize::from(damage.page) % pages * page + first + at) else { return };
                *byte = if damage.is_xor { *byte ^ damage.value } else { damage.value };
            }),
        }
        files
    }
}
