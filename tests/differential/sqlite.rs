//! The records of the gdbm file in a SQLite database: Python has no such engine, so its server has them in gdbm.

use std::path::Path;

use jiff::tz::TimeZone;
use pyzord_core::{Digest, Progress, Record};
use pyzord_engines::sqlite::{Options, Sqlite};
use pyzord_engines::{Access, RecordStore as _, codec};

use crate::generate::{STORED, of_kind, stored};
use crate::harness::run_python;
use crate::stores::Contents;

/// Makes rows unreadable: a date that no calendar has.
const SPOIL: &str = "
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
for digest in sys.argv[2:]:
    rows = database.execute('UPDATE digests SET r_updated = 1 << 62 WHERE digest = ?', (bytes.fromhex(digest),))
    assert rows.rowcount == 1
database.commit()
";

/// Creates a database with the records of [`STORED`].
pub(crate) fn fill(path: &Path) {
    let record = |number: usize| {
        let value = codec::gdbm::decode(STORED[number].1.as_bytes(), &TimeZone::system());
        value.unwrap_or_else(|_| Record::default())
    };
    let all: Vec<(Digest, Record)> = (0..STORED.len())
        .map(|number| (Digest::parse(stored(number).as_bytes()).unwrap(), record(number)))
        .collect();
    let mut results = Vec::new();
    open(path, Access::Create).put(&all, &mut results);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let unreadable: Vec<String> = of_kind("unreadable").map(stored).collect();
    let mut arguments = vec![path.to_str().unwrap()];
    arguments.extend(unreadable.iter().map(String::as_str));
    run_python(SPOIL, &arguments);
}

/// Reads all records of a database in the form of gdbm. Unreadable ones are those of [`STORED`].
pub(crate) fn read(path: &Path) -> Contents {
    let (mut store, mut found) = (open(path, Access::Read), Vec::new());
    while store.scan(&mut found).unwrap() == Progress::More {}
    let entry = |entry: pyzord_engines::StoredEntry| {
        let mut value = Vec::new();
        match entry.record {
            Ok((_, record)) => codec::gdbm::encode(&record, &TimeZone::system(), &mut value),
            Err(_) => {
                let number = of_kind("unreadable").find(|number| stored(*number) == entry.key).unwrap();
                value.extend(STORED[number].1.bytes());
            }
        }
        (entry.key.into_bytes(), value)
    };
    found.into_iter().map(entry).collect()
}

fn open(path: &Path, access: Access) -> Sqlite {
    Sqlite::open(path, Options::alone(access)).unwrap()
}
