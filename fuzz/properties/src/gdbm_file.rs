use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{
    Digest, Now, Record, Store as _, StoreAnswer, StoreCall, StoreOp, Tally, Task, Tick, UnixTime,
};
use pyzord_engines::{Access, Gdbm};

/// Enough records for two buckets.
const RECORDS: u8 = 200;

const NOW: Now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::new(std::time::Duration::ZERO) };

/// A file: arbitrary bytes, or a correct database with some overwritten words.
#[derive(Arbitrary, Debug)]
enum Contents<'a> {
    Bytes(&'a [u8]),
    Damaged(Vec<Damage>),
    Cut(u16),
}

#[derive(Arbitrary, Debug)]
struct Damage {
    /// The position, in words of four bytes, as the numbers in the file. Half of the positions are in the first block.
    at: u16,
    beyond: bool,
    value: Number,
}

#[derive(Arbitrary, Debug)]
enum Number {
    Any(i32),
    Small(u8),
    Negative(u8),
    /// A number to add to the word.
    Near(i8),
}

/// Any file is refused, recovered or opened, and none makes libgdbm hang or crash. Reading changes no file, a
/// refused file is unchanged, and a rewritten file has a backup. Records that are stored in an opened file are read
/// back, after it is closed and opened again too.
pub fn gdbm_file(data: &[u8]) {
    let Ok(contents) = Contents::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let bytes = contents.bytes();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pyzord.db");
    fs::write(&path, &bytes).expect("a temporary file");

    let readable = Gdbm::open_with(&path, Access::Read).map(|database| walk(&database));
    assert!(fs::read(&path).is_ok_and(|now| now == bytes), "reading changed the file");
    let opened = Gdbm::open(&path);
    assert!(readable.is_err() || opened.is_ok(), "{opened:?}");
    assert!(bytes.is_empty() || kept(folder.path(), &bytes), "the file was rewritten without a backup");
    let Ok(mut database) = opened else { return };
    let all = walk(&database);
    if work(&mut database) {
        assert!(walk(&database) <= all + usize::from(RECORDS) + 1);
        drop(database);
        let mut database = Gdbm::open(&path).expect("a written file can be opened");
        assert_eq!(ask(&mut database, Digest::new([0xee; 20]), StoreOp::Read), Ok(reported(1)));
    }
}

/// Returns the number of entries before the first failure.
fn walk(database: &Gdbm) -> usize {
    database.entries().take_while(Result::is_ok).count()
}

/// Uses the database as a server does. Returns whether every call succeeds: damage that shows only in the bytes of a
/// record can make any call fail, but acknowledged records are read back.
fn work(database: &mut Gdbm) -> bool {
    for number in (0..RECORDS).step_by(16) {
        let digest = Digest::new([number; 20]);
        if let Ok(record) = ask(database, digest, StoreOp::Report) {
            assert_eq!(ask(database, digest, StoreOp::Read), Ok(record));
        }
    }
    let new = Digest::new([0xee; 20]);
    let counted = ask(database, new, StoreOp::Report).is_ok();
    let read = ask(database, new, StoreOp::Read);
    assert!(!counted || read == Ok(reported(1)), "{read:?}");
    counted && database.upkeep(NOW, Task::Sync).is_ok()
}

fn ask(database: &mut Gdbm, digest: Digest, op: StoreOp) -> StoreAnswer {
    let mut answers = Vec::new();
    database.execute(NOW, &[StoreCall::new(digest, op)], &mut answers);
    answers.pop().expect("one answer for each call")
}

fn reported(count: u64) -> Record {
    let reports = Tally { count, entered: Some(NOW.wall), updated: Some(NOW.wall) };
    Record { reports, ..Record::default() }
}

/// Returns whether a file in the folder has these bytes.
fn kept(folder: &Path, bytes: &[u8]) -> bool {
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.any(|file| fs::read(file.path()).is_ok_and(|found| found == bytes))
}

/// Returns the bytes of a correct database.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pyzord.db");
    let database = Gdbm::open(&path).expect("a new database");
    for number in 0..RECORDS {
        database.put(Digest::new([number; 20]), &reported(number.into())).expect("room for a record");
    }
    drop(database);
    fs::read(&path).expect("the database")
});

impl Contents<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Cut(length) => SOUND.get(..usize::from(*length) * 2).unwrap_or(&SOUND).to_vec(),
            Self::Damaged(damages) => {
                let mut bytes = SOUND.clone();
                damages.iter().for_each(|damage| damage.inflict(&mut bytes));
                bytes
            }
        }
    }
}

impl Damage {
    fn inflict(&self, bytes: &mut [u8]) {
        let words = if self.beyond { bytes.len() / 4 } else { 64 };
        let at = usize::from(self.at) % words * 4;
        let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else { return };
        let number = match self.value {
            Number::Any(number) => number,
            Number::Small(number) => number.into(),
            Number::Negative(number) => -i32::from(number),
            Number::Near(distance) => i32::from_ne_bytes(*place).wrapping_add(distance.into()),
        };
        *place = number.to_ne_bytes();
    }
}
