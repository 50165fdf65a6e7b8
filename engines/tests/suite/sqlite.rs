//! Databases of SQLite.

use std::path::PathBuf;

use pyzord_core::{Digest, Record};
use pyzord_engines::sqlite::{DEFAULT_CACHE, Durability, Options, Sqlite};
use pyzord_engines::{Access, RecordStore};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::common::{digest, scratch, successes};
use crate::subject::{Odd, Stored, Subject};

pub(crate) struct File {
    path: PathBuf,
    durability: Durability,
    _directory: TempDir,
}

impl File {
    pub(crate) fn new(durability: Durability) -> Self {
        let (directory, path) = scratch();
        Self { path, durability, _directory: directory }
    }

    /// Opens the database as another tool does.
    fn foreign(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    /// Lets the table hold any value, or what it is made for.
    fn set_definition(&self, definition: &str) {
        let connection = self.foreign();
        connection.pragma_update(None, "writable_schema", true).unwrap();
        let changed =
            connection.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'digests'", [definition]);
        assert_eq!(changed, Ok(1));
    }
}

impl Subject for File {
    type Store = Sqlite;
    /// Signed counts are remembered by the guard of its one process.
    const KEEPS_MARKS: bool = false;
    const HISTORIES: u32 = 60;

    fn store(&self) -> Sqlite {
        let (durability, cache, handles) = (self.durability, DEFAULT_CACHE, 1);
        Sqlite::open(&self.path, Options { access: Access::Create, durability, cache, handles }).unwrap()
    }

    fn put(store: &mut Sqlite, digest: Digest, record: &Record) {
        let mut results = Vec::new();
        RecordStore::put(store, &[(digest, *record)], &mut results);
        successes(results);
    }

    fn count(&self, _store: &Sqlite) -> usize {
        let count = "SELECT count(*) FROM digests";
        self.foreign().query_row(count, [], |row| row.get::<_, u32>(0)).unwrap().try_into().unwrap()
    }
}

impl Stored for File {
    /// Returns one with connections and threads of its own, as another process has.
    fn another(&self, _store: &Sqlite) -> Sqlite {
        self.store()
    }

    fn spoil(&self) -> Vec<Odd> {
        const COUNT: &str = "a count is not a whole number from 0 on";
        const DATE: &str = "a date is not in microseconds of the years 1 to 9999";
        const KEY: &str = "the key does not have the 20 bytes of a digest";
        const LOOSE: &str = "CREATE TABLE digests(digest PRIMARY KEY, r_count, r_entered, r_updated, \
            wl_count, wl_entered, wl_updated) WITHOUT ROWID";
        let (text, bytes) = (Value::Text("7".to_owned()), Value::Blob(vec![0xff, 0, 7]));
        let values = [
            (0, Value::Null, COUNT),
            (0, Value::Integer(-1), COUNT),
            (3, Value::Real(1.5), COUNT),
            (3, text.clone(), COUNT),
            (0, bytes.clone(), COUNT),
            (1, Value::Integer(i64::MIN), DATE),
            (2, Value::Integer(253_402_300_800_000_000), DATE),
            (4, Value::Real(f64::INFINITY), DATE),
            (5, text, DATE),
            (5, bytes, DATE),
        ];
        // Sorted as SQLite sorts them, the numbers and texts are before all digests.
        let keys = [
            (Value::Integer(-7), "integer -7"),
            (Value::Real(0.5), "real 0.5"),
            (Value::Text(digest(2000).to_string()), &format!("text '{}'", digest(2000))),
            (Value::Text("a\0\u{1b}\u{e4}".to_owned()), "text 'a\\x00\\x1b\\xc3\\xa4'"),
            (Value::Blob(Vec::new()), ""),
            (Value::Blob(vec![0xab; 19]), &"ab".repeat(19)),
            (Value::Blob(vec![0xab; 21]), &"ab".repeat(21)),
        ];
        drop(self.store());
        let strict: String = self
            .foreign()
            .query_row("SELECT sql FROM sqlite_schema WHERE name = 'digests'", [], |row| row.get(0))
            .unwrap();
        self.set_definition(LOOSE);
        let connection = self.foreign();
        let insert = |key: &Value, row: &[Value; 6]| {
            let [a, b, c, d, e, f] = row;
            let inserted = connection.execute(
                "INSERT INTO digests VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![key, a, b, c, d, e, f],
            );
            assert_eq!(inserted, Ok(1));
        };
        let sound = [1, 1, 1, 0, 0, 0].map(Value::Integer);
        let mut odd = Vec::new();
        for (n, (column, value, why)) in (1000..).zip(values) {
            let mut row = sound.clone();
            *row.get_mut(column).unwrap() = value;
            insert(&Value::Blob(digest(n).as_bytes().to_vec()), &row);
            odd.push(Odd::new(digest(n).to_string(), why));
        }
        for (key, name) in keys {
            insert(&key, &sound);
            odd.push(Odd::new(name.to_owned(), KEY));
        }
        drop(connection);
        self.set_definition(&strict);
        odd
    }

    fn raw(&self, _store: &Sqlite, digest: Digest) -> String {
        let columns = "SELECT quote(r_count) || quote(r_entered) || quote(r_updated) || quote(wl_count) || \
            quote(wl_entered) || quote(wl_updated) FROM digests WHERE digest = ?1";
        self.foreign().query_row(columns, [digest.as_bytes()], |row| row.get(0)).unwrap()
    }
}
