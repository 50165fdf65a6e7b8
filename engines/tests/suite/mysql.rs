//! Tables of MariaDB, as the engine creates them.

use std::time::Duration;

use pyzord_core::{Digest, Record};
use pyzord_engines::RecordStore;
use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
use pyzord_testkit::MariadbServer;

use crate::common::{digest, successes};
use crate::subject::{Odd, Stored, Subject};

/// Time-outs that a slow machine does not reach.
const CALM: Timeouts = Timeouts { connect: Duration::from_secs(60), ..Timeouts::MIGRATING };

pub(crate) struct Table<'a> {
    server: &'a MariadbServer,
    name: String,
}

impl<'a> Table<'a> {
    pub(crate) fn new(server: &'a MariadbServer, number: u32) -> Self {
        let table = Self { server, name: format!("suite_{number}") };
        table.store().create_table().unwrap();
        table
    }
}

impl Subject for Table<'_> {
    type Store = Mysql;
    /// The largest `int`.
    const MOST: u64 = (1 << 31) - 1;
    const UNIT: i64 = 1_000_000;
    const COUNTS: bool = false;
    const HISTORIES: u32 = 60;

    fn store(&self) -> Mysql {
        Mysql::new(&Dsn::parse(&self.server.dsn(&self.name)).unwrap(), CALM)
    }

    fn put(store: &mut Mysql, digest: Digest, record: &Record) {
        let mut results = Vec::new();
        store.put(&[(digest, *record)], &mut results);
        assert_eq!(successes(results), [()]);
    }

    fn count(&self, _: &Mysql) -> usize {
        self.server.rows(&format!("SELECT COUNT(*) FROM pyzor.{}", self.name)).trim().parse().unwrap()
    }
}

impl Stored for Table<'_> {
    /// One statement adds to counts and another removes rows; neither decodes the record.
    const SPARES_UNREADABLE: bool = false;

    fn another(&self, _: &Mysql) -> Mysql {
        self.store()
    }

    fn spoil(&self) -> Vec<Odd> {
        const KEY: &str = "the key is not a digest of 40 hex digits";
        const COUNT: &str = "a count is negative";
        const LATE: &str = "a date is too late: the last one that is read is 9999-12-30 22:00:00 UTC; set it to NULL if it \
                            means never";
        const DATE: &str = "a date is not in the calendar";
        let table = [
            (String::new(), "r_count", "1", KEY),
            ("public".to_owned(), "r_count", "1", KEY),
            ("g".repeat(40), "r_count", "1", KEY),
            (digest(1000).to_string(), "r_count", "-3", COUNT),
            (digest(1001).to_string(), "wl_count", "-1", COUNT),
            (digest(1002).to_string(), "r_entered", "2023-02-31 00:00:00", DATE),
            (digest(1003).to_string(), "wl_entered", "2023-00-01 00:00:00", DATE),
            (digest(1004).to_string(), "r_updated", "2023-00-00", DATE),
            (digest(1005).to_string(), "wl_updated", "2023-01-00", DATE),
            (digest(1006).to_string(), "r_updated", "9999-12-31 23:59:59", LATE),
        ];
        let insert = |(key, column, value, cause): (String, &str, &str, &str)| {
            let Self { server, name } = self;
            server.query(&format!(
                "SET sql_mode = 'ALLOW_INVALID_DATES'; \
                 INSERT INTO pyzor.{name} (digest, {column}) VALUES ('{key}', '{value}')"
            ));
            Odd::new(key, cause)
        };
        table.into_iter().map(insert).collect()
    }

    fn raw(&self, _: &Mysql, digest: Digest) -> String {
        let row = self.server.rows(&format!("SELECT * FROM pyzor.{} WHERE digest = '{digest}'", self.name));
        assert!(!row.is_empty());
        row
    }
}
