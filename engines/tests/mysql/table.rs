//! The table: creating and checking it, expiry, and the ways to connect to it.

use pyzord_core::{Progress, Store, StoreError, StoreOp, Task, UnixTime};
use pyzord_testkit::MariadbServer;

use crate::support::{CALM, Case, at, call, digest, engine, execute, expire, mysql, read};

pub(crate) const CASES: &[Case] = &[
    ("a missing table is named, and can be created", missing),
    ("a table of another kind is refused with its fault", different),
    ("a table dropped and created while it serves is used again", dropped),
    ("expiry takes missing and zero dates for none", expiry),
    ("expiry reads only old rows where an index tells which", dated_expiry),
    ("a socket, a password with a comma, a table of another database", ways),
    ("a refused statement fails alone", refused),
    ("a key that digests could share is refused", shared_keys),
    ("what serving needs is tried, and leaves no record", tried),
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
    let version = server.rows("SELECT VERSION()");
    assert!(found.contains(version.trim()) && found.ends_with("about 0 records"), "{found}");
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
    // With an index on the dates the same rows are counted and removed, in the order of that index.
    let indexed = "CREATE TABLE pyzor.dated LIKE pyzor.old; INSERT INTO pyzor.dated SELECT * FROM pyzor.old; \
                   ALTER TABLE pyzor.dated ADD INDEX `by ``date` (r_updated, wl_updated)";
    server.query(&format!("SET sql_mode = ''; {indexed}"));
    let mut dated = mysql(&server.dsn("dated"), CALM);
    let limit = UnixTime::from_seconds(1_500_000_000);
    for (engine, name) in [(&mut engine, "old"), (&mut dated, "dated")] {
        let survey = loop {
            match engine.upkeep(at(5), Task::Survey(limit)).unwrap() {
                Progress::Surveyed(survey) => break survey,
                progress => assert_eq!(progress, Progress::More),
            }
        };
        let newest = (survey.newest.unwrap().seconds() + 43_200) / 86_400;
        assert_eq!((survey.records, survey.expired, newest), (110, 104, 19_358), "{name}");
        expire(engine, 1_500_000_000).unwrap();
        let left = server.rows(&format!("SELECT digest FROM pyzor.{name} ORDER BY digest"));
        assert_eq!(left.split_whitespace().collect::<String>(), "adefhj", "{name}");
    }
}

