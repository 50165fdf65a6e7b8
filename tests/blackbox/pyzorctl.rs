//! `pyzorctl` with running servers, stopped servers, and databases of every engine.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};

use pyzord_core::{Digest, Record, Tally, UnixTime};
use pyzord_engines::Gdbm;
use serde_json::Value;

use crate::harness::{Guarded, Home, Server, digest, field, request, run_python, wait_for, without_settings};

pub(crate) fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyzorctl"));
    command.arg("--homedir").arg(home.dir()).args(arguments).stdin(Stdio::null());
    without_settings(&mut command);
    command
}

pub(crate) fn ctl(home: &Home, arguments: &[&str]) -> Output {
    command(home, arguments).output().unwrap()
}

/// Runs `pyzorctl` with this standard input.
pub(crate) fn feed(home: &Home, arguments: &[&str], input: &str) -> Output {
    let mut command = command(home, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads no input may end before the input is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the output of a command that succeeds.
pub(crate) fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    stdout(output)
}

/// Returns the options that name the address of a running server.
pub(crate) fn at(server: &Server) -> [String; 4] {
    let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
    ["--address".into(), ip, "--port".into(), port]
}

pub(crate) fn ask(server: &Server, arguments: &[&str]) -> Output {
    let at = at(server);
    ctl(&server.home, &[&at.each_ref().map(String::as_str)[..], arguments].concat())
}

fn key(number: u32) -> Digest {
    Digest::parse(digest(number).as_bytes()).unwrap()
}

/// The option that keeps a server from expiring the records below, which are years old.
pub(crate) const KEEP: [&str; 2] = ["--cleanup-age", "0"];

/// Returns typical records of a server, and some rare ones.
fn record(number: u32) -> Record {
    let time =
        |micros: u32| Some(UnixTime::from_micros(1_600_000_000_000_000 + i64::from(micros) * 1_000_003));
    let tally = |count: u32| match count {
        0 => Tally::default(),
        _ => Tally { count: count.into(), entered: time(number), updated: time(number + count) },
    };
    Record { reports: tally(number % 5 * number), whitelists: tally(number % 3) }
}

/// Fills the home directory's database with records.
pub(crate) fn fill(home: &Home, count: u32) -> BTreeMap<Digest, Record> {
    let store = Gdbm::open(&home.path("pyzord.db")).unwrap();
    let records: BTreeMap<_, _> = (1..=count).map(|number| (key(number), record(number))).collect();
    records.iter().for_each(|(digest, record)| store.put(*digest, record).unwrap());
    records
}

/// Returns the lines of an export, sorted, without the first.
pub(crate) fn lines(export: &Output) -> Vec<String> {
    let mut lines: Vec<String> = printed(export).lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn status_distinguishes_a_server_that_answers_from_one_that_does_not() {
    let server = Server::start(&[]);
    let output = ask(&server, &["status"]);
    let text = printed(&output);
    assert!(text.starts_with("ok: "), "{output:?}");
    assert!(text.contains(&format!("ping: {} says 200 OK after ", server.address)), "{output:?}");
    assert!(text.contains(&format!("home directory: {}\n", server.home.dir().display())), "{output:?}");
    let json: Value = serde_json::from_str(&printed(&ask(&server, &["status", "--json"]))).unwrap();
    assert_eq!(json["running"], true, "{json}");
    assert!(json["level"] == "ok" && json["control"] == "ok" && json["engine"] == "gdbm", "{json}");
    assert_eq!(json["pid"], server.pid().as_raw());
    // The server tells its address, whatever the settings say. On all addresses it is asked at the loopback address.
    assert!(ctl(&server.home, &["status"]).status.success());
    let port = server.address.port().to_string();
    assert!(ctl(&server.home, &["status", "-a", "0.0.0.0", "-p", &port]).status.success());

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let status = |home: &Home| ctl(home, &["status", "-a", "127.0.0.1", "-p", &port]);
    let unreachable = status(&server.home);
    assert_eq!(unreachable.status.code(), Some(1), "{unreachable:?}");
    assert!(stdout(&unreachable).starts_with("failed: requests do not reach it: "), "{unreachable:?}");
    let home = server.stop();
    let absent = status(&home);
    assert_eq!(absent.status.code(), Some(3), "{absent:?}");
    assert!(stdout(&absent).starts_with("not running: ") && stdout(&absent).contains("no answer within"), "{absent:?}");
    home.write("pyzord.pid", "999999999\n");
    let dead = status(&home);
    assert_eq!(dead.status.code(), Some(1), "{dead:?}");
    assert!(stdout(&dead).contains("process: `999999999` of the pid file is gone\n"), "{dead:?}");
}

#[test]
fn a_record_is_found_in_the_file_and_over_the_network() {
    let home = Home::new();
    fill(&home, 4);
    let arguments = ["lookup", "--json", &digest(4), &digest(5)];
    let found = printed(&ctl(&home, &arguments));
    assert_eq!(
        found.lines().next().unwrap(),
        format!(
            "{{\"digest\":\"{}\",\"r_count\":16,\"r_entered\":1600000004.000012,\"r_updated\":1600000020.00006,\
             \"wl_count\":1,\"wl_entered\":1600000004.000012,\"wl_updated\":1600000005.000015}}",
            digest(4)
        )
    );
    let text =
        printed(&feed(&home, &["lookup", "-"], &format!("{} and so on\n\n{}\n", digest(4), digest(5))));
    assert!(
        text.contains("  reports: 16, first 2020-09-13 ") && text.contains("  whitelistings: 1, "),
        "{text}"
    );
    assert!(text.ends_with(&format!("{}\n  no record\n", digest(5))), "{text}");

    let server = Server::on(home, &KEEP);
    assert_eq!(printed(&ask(&server, &arguments)), found);
    // A server without a control socket, such as Python's.
    fs::remove_file(server.home.path("pyzord.db.control")).unwrap();
    // The protocol transfers whole seconds.
    let whole = found.replace(".000012", "").replace(".00006", "").replace(".000015", "");
    assert_eq!(printed(&ask(&server, &arguments)), whole);
    server.home.write("pyzord.access", "ping : anonymous : allow\n");
    let server = Server::on(server.stop(), &KEEP);
    fs::remove_file(server.home.path("pyzord.db.control")).unwrap();
    let refused = ask(&server, &arguments);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("the server says 403 Forbidden"), "{refused:?}");
}

#[test]
fn an_unreadable_record_is_named_and_can_be_deleted() {
    let home = Home::new();
    fill(&home, 3);
    let write = "import dbm.gnu, sys; dbm.gnu.open(sys.argv[1], 'w')[sys.argv[2]] = 'nonsense'";
    run_python(write, &[home.path("pyzord.db").to_str().unwrap(), &digest(2)]);
    for arguments in [&["lookup", &digest(2)][..], &["set", &digest(2), "--reports", "0"]] {
        let output = ctl(&home, arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("the record is unreadable"), "{output:?}");
    }
    let check = ctl(&home, &["check-database"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(stdout(&check).ends_with("sound\n3 entries, 1 of them unreadable\n"), "{check:?}");
    let export = ctl(&home, &["export"]);
    assert_eq!((export.status.code(), stdout(&export).lines().count()), (Some(1), 3));
    assert!(stderr(&export).contains(&digest(2)));
    assert!(printed(&ctl(&home, &["delete", &digest(2)])).contains("deleted (the record is unreadable"));
    assert_eq!(printed(&ctl(&home, &["delete", &digest(2)])), format!("{}: no record\n", digest(2)));
    assert!(ctl(&home, &["check-database"]).status.success());
}

/// The check approved of a file that no server could create.
#[test]
fn a_database_that_cannot_be_created_is_unusable() {
    let home = Home::new();
    home.write("config", "[server]\nDigestDB = /no-such-folder/db\n");
    let check = ctl(&home, &["check-database"]);
    assert_eq!((check.status.code(), stdout(&check).as_str()), (Some(1), "database /no-such-folder/db: unusable\n"));
    assert!(stderr(&check).contains("a server cannot create it: No such file"), "{check:?}");
    home.write("config", "");
    assert_eq!(ctl(&home, &["check-database"]).status.code(), Some(0));
}

#[test]
fn a_file_of_a_server_without_a_control_socket_is_changed_after_its_stop() {
    let home = Home::new();
    fill(&home, 4);
    let server = Server::on(home, &KEEP);
    // Python's server has no control socket.
    fs::remove_file(server.home.path("pyzord.db.control")).unwrap();
    for arguments in [
        &["delete", &digest(4)][..],
        &["set", &digest(4), "--reports", "0"],
        &["export"],
        &["import"],
        &["expiry"],
        &["check-database"],
    ] {
        let output = ask(&server, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let error = stderr(&output);
        assert!(error.contains("in use by another process") && error.lines().count() == 1, "{error}");
    }
    assert!(stderr(&ask(&server, &["delete", &digest(4)])).contains("pyzorctl whitelist"));
    assert_eq!(server.client().check(&digest(4)), (16, 1));

    let mut waiting = command(&server.home, &["delete", &digest(4), "--wait", "60"]);
    let mut waiting = Guarded(waiting.stdout(Stdio::null()).spawn().unwrap());
    let home = server.stop();
    assert!(waiting.0.wait().unwrap().success());
    let set = ["set", &digest(3), "--reports", "7", "--reported", "1700000000", "--whitelists", "0"];
    assert!(printed(&ctl(&home, &set)).ends_with("  whitelistings: 0\n"));
    let server = Server::on(home, &KEEP);
    assert_eq!(server.client().check(&digest(4)), (0, 0));
    let info = server.client().ask(request("info", &[&digest(3)]));
    assert_eq!(
        ["Count", "Updated", "WL-Count", "WL-Updated"].map(|name| field(&info, name)),
        ["7", "1700000000", "0", "0"]
    );
}

#[test]
fn a_running_server_counts_a_whitelisting_in_an_accounts_name() {
    let home = Home::new();
    home.write("pyzord.passwd", "alice : 5ec2e7\n");
    home.write("pyzord.access", "whitelist : alice : allow\ncheck : anonymous : allow\n");
    let server = Server::on(home, &["--usage-log-file", "usage.log"]);
    for _ in 0..2 {
        let said = printed(&ask(&server, &["whitelist", &digest(1), &digest(2), "--user", "alice"]));
        assert_eq!(said, format!("{}: 200 OK\n{}: 200 OK\n", digest(1), digest(2)));
    }
    assert_eq!(server.client().check(&digest(1)), (0, 2));
    wait_for("a line", || server.home.read("usage.log").contains("alice,127.0.0.1,whitelist,").then_some(()));
    let refused = ask(&server, &["whitelist", &digest(1)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stdout(&refused).contains(": 403 Forbidden"), "{refused:?}");
    assert_eq!(
        stderr(&ask(&server, &["whitelist", &digest(1), "--user", "eve"])),
        "pyzorctl: there is no account `eve`\n"
    );
}

#[test]
fn an_export_is_imported_exactly() {
    let home = Home::new();
    let records = fill(&home, 1000);
    let csv = ctl(&home, &["export"]);
    let expected = lines(&csv);
    assert_eq!(expected.len(), records.len());
    for format in ["csv", "jsonl"] {
        let text = printed(&ctl(&home, &["export", "--format", format]));
        let other = Home::new();
        let said = printed(&feed(&other, &["import", "--format", format], &text));
        assert_eq!(said, "1000 records imported, 0 lines failed\n");
        assert_eq!(lines(&ctl(&other, &["export"])), expected);
    }
    let copy = Gdbm::open(&home.path("copy.db")).unwrap();
    drop(copy);
    // Windows saves a byte order mark before the text.
    let file = home.write("export.csv", "\u{feff}".to_owned() + &stdout(&csv));
    let said = printed(&ctl(&home, &["import", file.to_str().unwrap(), "--dsn", "copy.db"]));
    assert_eq!(said, "1000 records imported, 0 lines failed\n");
    assert_eq!(lines(&ctl(&home, &["export", "--dsn", "copy.db"])), expected);
    let marked = format!("\u{feff}{}\n", expected[0].split(',').next().unwrap());
    assert!(printed(&feed(&home, &["lookup", "-"], &marked)).contains(marked.trim_start_matches('\u{feff}').trim()));
}

#[test]
fn an_import_reports_records_that_exist_already() {
    let home = Home::new();
    let line = |count: u32, from: u32, to: u32| format!("{},{count},{from},{to},0,,\n", digest(1));
    let (old, new) = (line(5, 10, 20), line(2, 15, 30));
    let import = |options: &[&str], text: &str| feed(&home, &[&["import"], options].concat(), text);
    let stored = || lines(&ctl(&home, &["export"]))[0].clone() + "\n";
    assert!(import(&[], &old).status.success());
    // The same records again are no conflict.
    assert!(import(&[], &old).status.success());
    let refused = import(&[], &new);
    assert_eq!((refused.status.code(), stored()), (Some(1), old.clone()));
    assert!(
        stderr(&refused).contains("line 1: ") && stderr(&refused).contains("it has another record already")
    );
    assert!(import(&["--merge"], &new).status.success());
    assert_eq!(stored(), line(7, 10, 30));
    assert!(import(&["--replace"], &new).status.success());
    assert_eq!(stored(), new);
    // Lines with the same digest are imported one after the other.
    assert!(import(&["--merge"], &[&*old, &old, &old].concat()).status.success());
    assert_eq!(stored(), line(17, 10, 30));
    assert_eq!(import(&["--merge", "--replace"], &new).status.code(), Some(2));
}

#[test]
fn bad_lines_are_named_by_number_and_the_others_imported() {
    let home = Home::new();
    let good = |number| format!("{},1,5,5,0,,", digest(number));
    let text =
        [&good(1), "da39,1,,,0,,", "", &"x".repeat(100_000), "\u{1b}[31m,,,,,,", &good(2)].join("\r\n");
    let output = feed(&home, &["import"], &text);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "2 records imported, 3 lines failed\n");
    let error = stderr(&output);
    let numbers: Vec<&str> =
        error.lines().map(|line| line.split("line ").nth(1).unwrap().split(':').next().unwrap()).collect();
    assert_eq!(numbers, ["2", "4", "5"], "{error}");
    assert!(!error.contains('\u{1b}'), "{error:?}");
    assert_eq!(lines(&ctl(&home, &["export"])), [good(1), good(2)]);
    let missing = ctl(&home, &["import", "/nonexistent"]);
    assert_eq!(stderr(&missing).lines().count(), 1);
    assert!(stderr(&missing).starts_with("pyzorctl: /nonexistent: "), "{missing:?}");
}

/// Damages the file as a process does that is killed during a write: one bucket has a wrong number of records, one too
/// large or too small.
fn damaged(file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let address = |at: usize, bytes: &[u8]| {
        usize::try_from(u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let bucket = address(address(8, &bytes), &bytes);
    // The bits and then the count follow a list of free space of 8 bytes and 6 elements of 16 bytes.
    bytes[bucket + 8 + 6 * 16 + 4] ^= 1;
    bytes
}

#[test]
fn a_check_finds_what_a_start_would_find_and_changes_nothing() {
    let home = Home::new();
    let path = home.path("pyzord.db");
    let check = || {
        let output = ctl(&home, &["check-database", "--json"]);
        let text = stdout(&output);
        let state = text.split("\"state\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        (state, output.status.code().unwrap())
    };
    assert_eq!(check(), ("absent".to_owned(), 0));
    assert!(!path.exists());
    fill(&home, 500);
    assert_eq!(check(), ("sound".to_owned(), 0));
    let sound = fs::read(&path).unwrap();

    let damaged = damaged(&sound);
    fs::write(&path, &damaged).unwrap();
    assert_eq!(check(), ("needs recovery".to_owned(), 1));
    assert_eq!(fs::read(&path).unwrap(), damaged);
    fs::write(&path, vec![0x55; 10_000]).unwrap();
    assert_eq!(check(), ("unusable".to_owned(), 1));
    fs::write(&path, &sound).unwrap();
    let open = Gdbm::open(&path).unwrap();
    assert_eq!(check(), ("in use".to_owned(), 1));
    drop(open);
    assert_eq!(fs::read(&path).unwrap(), sound);
    assert_eq!(fs::read_dir(home.dir()).unwrap().count(), 1, "no backup and no other file");
}

#[test]
fn expiry_is_what_a_server_would_remove() {
    let home = Home::new();
    let day = 24 * 3600;
    let now = run_python("import time; print(int(time.time()))", &[]).trim().parse::<i64>().unwrap();
    let line = |number, days: i64| format!("{},1,5,{},0,,\n", digest(number), now - days * day - 60);
    let undated = format!("{},1,,,0,,\n", digest(5));
    let text = [line(1, 0), line(2, 10), line(3, 119), line(4, 130), undated].concat();
    assert!(feed(&home, &["import"], &text).status.success());
    let told = printed(&ctl(&home, &["expiry"]));
    for expected in [
        "expired: 1",
        "younger than 1 days: 1",
        "younger than 7 days: 0",
        "younger than 30 days: 1",
        "younger than 120 days: 1",
        "older: 1",
        "without a date: 1",
    ] {
        assert!(told.lines().any(|line| line == expected), "{expected} is not in {told}");
    }
    let listed = printed(&ctl(&home, &["expiry", "--list"]));
    assert!(listed.starts_with(&digest(4)) && listed.lines().count() == 1, "{listed}");
    let week = ["expiry", "--list", "--json", "--cleanup-age", "604800"];
    assert_eq!(printed(&ctl(&home, &week)).lines().count(), 3);
    let never = printed(&ctl(&home, &["expiry", "--json", "--cleanup-age", "0"]));
    assert!(never.starts_with("{\"cleanup_age\":0,\"expired\":0,"), "{never}");
    // `delete` reads such a list.
    assert!(printed(&feed(&home, &["delete", "-"], &listed)).starts_with(&format!("{}: deleted", digest(4))));
    assert_eq!(printed(&ctl(&home, &["expiry", "--list"])), "");
}

/// Returns a home directory with records, by their numbers and ages in days.
fn with_ages(ages: impl IntoIterator<Item = (u32, i64)>) -> Home {
    let home = Home::new();
    let now = run_python("import time; print(int(time.time()))", &[]).trim().parse::<i64>().unwrap();
    let line = |(number, days)| format!("{},1,5,{},0,,\n", digest(number), now - days * 24 * 3600 - 60);
    let text: String = ages.into_iter().map(line).collect();
    assert!(feed(&home, &["import"], &text).status.success());
    home
}

/// A clock that was a year ahead at the boot removed 5000 of 5000 records 10 ms after the start.
#[test]
fn expiry_waits_for_a_clock_that_is_near_the_records() {
    let server = Server::on(with_ages([(1, 40), (2, 130)]), &[]);
    server.wait_for_log("expiry waits, no record is removed: the clock is 40 days ahead of the newest record; set");
    let client = server.client();
    assert_eq!([1, 2].map(|number| client.check(&digest(number))), [(1, 0); 2]);
    let told = printed(&ask(&server, &["expiry"]));
    assert!(told.ends_with("expiry waits: the clock is 40 days ahead of the newest record\n"), "{told}");
    let told = printed(&ask(&server, &["expiry", "--now"]));
    assert!(told.contains("\nexpired: 1\n") && told.ends_with("the expired records were removed\n"), "{told}");
    assert_eq!([1, 2].map(|number| client.check(&digest(number))), [(1, 0), (0, 0)]);
    // Without a server, by the file itself.
    let home = server.stop();
    printed(&ctl(&home, &["expiry", "--now", "--cleanup-age", "1000"]));
    assert!(printed(&ctl(&home, &["export"])).lines().all(|line| !line.starts_with(&digest(1))));

    let server = Server::on(with_ages([(1, 40), (2, 130)]), &["--cleanup-max-offset", "0"]);
    server.wait_for_log("1 of 2 records have expired and were removed");
}

#[test]
fn expiry_waits_before_it_removes_more_than_half_of_the_records() {
    let ages = || (0..1200).map(|number| (number, if number < 700 { 130 } else { 1 }));
    let server = Server::on(with_ages(ages()), &[]);
    server.wait_for_log("expiry waits, no record is removed: 700 of 1200 records would be removed at once; set");
    assert_eq!(server.client().check(&digest(1)), (1, 0));
    let server = Server::on(server.stop(), &["--cleanup-max-share", "60"]);
    server.wait_for_log("700 of 1200 records have expired and were removed");
}

#[test]
fn errors_are_one_line_and_usage_is_status_2() {
    let home = Home::new();
    home.write("config", "[server]\nCleanupAge = -1\n");
    let output = ctl(&home, &["expiry"]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.starts_with("pyzorctl: ") && error.contains("config, line 2: CleanupAge: "), "{error}");
    assert_eq!(error.lines().count(), 1);
    let home = Home::new();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["set", &digest(1)],
        &["set", "da39", "--reports", "1"],
        &["explain", "bob", "fly"],
    ] {
        assert_eq!(ctl(&home, arguments).status.code(), Some(2), "{arguments:?}");
    }
    for (arguments, cause) in [
        (&["lookup", "da39"][..], "`da39`: a digest is 40 hex digits"),
        (&["lookup", &digest(1)], "pyzord.db cannot be opened"),
        (&["delete", &digest(1)], "pyzord.db cannot be opened"),
        (&["status", "-e", "gdbm", "-p", "0"], "Port: 0"),
        (&["export", "-e", "oracle"], "this build has no engine `oracle`"),
    ] {
        let output = ctl(&home, arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(cause) && stderr(&output).lines().count() == 1, "{output:?}");
    }
    assert!(!home.path("pyzord.db").exists());
    let stdin = feed(&home, &["lookup", "-"], &format!("{}\nda39\n", digest(1)));
    assert!(stderr(&stdin).contains("standard input, line 2: "), "{stdin:?}");
}

#[test]
fn a_closed_output_ends_an_export_quietly() {
    let home = Home::new();
    fill(&home, 5000);
    let mut export = command(&home, &["export"]);
    let mut child = export.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// The same commands on a database server, which locks no file.
#[cfg(all(feature = "redis", feature = "mysql"))]
#[test]
fn records_on_a_database_server_are_changed_beside_a_running_pyzord() {
    use pyzord_testkit::{MariadbServer, RedisServer};
    let (redis, mysql) = (RedisServer::start(), MariadbServer::start());
    let table = mysql.dsn("digests");
    assert!(Home::new().run(&["-e", "mysql", "--dsn", &table, "--create-table"]).status.success());
    let redis_at = |db: u32| format!("127.0.0.1,{},,{db}", redis.port());
    let source = Home::new();
    fill(&source, 1000);
    let csv = printed(&ctl(&source, &["export"]));
    let whole: Vec<String> = lines(&ctl(&source, &["export"]))
        .iter()
        .map(|line| {
            line.split(',').map(|field| field.split('.').next().unwrap()).collect::<Vec<_>>().join(",")
        })
        .collect();
    for (engine, dsn) in [("redis", redis_at(1)), ("redis_v0", redis_at(2)), ("mysql", table)] {
        let server = Server::start(&[&["-e", engine, "--dsn", &dsn], &KEEP[..]].concat());
        let run = |arguments: &[&str]| ask(&server, &[&["-e", engine, "--dsn", &dsn], arguments].concat());
        let file = server.home.write("export.csv", &csv);
        let imported = printed(&run(&["import", file.to_str().unwrap()]));
        assert_eq!(imported, "1000 records imported, 0 lines failed\n", "{engine}");
        // All records again are no conflict: a part of a record that the database cuts off is no difference.
        assert!(run(&["import", file.to_str().unwrap()]).status.success());
        assert_eq!(lines(&run(&["export"])), whole, "{engine}");
        assert!(printed(&run(&["lookup", &digest(4)])).contains("  reports: 16, first 2020-09-13 "));
        assert!(
            printed(&run(&["delete", &digest(4), "--yes"])).contains("deleted (16 reports, 1 whitelistings)")
        );
        assert_eq!(server.client().check(&digest(4)), (0, 0));
        assert!(run(&["set", &digest(4), "--reports", "3", "--whitelists", "2"]).status.success());
        assert_eq!(server.client().check(&digest(4)), (3, 2));
        let checked = printed(&run(&["check-database"]));
        assert!(checked.ends_with("sound\n1000 entries, 0 of them unreadable\n"), "{checked}");
        // All records except the one just set and the 66 without a date.
        assert!(printed(&run(&["expiry"])).contains("\nexpired: 933\n"));
        let status = printed(&run(&["status"]));
        assert!(status.contains("records: about 1") && !status.contains("secret"), "{status}");
    }
    // No message has a password.
    for (engine, dsn) in [("redis", "127.0.0.1,1,secret,0"), ("mysql", "127.0.0.1:1,user,secret,db,table")] {
        for command in ["export", "check-database", "status"] {
            let home = Home::new();
            let output = ctl(&home, &[command, "-e", engine, "--dsn", dsn, "-p", "1"]);
            let said = stdout(&output) + &stderr(&output);
            assert!(!output.status.success() && !said.contains("secret"), "{said}");
        }
    }
}
