//! The table: creating and checking it, expiry, and the ways to connect to it.

use pyzord_core::{StoreError, StoreOp};
use pyzord_testkit::MariadbServer;

use crate::support::{CALM, Case, at, call, digest, engine, execute, expire, mysql, read};

pub(crate) const CASES: &[Case] = &[
    ("a missing table is named, and can be created", missing),
    ("a table of another kind is refused with its fault", different),
    ("a table dropped and created while it serves is used again", dropped),
    ("expiry takes missing and zero dates for none", expiry),
    ("a socket, a password with a comma, a table of another database", ways),
    ("a refused statement fails alone", refused),
];

fn missing(server: &MariadbServer) {
    let mut engine = mysql(&server.dsn("missing"), CALM);
    let error = engine.check().unwrap_err().to_string();
    assert!(
        error.contains("table `missing` does not exist: create it with pyzord --create-table"),
        "{error}"
    );
    assert_eq!(read(&mut engine, 1), Err(StoreError::Unavailable));
    engine.create_table().unwrap();
    engine.create_table().unwrap();
    let found = engine.check().unwrap();
    assert!(found.contains("MariaDB") && found.ends_with("about 0 records"), "{found}");
    assert!(!found.contains("secret"), "{found}");
    assert!(mysql(&server.dsn("missing"), CALM).check().is_ok());
    let wrong =
        mysql(&server.dsn("missing").replace("secret", "guess"), CALM).check().unwrap_err().to_string();
    assert!(wrong.contains("Access denied") && !wrong.contains("guess") && !wrong.contains('\n'), "{wrong}");
}

fn different(server: &MariadbServer) {
    let table = [
        ("digest char(40) PRIMARY KEY", "table `other` cannot be used: it has no column r_entered"),
        (
            "digest char(40) PRIMARY KEY, r_entered datetime, wl_entered datetime, r_updated datetime, wl_updated \
             datetime, r_count text, wl_count int",
            "its column r_count is text, not int",
        ),
        (
            "digest char(40), r_entered datetime, wl_entered datetime, r_updated datetime, wl_updated datetime, \
             r_count int, wl_count int, KEY (digest)",
            "its column digest is not the primary key",
        ),
    ];
    for (columns, expected) in table {
        server.query(&format!("CREATE TABLE pyzor.other ({columns})"));
        let mut engine = mysql(&server.dsn("other"), CALM);
        for error in
            [engine.check().map(drop), engine.create_table()].map(|result| result.unwrap_err().to_string())
        {
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(read(&mut engine, 1), Err(StoreError::Unavailable));
        server.query("DROP TABLE pyzor.other");
    }
}

fn dropped(server: &MariadbServer) {
    let mut engine = engine(server, "dropped");
    assert!(read(&mut engine, 1).is_ok());
    server.query("DROP TABLE pyzor.dropped");
    assert_eq!(read(&mut engine, 1), Err(StoreError::Unavailable));
    engine.create_table().unwrap();
    let later = pyzord_core::Tick::new(std::time::Duration::from_secs(5));
    let now = pyzord_core::Now { tick: later, ..at(5) };
    assert!(execute(&mut engine, now, &[call(StoreOp::Report, 1)])[0].is_ok());
}

/// The Python server looked at `r_updated` alone, and removed records that were still being whitelisted.
fn expiry(server: &MariadbServer) {
    let mut engine = engine(server, "old");
    let old = "'2001-01-01'";
    let new = "'2023-01-01'";
    let rows = [
        ("a", "NULL", "NULL"),
        ("b", old, "NULL"),
        ("c", "NULL", old),
        ("d", old, new),
        ("e", new, old),
        ("f", new, "NULL"),
        ("g", old, old),
        ("h", "'0000-00-00'", "NULL"),
        ("i", "'0000-00-00'", old),
        ("j", "'0000-00-00'", new),
    ]
    .map(|(key, r, wl)| format!("('{key}', {r}, {wl})"));
    server.query(&format!(
        "SET sql_mode = ''; INSERT INTO pyzor.old (digest, r_updated, wl_updated) VALUES {}",
        rows.join(",")
    ));
    // More rows than one slice removes, and a whole number of slices.
    let many: Vec<_> = (0..100).map(|number| format!("('k{number:02}', {old})")).collect();
    server.query(&format!("INSERT INTO pyzor.old (digest, r_updated) VALUES {}", many.join(",")));
    expire(&mut engine, 1_500_000_000).unwrap();
    let left = server.rows("SELECT digest FROM pyzor.old ORDER BY digest");
    assert_eq!(left.split_whitespace().collect::<String>(), "adefhj");
}

fn ways(server: &MariadbServer) {
    drop(engine(server, "ways"));
    server.query(
        "CREATE USER comma@'%' IDENTIFIED BY 'a,b/c@d%'; GRANT ALL ON pyzor.* TO comma@'%'; CREATE DATABASE empty; \
         GRANT ALL ON empty.* TO comma@'%'",
    );
    let (port, socket) = (server.port(), server.socket());
    let socket = socket.display();
    let dsns = [
        format!("{socket},pyzor,secret,pyzor,ways"),
        format!("localhost:{port},pyzor,secret,pyzor,ways"),
        format!("mysql://pyzor:secret@127.0.0.1:{port}/pyzor?table=ways"),
        format!("mysql://comma:a%2Cb%2fc@d%25@127.0.0.1:{port}/pyzor?table=ways"),
        format!("mysql://comma:a,b%2Fc%40d%25@/empty?table=pyzor.ways&socket={socket}"),
    ];
    for (n, dsn) in (1..).zip(dsns) {
        let mut engine = mysql(&dsn, CALM);
        engine.check().unwrap();
        execute(&mut engine, at(5), &[call(StoreOp::Report, 1)]);
        assert_eq!(read(&mut engine, 1).unwrap().reports.count, n, "{dsn}");
    }
}

fn refused(server: &MariadbServer) {
    drop(engine(server, "refused"));
    server
        .query("CREATE USER reader@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON pyzor.refused TO reader@'%'");
    server.query(&format!("INSERT INTO pyzor.refused (digest, r_count) VALUES ('{}', 3)", digest(1)));
    let mut engine = mysql(&server.dsn("refused").replace(",pyzor,secret", ",reader,secret"), CALM);
    for _ in 0..3 {
        let answers = execute(&mut engine, at(5), &[StoreOp::Read, StoreOp::Report].map(|op| call(op, 1)));
        assert_eq!(answers[0].unwrap().reports.count, 3);
        assert_eq!(answers[1], Err(StoreError::Unavailable));
    }
}
