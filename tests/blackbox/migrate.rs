//! `pyzor-migrate` between all engines.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use pyzord_core::{Digest, Progress, Record, Tally, UnixTime};
use pyzord_engines::Gdbm;
use pyzord_engines::registry::{Access, open_store};
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{Home, Server, digest, python, run_python};

fn migrate(source: (&str, &str), destination: (&str, &str), options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyzor-migrate"));
    command.args(["--se", source.0, "--sd", source.1, "--de", destination.0, "--dd", destination.1]);
    command.args(options).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Checks that a migration had no failure and this number of records.
fn migrate_all(source: (&str, &str), destination: (&str, &str), options: &[&str], count: usize) {
    let output = migrate(source, destination, options);
    let expected = format!("Migration complete, {count} records transferred successfully, 0 records failed");
    assert_eq!(stdout(&output).lines().last().unwrap_or_default(), expected, "{output:?}");
    assert!(output.status.success());
}

/// Returns all readable records of a database.
fn records(database: (&str, &str)) -> BTreeMap<Digest, Record> {
    let mut database = open_store(database.0, database.1, Access::Read, None).unwrap();
    let (mut found, mut all) = (Vec::new(), BTreeMap::new());
    while database.scan(&mut found).unwrap() == Progress::More {}
    all.extend(found.drain(..).filter_map(|entry| entry.record.ok()));
    all
}

/// Returns typical records of a server, and some rare ones.
fn record(number: u64) -> Record {
    let time =
        |micros: u64| Some(UnixTime::from_micros(1_600_000_000_000_000 + i64::try_from(micros).unwrap()));
    let tally = |count: u64| match count {
        0 => Tally::default(),
        _ => Tally {
            count,
            entered: time(number * 1_000_003),
            updated: time(number * 1_000_003 + count * 1_000_000),
        },
    };
    Record { reports: tally(number % 5 * number), whitelists: tally(number % 3) }
}

fn whole_seconds(record: Record) -> Record {
    let cut = |time: Option<UnixTime>| time.map(|time| UnixTime::from_seconds(time.seconds()));
    let tally = |tally: Tally| Tally { entered: cut(tally.entered), updated: cut(tally.updated), ..tally };
    Record { reports: tally(record.reports), whitelists: tally(record.whitelists) }
}

/// Creates a gdbm file with this number of records.
fn gdbm(home: &Home, name: &str, count: u64) -> (String, BTreeMap<Digest, Record>) {
    let path = home.path(name);
    let store = Gdbm::open(&path).unwrap();
    let mut all = BTreeMap::new();
    for number in 1..=count {
        let key = Digest::parse(digest(u32::try_from(number).unwrap()).as_bytes()).unwrap();
        store.put(key, &record(number)).unwrap();
        all.insert(key, record(number));
    }
    (path.to_str().unwrap().to_owned(), all)
}

#[test]
fn a_hundred_thousand_records_go_through_every_engine_and_come_back_equal() {
    const COUNT: u64 = 100_000;
    let (home, redis, mysql) = (Home::new(), RedisServer::start(), MariadbServer::start());
    let (first, expected) = gdbm(&home, "first.db", COUNT);
    let odd = "import dbm.gnu, sys\n\
        db = dbm.gnu.open(sys.argv[1], 'w')\n\
        db['%040x' % 1000000] = 'nonsense'\n\
        db['not a digest'] = '1,5,None,None,0,None,None'";
    run_python(odd, &[&first]);
    let redis_at = |db: u32| format!("127.0.0.1,{},,{db}", redis.port());
    let (redis_1, redis_2, redis_3) = (redis_at(1), redis_at(2), redis_at(3));
    let sqlite = home.path("first.sqlite").to_str().unwrap().to_owned();
    let (table, second) = (mysql.dsn("digests"), home.path("second.db").to_str().unwrap().to_owned());
    assert!(Home::new().run(&["-e", "mysql", "--dsn", &table, "--create-table"]).status.success());

    let output = migrate(("gdbm", &first), ("redis", &redis_1), &[]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "two records cannot be read: {said}");
    assert!(said.contains("100000 records transferred...\n"), "{said}");
    assert!(said.contains("Record not a digest failed: the key is not a digest\n"), "{said}");
    assert!(
        said.contains(&format!("Record {} failed: the record is unreadable: ", digest(1_000_000))),
        "{said}"
    );
    assert!(
        said.ends_with("Migration complete, 100000 records transferred successfully, 2 records failed\n")
    );

    let count = expected.len();
    migrate_all(("redis", &redis_1), ("sqlite", &sqlite), &[], count);
    migrate_all(("sqlite", &sqlite), ("mysql", &table), &[], count);
    migrate_all(("mysql", &table), ("gdbm", &second), &[], count);
    migrate_all(("gdbm", &second), ("redis_v0", &redis_2), &[], count);
    migrate_all(("redis_v0", &redis_2), ("redis", &redis_3), &[], count);
    let expected: BTreeMap<Digest, Record> =
        expected.into_iter().map(|(key, record)| (key, whole_seconds(record))).collect();
    for database in [
        ("redis", &redis_1),
        ("sqlite", &sqlite),
        ("mysql", &table),
        ("gdbm", &second),
        ("redis_v0", &redis_2),
        ("redis", &redis_3),
    ] {
        assert!(records((database.0, database.1)) == expected, "{}", database.0);
    }
    // A second migration into the same database: nothing is counted twice.
    migrate_all(("gdbm", &second), ("redis", &redis_3), &[], count);
    assert!(records(("redis", &redis_3)) == expected);
}

#[test]
fn fractions_of_a_second_survive_between_files() {
    for pair in [["gdbm", "gdbm"], ["gdbm", "sqlite"], ["sqlite", "gdbm"], ["sqlite", "sqlite"]] {
        let home = Home::new();
        let (first, expected) = gdbm(&home, "first.db", 500);
        let [source, destination] = ["source", "destination"].map(|name| home.path(name).to_str().unwrap().to_owned());
        migrate_all(("gdbm", &first), (pair[0], &source), &[], 500);
        migrate_all((pair[0], &source), (pair[1], &destination), &[], 500);
        assert_eq!(records((pair[1], &destination)), expected);
        // A second run has nothing to do, and counts nothing twice.
        migrate_all((pair[0], &source), (pair[1], &destination), &[], 500);
        migrate_all((pair[0], &source), (pair[1], &destination), &["--delete"], 500);
        assert_eq!((records((pair[1], &destination)), records((pair[0], &source)).len()), (expected, 0));
    }
}

/// A sqlite database can be read and emptied while a server counts in it; nothing is lost on the way.
#[test]
fn the_database_of_a_running_sqlite_server_is_moved() {
    let home = Home::new();
    let (first, expected) = gdbm(&home, "first.db", 2000);
    let [source, destination, back] =
        ["source", "destination", "back"].map(|name| home.path(name).to_str().unwrap().to_owned());
    migrate_all(("gdbm", &first), ("sqlite", &source), &[], 2000);
    let server = Server::start(&["-e", "sqlite", "--dsn", &source, "--cleanup-age", "0"]);
    migrate_all(("sqlite", &source), ("sqlite", &destination), &[], 2000);
    assert_eq!(records(("sqlite", &destination)), expected);
    let client = server.client();
    let reported = |times: u32| {
        for _ in 0..times {
            let reply = client.ask(crate::harness::request("report", &[&digest(1), &digest(5000)]));
            assert_eq!(crate::harness::field(&reply, "Code"), "200", "{reply}");
        }
    };
    reported(3);
    // The second run moves what was counted since the first.
    let output = migrate(("sqlite", &source), ("sqlite", &destination), &["--delete", "--on-conflict", "replace"]);
    assert!(output.status.success(), "{output:?}");
    reported(4);
    let output = migrate(("sqlite", &source), ("sqlite", &destination), &["--delete", "--on-conflict", "add"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((client.check(&digest(1)), client.check(&digest(5000))), ((0, 0), (0, 0)));
    let old = expected[&Digest::parse(digest(1).as_bytes()).unwrap()].reports.count;
    drop(server);
    migrate_all(("sqlite", &destination), ("gdbm", &back), &[], 2001);
    let server = Server::start(&["--dsn", &back, "--cleanup-age", "0"]);
    assert_eq!([1, 5000].map(|number| server.client().check(&digest(number)).0), [old + 7, 7]);
}

#[test]
fn migrated_records_are_removed_and_failed_ones_stay() {
    let home = Home::new();
    let (source, expected) = gdbm(&home, "source.db", 5000);
    run_python("import dbm.gnu, sys; dbm.gnu.open(sys.argv[1], 'w')['0' * 40] = 'nonsense'", &[&source]);
    let destination = home.path("destination.db").to_str().unwrap().to_owned();
    let output = migrate(("gdbm", &source), ("gdbm", &destination), &["--delete"]);
    let said = stdout(&output);
    assert!(
        said.ends_with("Migration complete, 5000 records transferred successfully, 1 records failed\n"),
        "{said}"
    );
    assert_eq!(said.matches(" failed: ").count(), 1, "{said}");
    assert_eq!(records(("gdbm", &destination)), expected);
    let left = run_python("import dbm.gnu, sys; print(dbm.gnu.open(sys.argv[1]).keys())", &[&source]);
    assert_eq!(left.trim(), format!("[b'{}']", "0".repeat(40)));
}

#[test]
fn a_dry_run_writes_nothing() {
    let home = Home::new();
    let (source, _) = gdbm(&home, "source.db", 10);
    let destination = home.path("destination.db");
    let output = migrate(("gdbm", &source), ("gdbm", destination.to_str().unwrap()), &["--dry-run"]);
    assert_eq!(stdout(&output), "Dry run complete, 10 records would be transferred, 0 records failed\n");
    assert!(output.status.success() && !destination.exists());
}

#[test]
fn errors_are_one_line_and_create_no_source() {
    let home = Home::new();
    let (source, _) = gdbm(&home, "source.db", 10);
    let missing = home.path("missing.db").to_str().unwrap().to_owned();
    let table = "127.0.0.1:1,user,secret,db,table";
    for (from, to, cause) in [
        (("gdbm", &*missing), ("gdbm", "x"), "source: database"),
        (("gdbm", &*source), ("gdbm", &*source), "are the same database"),
        (("oracle", "x"), ("gdbm", "x"), "this build has no engine `oracle`"),
        (("gdbm", &*source), ("mysql", "a,b"), "destination: "),
        (("gdbm", &*source), ("mysql", table), "destination: "),
        (("gdbm", &*source), ("redis", "127.0.0.1,1,secret,0"), "destination: "),
        (("sqlite", &*missing), ("gdbm", "x"), "source: database"),
        (("sqlite", &*source), ("gdbm", "x"), "is a gdbm file"),
        (("gdbm", &*source), ("sqlite", &*source), "is a gdbm file"),
        (("gdbm", &*source), ("sqlite", "redis://:secret@h"), "destination: "),
    ] {
        let output = migrate(from, to, &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.lines().last().unwrap_or_default().contains(cause), "{cause} is not in {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(!home.path("missing.db").exists());
    assert_eq!(Command::new(env!("CARGO_BIN_EXE_pyzor-migrate")).output().unwrap().status.code(), Some(2));
}

/// A server has many names; one database under two names would be emptied by its own migration.
#[test]
fn one_database_under_two_names_is_recognised() {
    let redis = RedisServer::start();
    let home = Home::new();
    let (source, expected) = gdbm(&home, "source.db", 10);
    let (name, other) =
        (format!("127.0.0.1,{},,1", redis.port()), format!("redis://localhost:{}/1", redis.port()));
    migrate_all(("gdbm", &source), ("redis", &name), &[], 10);
    for options in [&["--delete"][..], &[]] {
        let output = migrate(("redis", &name), ("redis", &other), options);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("are the same database"), "{error}");
    }
    assert_eq!(records(("redis", &name)).len(), expected.len());
    let file = home.path("one.sqlite");
    migrate_all(("gdbm", &source), ("sqlite", file.to_str().unwrap()), &[], 10);
    std::os::unix::fs::symlink(&file, home.path("other.sqlite")).unwrap();
    for options in [&["--delete"][..], &[]] {
        let other = home.path("other.sqlite");
        let output = migrate(("sqlite", file.to_str().unwrap()), ("sqlite", other.to_str().unwrap()), options);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("are the same database"), "{error}");
    }
    assert_eq!(records(("sqlite", file.to_str().unwrap())).len(), expected.len());
}

/// Python's own tool and ours, each on the files of the other.
#[test]
fn pythons_migration_and_ours_agree() {
    let (home, redis) = (Home::new(), RedisServer::start());
    let (source, expected) = gdbm(&home, "source.db", 300);
    let [ours, theirs] = [1, 2].map(|db| format!("127.0.0.1,{},,{db}", redis.port()));
    migrate_all(("gdbm", &source), ("redis", &ours), &["--cleanup-age", "1000"], 300);
    let mut command = python("pyzor-migrate");
    let arguments = ["--se", "gdbm", "--sd", &source, "--de", "redis", "--dd", &theirs];
    let output = command.args(arguments).output().unwrap();
    // Python's gdbm engine returns keys as bytes, and its redis engine writes them as text: b'...'.
    let said = stdout(&output);
    assert!(said.contains("Migration complete, 300 records transferred"), "{output:?}");
    let ours = records(("redis", &ours));
    let expected: BTreeMap<Digest, Record> =
        expected.into_iter().map(|(key, record)| (key, whole_seconds(record))).collect();
    assert!(ours == expected);
    // Python's server reads the same in our copy as in its own.
    let lifetime = format!(
        "import redis, sys; print(redis.Redis(port={}, db=1).ttl('pyzord.digest_v1.{}'))",
        redis.port(),
        digest(7)
    );
    let lifetime: i64 = run_python(&lifetime, &[]).trim().parse().unwrap();
    assert!((1..=1000).contains(&lifetime), "{lifetime}");
    let server = Server::start(&["-e", "redis", "--dsn", &format!("127.0.0.1,{},,1", redis.port())]);
    assert_eq!(server.client().check(&digest(4)), (16, 1));
}

/// The old server counted one report after `--delete` had moved 1000. The second run replaced the 1000 by the 1.
#[test]
fn a_record_that_the_destination_has_already_is_kept_replaced_or_added_to() {
    for (option, status, expected, left) in [
        (&[][..], 1, 1000, 1),
        (&["--on-conflict", "keep"], 1, 1000, 1),
        (&["--on-conflict", "replace"], 0, 1, 0),
        (&["--on-conflict", "add"], 0, 1001, 0),
    ] {
        let home = Home::new();
        let [source, destination] =
            ["source.db", "destination.db"].map(|name| home.path(name).to_str().unwrap().to_owned());
        let key = Digest::parse(digest(7).as_bytes()).unwrap();
        let count = |path: &str, count: u64| {
            let time = Some(UnixTime::from_seconds(1_700_000_000));
            let reports = Tally { count, entered: time, updated: time };
            Gdbm::open(path.as_ref()).unwrap().put(key, &Record { reports, ..Record::default() }).unwrap();
        };
        count(&source, 1);
        count(&destination, 1000);
        let dry = migrate(
            ("gdbm", &source),
            ("gdbm", &destination),
            &[&["--dry-run"], option].concat(),
        );
        assert!(stdout(&dry).contains("the destination has 1000 reports"), "{dry:?}");
        assert_eq!(dry.status.code(), Some(status), "{dry:?}");
        let output = migrate(("gdbm", &source), ("gdbm", &destination), &[&["--delete"], option].concat());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let held = |path: &str| records(("gdbm", path)).get(&key).map_or(0, |record| record.reports.count);
        assert_eq!((held(&destination), held(&source)), (expected, left), "{option:?}");
        assert!(!home.path("destination.db.migration").exists());
    }
    let home = Home::new();
    let output = migrate(("gdbm", "x"), ("gdbm", home.path("y").to_str().unwrap()), &["--on-conflict", "add"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs --delete"), "{output:?}");
}

/// The record of 700 reports that the server used was replaced by one of 5 under the same key in upper case, and lost with
/// `--delete`.
#[test]
fn a_key_in_upper_case_takes_no_records_place() {
    let home = Home::new();
    let [source, destination] =
        ["source.db", "destination.db"].map(|name| home.path(name).to_str().unwrap().to_owned());
    let fill = "import dbm.gnu, sys\n\
        db = dbm.gnu.open(sys.argv[1], 'n')\n\
        for n in range(200):\n \
        db['%040x' % (0xabc000 + n)] = '1,700,None,None,0,None,None'\n \
        db['%040X' % (0xabc000 + n)] = '1,5,None,None,0,None,None'";
    run_python(fill, &[&source]);
    let output = migrate(("gdbm", &source), ("gdbm", &destination), &["--delete"]);
    assert!(output.status.code() == Some(1) && stdout(&output).contains("upper case"), "{output:?}");
    let moved = records(("gdbm", &destination));
    assert!(moved.len() == 200 && moved.values().all(|record| record.reports.count == 700));
    let left = run_python("import dbm.gnu, sys; print(len(dbm.gnu.open(sys.argv[1]).keys()))", &[&source]);
    assert_eq!(left.trim(), "200");
}

/// A panic ended the migration in the middle.
#[test]
fn a_migration_goes_on_when_its_lines_cannot_be_written() {
    let home = Home::new();
    let (source, expected) = gdbm(&home, "source.db", 100);
    let destination = home.path("destination.db").to_str().unwrap().to_owned();
    for (redirection, status) in [("> /dev/full", 1), ("| head -n 0; exit ${PIPESTATUS[0]}", 0)] {
        let script = format!("\"$0\" --se gdbm --sd '{source}' --de gdbm --dd '{destination}' {redirection}");
        let output =
            Command::new("bash").arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_pyzor-migrate")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(status) && !said.contains("panicked"), "{output:?}");
        assert_eq!(records(("gdbm", &destination)), expected);
    }
}

/// A destination that refused every record was gone through to the end, with a line for each.
#[test]
fn a_destination_that_refuses_everything_ends_the_migration() {
    let (home, redis) = (Home::new(), RedisServer::start());
    let (source, _) = gdbm(&home, "source.db", 2000);
    assert!(redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).starts_with("+OK"));
    let destination = format!("127.0.0.1,{},,0", redis.port());
    let output = migrate(("gdbm", &source), ("redis", &destination), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).lines().count() < 30, "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("in a row were refused"), "{output:?}");
}

/// The mark by which one database under two names is found stayed in the destination if the run was killed.
#[test]
fn a_mark_that_a_killed_run_has_left_is_removed() {
    let home = Home::new();
    let [from, to] = ["from.db", "to.db"].map(|name| home.path(name).to_str().unwrap().to_owned());
    let mark = Digest::new(*b"pyzor-migrate's mark");
    Gdbm::open(from.as_ref()).unwrap().put(Digest::new([1; 20]), &record(4)).unwrap();
    Gdbm::open(to.as_ref()).unwrap().put(mark, &record(9)).unwrap();
    migrate_all(("gdbm", &from), ("gdbm", &to), &[], 1);
    assert_eq!(records(("gdbm", &to)), BTreeMap::from([(Digest::new([1; 20]), record(4))]));
}
