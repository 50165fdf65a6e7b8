//! Batches: their answers, and the rows that they leave.

use std::thread;

use pyzord_core::{Record, StoreOp, Tally};
use pyzord_engines::RecordStore;
use pyzord_testkit::{MariadbServer, wait_for};

use crate::common::successes;
use crate::support::{CALM, Case, at, call, digest, engine, execute, mysql, read};

pub(crate) const CASES: &[Case] = &[
    ("a batch in the way of another transaction is tried again", contention),
    ("counts stop at the largest of their column", saturation),
    ("missing values are zero and never", nulls),
    ("odd values do not harm those that are counted with them", odd_values),
    ("dates keep the fraction that the columns have room for", fractions),
];

/// Another client changes the rows in the opposite order, and more of them, so that the server ends the
/// engine's statement if both wait for each other. Or the statement's wait ends; it is tried again in both
/// cases.
fn contention(server: &MariadbServer) {
    let mut engine = engine(server, "contended");
    let reports: Vec<_> = (0..100).map(|n| call(StoreOp::Report, n)).collect();
    execute(&mut engine, at(1), &reports);
    let first = (0..100).map(digest).min().unwrap();
    let other = format!(
        "BEGIN; UPDATE pyzor.contended SET wl_count = 7 WHERE digest > '{first}'; DO SLEEP(1.5); UPDATE pyzor.contended \
         SET wl_count = 7 WHERE digest = '{first}'; COMMIT"
    );
    let answers = thread::scope(|scope| {
        scope.spawn(|| server.query(&other));
        wait_for("the other client's transaction", || {
            let asleep = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'";
            (server.rows(asleep).trim() == "1").then_some(())
        });
        execute(&mut engine, at(2), &reports)
    });
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let counts = server.rows("SELECT SUM(r_count), SUM(wl_count) FROM pyzor.contended");
    assert_eq!(counts.trim(), "200\t700");
}

fn saturation(server: &MariadbServer) {
    let table = [
        ("int", 2_147_483_647),
        ("int unsigned", 4_294_967_295),
        ("tinyint", 127),
        ("bigint", Tally::MAX),
        ("bigint unsigned", Tally::MAX),
    ];
    for (kind, most) in table {
        drop(engine(server, "full"));
        server.query(&format!("ALTER TABLE pyzor.full MODIFY r_count {kind}, MODIFY wl_count {kind}"));
        let mut engine = mysql(&server.dsn("full"), CALM);
        for count in [most - 1, most] {
            server.query(&format!(
                "REPLACE INTO pyzor.full (digest, r_count, wl_count) VALUES ('{}', {count}, {count})",
                digest(1)
            ));
            let ops =
                [StoreOp::Report, StoreOp::Report, StoreOp::Whitelist, StoreOp::Whitelist, StoreOp::Read];
            let answers = execute(&mut engine, at(9), &ops.map(|op| call(op, 1)));
            let counts = |record: Record| (record.reports.count, record.whitelists.count);
            assert_eq!(answers[4].map(counts), Ok((most, most)), "{kind}");
            assert_eq!(read(&mut engine, 1).map(counts), Ok((most, most)), "{kind}");
        }
        // One batch has more reports of a new digest than a tinyint has room for.
        execute(&mut engine, at(9), &[call(StoreOp::Report, 2); 300]);
        assert_eq!(read(&mut engine, 2).unwrap().reports.count, most.min(300), "{kind}");
        server.query("DROP TABLE pyzor.full");
    }
}

fn nulls(server: &MariadbServer) {
    let mut engine = engine(server, "nulls");
    server.query(&format!(
        "SET sql_mode = ''; INSERT INTO pyzor.nulls (digest) VALUES ('{}'); INSERT INTO pyzor.nulls VALUES ('{}', 0, \
         NULL, '0000-00-00', NULL, '0000-00-00', '0000-00-00')",
        digest(0),
        digest(1)
    ));
    for n in 0..2 {
        assert_eq!(read(&mut engine, n), Ok(Record::default()));
        execute(&mut engine, at(5), &[call(StoreOp::Report, n)]);
        let reports = Tally { count: 1, entered: Some(at(5).wall), updated: Some(at(5).wall) };
        assert_eq!(read(&mut engine, n), Ok(Record { reports, ..Record::default() }));
    }
    execute(&mut engine, at(7), &[call(StoreOp::Whitelist, 2)]);
    let row = format!("SELECT r_count, r_entered, r_updated FROM pyzor.nulls WHERE digest = '{}'", digest(2));
    assert_eq!(server.rows(&row), "0\tNULL\tNULL\n", "a whitelisting says nothing about reports");
}

fn odd_values(server: &MariadbServer) {
    let mut engine = engine(server, "odd");
    server.query(&format!(
        "SET sql_mode = 'ALLOW_INVALID_DATES'; INSERT INTO pyzor.odd (digest, r_count, r_entered) VALUES \
         ('{}', -3, NULL), ('{}', 1, '2023-02-31 00:00:00'), ('{}', 1, '2023-00-01 00:00:00'), ('{}', 4, NULL)",
        digest(0),
        digest(1),
        digest(2),
        digest(3)
    ));
    let writes: Vec<_> = (0..4).map(|n| call(StoreOp::Report, n)).collect();
    assert!(execute(&mut engine, at(5), &writes).iter().all(Result::is_ok));
    assert_eq!(read(&mut engine, 3).unwrap().reports.count, 5);
}

fn fractions(server: &MariadbServer) {
    drop(engine(server, "fractions"));
    let at_micros = |micros: i64| Some(pyzord_core::UnixTime::from_micros(1_700_000_000_000_000 + micros));
    for (digits, kept) in [(0, 0), (3, 999_000), (6, 999_999)] {
        let columns = ["r_entered", "r_updated", "wl_entered", "wl_updated"];
        let changes = columns.map(|name| format!("MODIFY {name} datetime({digits})")).join(", ");
        server.query(&format!("ALTER TABLE pyzor.fractions {changes}"));
        let mut engine = mysql(&server.dsn("fractions"), CALM);
        let reports = Tally { count: 1, entered: at_micros(999_999), updated: at_micros(999_999) };
        let record = Record { reports, ..Record::default() };
        let mut results = Vec::new();
        engine.put(&[(digest(1), record)], &mut results);
        assert_eq!(successes(results), [()]);
        assert_eq!(engine.rounded(&record).reports.updated, at_micros(kept));
        assert_eq!(read(&mut engine, 1), Ok(engine.rounded(&record)));
    }
}
