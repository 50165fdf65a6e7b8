//! Whole records.

use std::collections::BTreeMap;

use pyzord_core::{Digest, Progress, Record, Tally, UnixTime};
use pyzord_engines::{Bulk, Found};
use pyzord_testkit::MariadbServer;

use crate::support::{Case, digest, engine};

pub(crate) const CASES: &[Case] = &[
    ("five thousand records go in and come out", thousands),
    ("rows that are no records are found and named", odd_rows),
    ("keys in upper case are digests where the table says so", upper_case),
];

fn record(n: u64) -> Record {
    let time = |k: u64| {
        (!n.is_multiple_of(k + 2))
            .then(|| UnixTime::from_micros(1_700_000_000_000_000 + i64::try_from(n * k * 7919).unwrap()))
    };
    Record {
        reports: Tally { count: n, entered: time(1), updated: time(2) },
        whitelists: Tally { count: n << 40, entered: time(3), updated: time(4) },
    }
}

fn scan(engine: &mut impl Bulk) -> Vec<Found> {
    let mut found = Vec::new();
    while engine.scan(&mut found).unwrap() == Progress::More {}
    found
}

fn thousands(server: &MariadbServer) {
    let mut engine = engine(server, "bulk");
    let records: Vec<(Digest, Record)> = (0..5000).map(|n| (digest(n), record(n))).collect();
    let mut results = Vec::new();
    engine.put(&records, &mut results);
    assert_eq!(results, vec![Ok(()); 5000]);
    assert_eq!(engine.estimate(), Some(5000));
    let expected: BTreeMap<Digest, Record> =
        records.iter().map(|(digest, record)| (*digest, engine.rounded(record))).collect();
    for _ in 0..2 {
        let found = scan(&mut engine);
        assert!(found.iter().all(|found| found.key == found.record.as_ref().unwrap().0.to_string()));
        let found: BTreeMap<Digest, Record> = found.into_iter().map(|found| found.record.unwrap()).collect();
        assert_eq!(found, expected);
    }
    let digests: Vec<Digest> = (0..6000).map(digest).collect();
    let mut fetched = Vec::new();
    engine.fetch(&digests, &mut fetched);
    let known = |digest| expected.get(digest).copied().unwrap_or_default();
    assert_eq!(fetched, digests.iter().map(|digest| Ok(known(digest))).collect::<Vec<_>>());
    engine.remove(&digests[..4321]).unwrap();
    assert_eq!(scan(&mut engine).len(), 5000 - 4321);
    engine.put(&records[4321..4323], &mut results);
    assert_eq!(scan(&mut engine).len(), 5000 - 4321);
}

fn odd_rows(server: &MariadbServer) {
    let mut engine = engine(server, "oddities");
    server.query(
        "ALTER TABLE pyzor.oddities MODIFY digest varchar(50) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
    );
    server.query(&format!(
        "SET NAMES utf8mb4; SET sql_mode = ''; INSERT INTO pyzor.oddities (digest, r_count, r_entered) VALUES \
         ('', 1, NULL), ('ä', 1, NULL), ('public', 1, NULL), ('{}', -1, NULL), ('{}', 1, '2023-00-00'), \
         ('{}', 1, NULL); INSERT INTO pyzor.oddities (digest, r_count) SELECT CONCAT(SHA1(seq), IF(seq % 2, '', \
         'xü')), 1 FROM pyzor.seq_1_to_3000",
        digest(0),
        digest(1),
        digest(2)
    ));
    let found = scan(&mut engine);
    assert_eq!(found.len(), 3006);
    let cause = |key: &str| {
        let found = found.iter().find(|found| found.key == key).unwrap();
        found.record.as_ref().map(|(digest, _)| digest.to_string()).map_err(String::as_str)
    };
    let no_digest = Err("the key is no digest of 40 hex digits");
    let expected = [
        ("".to_owned(), no_digest),
        ("ä".to_owned(), no_digest),
        ("public".to_owned(), no_digest),
        (digest(0).to_string(), Err("a count is negative")),
        (digest(1).to_string(), Err("a date is no day of the calendar")),
    ];
    for (key, expected) in expected {
        assert_eq!(cause(&key).map(|_| ()), expected.map(|_: ()| ()), "{key}");
    }
    assert_eq!(cause(&digest(2).to_string()), Ok(digest(2).to_string()));
    let mut fetched = Vec::new();
    engine.fetch(&[digest(0), digest(2)], &mut fetched);
    assert_eq!(fetched[0].as_ref().unwrap_err().to_string(), "a count is negative");
    assert_eq!(fetched[1].as_ref().unwrap().reports.count, 1);
    assert_eq!(found.iter().filter(|found| found.record.is_ok()).count(), 1501);
}

fn upper_case(server: &MariadbServer) {
    for (collation, same) in [("utf8mb4_general_ci", true), ("utf8mb4_bin", false)] {
        drop(engine(server, "cases"));
        server.query(&format!(
            "ALTER TABLE pyzor.cases MODIFY digest char(40) CHARACTER SET utf8mb4 COLLATE {collation}; INSERT INTO \
             pyzor.cases (digest, r_count) VALUES (UPPER('{}'), 5)",
            digest(1)
        ));
        let mut engine = crate::support::mysql(&server.dsn("cases"), crate::support::CALM);
        let found = scan(&mut engine);
        assert_eq!(found[0].record.is_ok(), same, "{found:?}");
        let mut fetched = Vec::new();
        engine.fetch(&[digest(1)], &mut fetched);
        assert_eq!(fetched[0].as_ref().unwrap().reports.count, if same { 5 } else { 0 });
        engine.remove(&[digest(1)]).unwrap();
        assert_eq!(scan(&mut engine).is_empty(), same);
        server.query("DROP TABLE pyzor.cases");
    }
}
