//! Whole records, as migrations read and write them.

use pyzord_core::Progress;
use pyzord_engines::{RecordStore, StoredEntry};
use pyzord_testkit::MariadbServer;

use crate::support::{Case, digest, engine};

pub(crate) const CASES: &[Case] = &[
    ("keys with characters beyond ASCII are found and named", odd_keys),
    ("keys in upper case are digests where the table says so", upper_case),
];

fn scan(engine: &mut impl RecordStore) -> Vec<StoredEntry> {
    let mut found = Vec::new();
    while engine.scan(&mut found).unwrap() == Progress::More {}
    found
}

fn odd_keys(server: &MariadbServer) {
    let mut engine = engine(server, "oddities");
    server.query(
        "ALTER TABLE pyzor.oddities MODIFY digest varchar(50) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
    );
    let given = format!("('', 1), ('ä', 1), ('public', 1), ('{}', 1)", digest(2));
    let made: Vec<String> = (1..=3000)
        .map(|number| {
            format!(
                "(CONCAT(LEFT(SHA2({number}, 256), 40), '{}'), 1)",
                if number % 2 == 1 { "" } else { "xü" }
            )
        })
        .collect();
    for rows in made.chunks(1000).map(|rows| rows.join(", ")).chain([given]) {
        server
            .query(&format!("SET NAMES utf8mb4; INSERT INTO pyzor.oddities (digest, r_count) VALUES {rows}"));
    }
    let found = scan(&mut engine);
    assert_eq!(found.len(), 3004);
    assert_eq!(found.iter().filter(|found| found.record.is_ok()).count(), 1501);
    for key in ["", "ä", "public"] {
        let found = found.iter().find(|found| found.key == key).unwrap();
        let error = found.record.as_ref().unwrap_err();
        assert_eq!(error.to_string(), "the key is not a digest of 40 hex digits", "{key}");
    }
    let found = found.iter().find(|found| found.key == digest(2).to_string()).unwrap();
    assert_eq!(found.record.as_ref().unwrap().0, digest(2));
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