/// Expiry read all rows of a table whose index says which ones are old.
fn dated_expiry(server: &MariadbServer) {
    drop(engine(server, "few_old"));
    let sequence = |from: u32, to: u32, dates: &str| {
        server.query(&format!(
            "INSERT INTO pyzor.few_old (digest, r_updated, wl_updated) SELECT LPAD(seq, 40, 'f'), {dates} FROM \
             pyzor.seq_{from}_to_{to}"
        ));
    };
    sequence(1, 60, "'2001-01-01', NULL");
    sequence(61, 90, "'2001-01-01' + INTERVAL seq MINUTE, '2023-01-01'");
    sequence(91, 120, "NULL, '2001-01-01'");
    sequence(121, 6000, "'2023-01-01' + INTERVAL seq MINUTE, NULL");
    server.query("ALTER TABLE pyzor.few_old ADD INDEX (r_updated); ANALYZE TABLE pyzor.few_old");
    let mut engine = mysql(&server.dsn("few_old"), CALM);
    let read = || {
        let handler = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Handler_read_next', 'Handler_read_key')";
        server
            .rows(handler)
            .lines()
            .map(|line| line.rsplit('\t').next().unwrap().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let before = read();
    let limit = UnixTime::from_seconds(1_500_000_000);
    while engine.upkeep(at(5), Task::Survey(limit)).unwrap() == Progress::More {}
    expire(&mut engine, 1_500_000_000).unwrap();
    let rows = read() - before;
    assert!(rows < 3000, "{rows} of 6000 rows were read");
    assert_eq!(server.rows("SELECT COUNT(*) FROM pyzor.few_old").trim(), "5910");
}

fn ways(server: &MariadbServer) {
    drop(engine(server, "ways"));
    server.query(
        "CREATE USER comma@'%' IDENTIFIED BY 'a,b/c@d%'; GRANT ALL ON pyzor.* TO comma@'%'; CREATE DATABASE bare; \
         GRANT ALL ON bare.* TO comma@'%'",
    );
    let (port, socket) = (server.port(), server.socket());
    let socket = socket.display();
    let dsns = [
        format!("{socket},pyzor,secret,pyzor,ways"),
        format!("localhost:{port},pyzor,secret,pyzor,ways"),
        format!("mysql://pyzor:secret@127.0.0.1:{port}/pyzor?table=ways"),
        format!("mysql://comma:a%2Cb%2fc@d%25@127.0.0.1:{port}/pyzor?table=ways"),
        format!("mysql://comma:a,b%2Fc%40d%25@/bare?table=pyzor.ways&socket={socket}"),
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

/// The columns but for the digest.
const COLUMNS: &str = "r_count int, wl_count int, r_entered datetime, wl_entered datetime, r_updated datetime, \
    wl_updated datetime";

/// `SHOW COLUMNS` says PRI for a prefix, too: the reports of one digest were counted for another.
fn shared_keys(server: &MariadbServer) {
    for (keys, cause) in [
        ("PRIMARY KEY (digest(8))", "its key PRIMARY has only the first 8 characters of a digest"),
        (
            "id int AUTO_INCREMENT PRIMARY KEY, UNIQUE KEY short (digest(39))",
            "its key short has only the first 39",
        ),
        (
            "PRIMARY KEY (digest), UNIQUE KEY one (r_count)",
            "its unique key one would make several digests share",
        ),
        ("UNIQUE KEY pair (digest, r_count)", "its column digest is not the primary key"),
    ] {
        server.query(&format!("CREATE TABLE pyzor.shared (digest char(40) NOT NULL, {COLUMNS}, {keys})"));
        let mut engine = mysql(&server.dsn("shared"), CALM);
        let error = engine.check().unwrap_err().to_string();
        assert!(error.contains(cause) && error.ends_with("see docs/mysql.md"), "{keys}: {error}");
        assert_eq!(execute(&mut engine, at(5), &[call(StoreOp::Report, 1)])[0], Err(StoreError::Unavailable));
        server.query("DROP TABLE pyzor.shared");
    }
    for keys in [
        "PRIMARY KEY (digest(40))",
        "id int AUTO_INCREMENT PRIMARY KEY, UNIQUE KEY digests (digest)",
        "PRIMARY KEY (digest) USING HASH, KEY short (digest(8))",
    ] {
        let digest = "digest varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL";
        server.query(&format!("CREATE TABLE pyzor.whole ({digest}, {COLUMNS}, {keys})"));
        let mut engine = mysql(&server.dsn("whole"), CALM);
        for n in [1, 1, 2] {
            assert!(execute(&mut engine, at(5), &[call(StoreOp::Report, n)])[0].is_ok(), "{keys}");
        }
        assert_eq!(read(&mut engine, 1).unwrap().reports.count, 2, "{keys}");
        server.query("DROP TABLE pyzor.whole");
    }
}

/// The check was content with all of these, and every report got 500.
fn tried(server: &MariadbServer) {
    server.query("CREATE USER tried@'%' IDENTIFIED BY 'secret'");
    let plain = format!("digest char(40) PRIMARY KEY, {COLUMNS}");
    let more = |column: &str| format!("{plain}, {column}");
    const ALL: &str = "SELECT, INSERT, UPDATE, DELETE";
    let cases = [
        (plain.clone(), ALL, &[][..]),
        (more("note int NOT NULL DEFAULT 5"), ALL, &[]),
        (more("id int NOT NULL AUTO_INCREMENT UNIQUE"), ALL, &[]),
        (more("note int NOT NULL"), ALL, &["'note' doesn't have a default", "give that column a default"]),
        (more("CHECK (r_count > 5)"), ALL, &["nothing is counted, reports get 500: ", "tried"]),
        (
            plain.clone(),
            "SELECT, UPDATE, DELETE",
            &["INSERT", "grant the user SELECT, INSERT and UPDATE on the table"],
        ),
        (
            plain.clone(),
            "SELECT, INSERT, DELETE",
            &["UPDATE", "grant the user SELECT, INSERT and UPDATE on the table"],
        ),
        (
            plain.clone(),
            "INSERT, UPDATE, DELETE",
            &["SELECT", "requests get 500", "grant the user SELECT on the table"],
        ),
        (
            plain.clone(),
            "SELECT, INSERT, UPDATE",
            &["records do not expire", "grant the user DELETE on the table"],
        ),
        (plain.clone(), "SELECT", &["nothing is counted", "records do not expire"]),
    ];
    let mariadb = server.rows("SELECT VERSION()").contains("MariaDB");
    let engines = ["InnoDB", "MyISAM"];
    let cases = engines.into_iter().flat_map(|engine| cases.iter().map(move |case| (engine, case)));
    for (kind, (columns, rights, causes)) in cases {
        // Only a row shows what a constraint says, with MySQL also that a column has no default; this engine undoes none.
        if kind == "MyISAM"
            && (columns.contains("CHECK") || columns.contains("note int NOT NULL") && !mariadb)
        {
            continue;
        }
        server.query(&format!("CREATE TABLE pyzor.tried ({columns}) ENGINE={kind}"));
        server.query(&format!("GRANT {rights} ON pyzor.tried TO tried@'%'"));
        let mut engine = mysql(&server.dsn("tried").replace(",pyzor,secret", ",tried,secret"), CALM);
        let refused: Vec<String> = engine.refusals(true).unwrap().iter().map(ToString::to_string).collect();
        let said = refused.join("\n");
        assert_eq!(refused.is_empty(), causes.is_empty(), "{columns} {rights}: {said}");
        for cause in *causes {
            assert!(said.contains(cause), "{columns} {rights}: {cause} is not in {said}");
        }
        assert!(!said.contains("secret"), "{said}");
        if *rights == "SELECT, INSERT, UPDATE" {
            assert!(engine.refusals(false).unwrap().is_empty());
        }
        assert_eq!(server.rows("SELECT COUNT(*) FROM pyzor.tried").trim(), "0", "{columns}");
        server.query("REVOKE ALL ON pyzor.tried FROM tried@'%'; DROP TABLE pyzor.tried");
    }
}
