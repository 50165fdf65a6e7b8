//! The engine sqlite, and the tools beside it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::unistd::{User, geteuid};

use crate::harness::{Home, Server, digest, field, request, run_python};
use crate::pyzorctl::{ask, ctl, feed, lines, printed, stderr, stdout};

const SQLITE: [&str; 2] = ["-e", "sqlite"];
const DATABASE: &str = "pyzord.sqlite";

/// Returns a home directory with this number of records, each with one report.
fn home_with(count: u32) -> Home {
    let home = Home::new();
    home.write("config", "[server]\nEngine = sqlite\nCleanupAge = 0\n");
    let line = |number| format!("{},1,1600000000.25,1700000000.000001,0,,\n", digest(number));
    let text: String = (1..=count).map(line).collect();
    printed(&feed(&home, &["import"], &text));
    home
}

/// Runs statements of SQL in the database of a home directory, as another program does.
fn sql(home: &Home, script: &str) -> String {
    let python = "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20).execute(\
                  sys.argv[2]): print(*row)";
    run_python(python, &[home.path(DATABASE).to_str().unwrap(), script]).trim().to_owned()
}

fn said(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

#[test]
fn the_database_is_in_the_home_directory_and_is_the_servers_alone() {
    let server = Server::start(&SQLITE);
    assert_eq!(field(&server.client().ask(request("report", &[&digest(1)])), "Code"), "200");
    for name in [DATABASE, "pyzord.sqlite-wal", "pyzord.sqlite-shm"] {
        assert_eq!(server.home.path(name).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let home = server.stop();
    assert!(!home.path("pyzord.sqlite-wal").exists(), "a stop moves the log into the database");
    let server = Server::on(home, &["-e", "SQLite", "--durability", "strict", "--dsn", "./pyzord.sqlite"]);
    assert_eq!(server.client().check(&digest(1)), (1, 0));
    assert_eq!(field(&server.client().ask(request("report", &[&digest(1)])), "Code"), "200");
    let server = Server::on(server.kill(), &SQLITE);
    assert_eq!(server.client().check(&digest(1)), (2, 0));
    // The address of a database server is no file, and is not shown.
    for dsn in ["127.0.0.1,6379,secret,0", "redis://:secret@h", "localhost,user,secret,pyzor,digests"] {
        for arguments in [&["--check-config"][..], &[]] {
            let text = said(&Home::new().run(&[&SQLITE[..], &["-p", "0", "--dsn", dsn], arguments].concat()));
            assert!(text.contains("DigestDB") || text.contains("--dsn"), "{text}");
            assert!(
                text.contains("the engine is sqlite, which takes a file") && !text.contains("secret"),
                "{text}"
            );
        }
        let text = said(&ctl(&Home::new(), &[&SQLITE[..], &["--dsn", dsn, "export"]].concat()));
        assert!(text.contains("which takes a file") && !text.contains("secret"), "{text}");
    }
}

#[test]
fn every_command_works_beside_a_running_server_and_without_one() {
    for durability in ["deferred", "strict"] {
        let home = home_with(1000);
        let before = lines(&ctl(&home, &["export"]));
        assert!(before.contains(&format!("{},1,1600000000.25,1700000000.000001,0,,", digest(1))));
        let server = Server::on(home, &["--durability", durability]);
        let client = server.client();
        for round in [1, 2] {
            let run = |arguments: &[&str]| {
                if round == 1 { ask(&server, arguments) } else { ctl(&server.home, arguments) }
            };
            assert_eq!(lines(&run(&["export"])).len(), 1000);
            assert!(printed(&run(&["lookup", &digest(3)])).contains("  reports: 1, first 2020-09-13 "));
            assert!(printed(&run(&["set", &digest(4), "--reports", "7"])).contains("  reports: 7, "));
            assert_eq!(client.check(&digest(4)), (7, 0));
            assert_eq!(
                printed(&run(&["delete", &digest(4), &digest(5000)])),
                format!("{}: deleted (7 reports, 0 whitelistings)\n{}: no record\n", digest(4), digest(5000))
            );
            assert_eq!(client.check(&digest(4)), (0, 0));
            let line = format!("{},100,1700000000.5,1700000001,0,,\n", digest(4));
            let file = server.home.write("one.csv", &line);
            printed(&run(&["import", "--merge", file.to_str().unwrap()]));
            assert_eq!(field(&client.ask(request("report", &[&digest(4)])), "Code"), "200");
            assert_eq!(client.check(&digest(4)), (101, 0));
            let expiry = printed(&run(&["expiry", "--cleanup-age", "1000"]));
            assert!(expiry.contains("\nexpired: 999\n"), "{expiry}");
            let checked = printed(&run(&["check-database"]));
            assert!(checked.ends_with(": sound\n1000 entries, 0 of them unreadable\n"), "{checked}");
        }
        let status = printed(&ask(&server, &["status"]));
        assert!(status.contains("engine: sqlite\n") && status.ends_with("records: about 1000\n"), "{status}");
        let now = printed(&ask(&server, &["expiry", "--now", "--cleanup-age", "1000"]));
        assert!(now.ends_with("the expired records were removed\n"), "{now}");
        assert_eq!((client.check(&digest(3)), client.check(&digest(4))), ((0, 0), (101, 0)));
        let home = server.stop();
        assert_eq!(lines(&ctl(&home, &["export"])).len(), 1);
        printed(&ctl(&home, &["set", &digest(9), "--whitelists", "2"]));
        assert!(printed(&ctl(&home, &["lookup", &digest(9)])).contains("  whitelistings: 2"));
        assert_eq!(sql(&home, "select value from pyzord_meta where name = 'records'"), "2");
    }
}

/// Ends the writers, also by a panic.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A tool that waited in vain for writers who never pause would be of no use, and one that keeps them waiting is an attack.
#[test]
fn commands_and_saturated_writers_get_their_turns() {
    let server = Server::on(home_with(5000), &["--workers", "2"]);
    let done = AtomicBool::new(false);
    let counted = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (server, done) = (&server, &done);
                scope.spawn(move || {
                    let client = server.client();
                    let (mut asked, mut refused) = (0_u32, 0_u32);
                    while !done.load(Ordering::Relaxed) {
                        let digests: Vec<String> = (0..20)
                            .map(|number| digest(100_000 * (writer + 1) + (asked + number) % 3000))
                            .collect();
                        let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
                        refused +=
                            u32::from(field(&client.ask(request("report", &digests)), "Code") != "200");
                        asked += 1;
                    }
                    (asked, refused)
                })
            })
            .collect();
        let done = SetAtEnd(&done);
        for number in 1..=30 {
            let output = ask(&server, &["set", &digest(number), "--whitelists", "3"]);
            assert!(output.status.success(), "{output:?}");
            assert_eq!(server.client().check(&digest(number)), (1, 3));
        }
        let text: String =
            (1..=2000).map(|n| format!("{},1,1700000000,1700000001,0,,\n", digest(n))).collect();
        let file = server.home.write("merge.csv", text);
        printed(&ask(&server, &["import", "--merge", file.to_str().unwrap()]));
        assert!(lines(&ask(&server, &["export"])).len() >= 5000);
        printed(&ask(&server, &["check-database"]));
        drop(done);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(counted.iter().all(|(asked, refused)| *asked > 0 && *refused == 0), "{counted:?}");
    assert_eq!((server.client().check(&digest(1)), server.client().check(&digest(5000))), ((2, 3), (1, 0)));
}

/// Returns the state of the database in words, the exit status, and what was said.
fn checked(home: &Home) -> (String, i32, String) {
    let output = ctl(home, &["check-database", "--json"]);
    let text = stdout(&output);
    let state = text.split("\"state\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (state, output.status.code().unwrap(), said(&output))
}

/// Returns whether `--check-config` and a start succeed, and what both said.
fn started(home: &Home) -> (bool, String) {
    let listen = ["-a", "127.0.0.1", "-p", "0"];
    let check = home.run(&[&listen[..], &["--check-config"]].concat());
    let (succeeds, text) = (check.status.success(), said(&check));
    assert!(text.contains(if succeeds { "a start succeeds" } else { "a start fails" }), "{text}");
    if succeeds {
        return (true, text);
    }
    let start = home.run(&listen);
    assert_eq!(start.status.code(), Some(1), "the check found what the start did not");
    (false, text + &said(&start))
}

/// What is put at a database's place, how, what `check-database` says of it, whether a server starts on it, and the words.
type Found = (&'static str, fn(&Home), &'static str, bool, &'static str);

fn sqlite(home: &Home, script: &str) {
    sql(home, script);
}

const FOUND: [Found; 9] = [
    ("absent", |_| (), "absent", true, "does not exist yet and will be created"),
    ("empty", |home| drop(home.write(DATABASE, "")), "absent", true, "will be created"),
    (
        "gdbm",
        |home| {
            printed(&feed(home, &["-e", "gdbm", "--dsn", DATABASE, "import"], ""));
        },
        "unusable",
        false,
        "is a gdbm file",
    ),
    (
        "text",
        |home| drop(home.write(DATABASE, "this is no database".repeat(500))),
        "unusable",
        false,
        "is not a SQLite database",
    ),
    (
        "foreign",
        |home| sqlite(home, "create table bank(account)"),
        "unusable",
        false,
        "of another program",
    ),
    (
        "newer",
        |home| {
            copy_of_home(home);
            sqlite(home, "pragma user_version = 99");
        },
        "unusable",
        false,
        "version 99",
    ),
    (
        "changed",
        |home| {
            copy_of_home(home);
            sqlite(home, "alter table digests add column more text");
        },
        "unusable",
        false,
        "that pyzord has not made",
    ),
    ("folder", |home| fs::create_dir(home.path(DATABASE)).unwrap(), "unusable", false, "is not a file"),
    ("sound", |home| copy_of_home(home), "sound", true, "can be opened"),
];

#[test]
fn checks_find_what_a_start_would_find_and_change_nothing() {
    for (name, make, state, succeeds, words) in FOUND {
        let home = Home::new();
        home.write("config", "[server]\nEngine = sqlite\nCleanupAge = 0\n");
        make(&home);
        let before = (content(&home), fs::read(home.path(DATABASE)).ok());
        let (found, status, text) = checked(&home);
        assert_eq!((found.as_str(), status == 0), (state, succeeds), "{name}: {text}");
        let (starts, config) = started(&home);
        assert!(starts == succeeds && config.contains(words), "{name}: {config}");
        assert!(text.contains(words) || succeeds, "{name}: {text}");
        assert_eq!((content(&home), fs::read(home.path(DATABASE)).ok()), before, "{name}");
    }
}

/// Puts a database with some records into a home directory.
fn copy_of_home(home: &Home) {
    let source = home_with(300);
    fs::copy(source.path(DATABASE), home.path(DATABASE)).unwrap();
}

/// Returns the names of the files of a home directory that are a part of a database.
fn content(home: &Home) -> Vec<String> {
    let names =
        fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // An index of the log, and a log without pages, say nothing.
    let is_empty =
        |name: &str| home.path(name).metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
    let mut names: Vec<String> =
        names.filter(|name| !name.ends_with("-shm") && (!name.ends_with("-wal") || !is_empty(name))).collect();
    names.sort();
    names
}

#[test]
fn a_damaged_database_is_named_and_an_unreadable_row_can_be_deleted() {
    let home = home_with(3000);
    let put = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\n\
               c.execute('pragma ignore_check_constraints = 1')\n\
               c.execute(\"insert into digests values (x'010203', 1, null, null, 0, null, null)\")\n\
               c.execute(\"insert into digests values (x'\" + 'ab' * 20 + \"', -5, null, null, 0, null, null)\")\n\
               c.commit()";
    run_python(put, &[home.path(DATABASE).to_str().unwrap()]);
    let (state, status, text) = checked(&home);
    assert_eq!((state.as_str(), status), ("sound", 1), "{text}");
    assert!(text.contains("\"unreadable\":2") && text.contains("010203"), "{text}");
    let export = ctl(&home, &["export"]);
    assert_eq!((export.status.code(), stdout(&export).lines().count()), (Some(1), 3001));
    // The server goes on with the others.
    let server = Server::on(home, &[]);
    let reply = server.client().ask(request("report", &[&"ab".repeat(20)]));
    assert!(field(&reply, "Diag").contains("unreadable"), "{reply}");
    assert_eq!(server.client().check(&digest(7)), (1, 0));
    assert!(printed(&ask(&server, &["delete", &"ab".repeat(20)])).contains("the record is unreadable"));
    assert_eq!(server.client().check(&"ab".repeat(20)), (0, 0));

    let home = server.stop();
    sql(&home, "delete from digests where length(digest) = 3");
    let (state, status, text) = checked(&home);
    assert!(text.contains("kept as 2999, and there are 3000"), "{text}");
    assert_eq!((state.as_str(), status), ("sound", 1));
    let mut bytes = fs::read(home.path(DATABASE)).unwrap();
    let middle = bytes.len() / 2 / 1024 * 1024;
    bytes[middle..middle + 1024].fill(0x5a);
    fs::write(home.path(DATABASE), bytes).unwrap();
    let (state, status, text) = checked(&home);
    assert_eq!((state.as_str(), status), ("damaged", 1), "{text}");
    let plain = ctl(&home, &["check-database"]);
    assert!(stdout(&plain).contains(": damaged\n") && stderr(&plain).contains("put a backup"), "{plain:?}");
}

/// SQLite applies any log of the right name: the pages of a backup and of a newer log were mixed.
#[test]
fn a_restored_backup_is_refused_beside_the_log_of_the_old_database() {
    let server = Server::on(home_with(200), &[]);
    let folder = Home::new();
    let copy = folder.path("copy");
    printed(&ask(&server, &["backup", copy.to_str().unwrap()]));
    for number in 1..=50 {
        assert_eq!(field(&server.client().ask(request("report", &[&digest(number)])), "Code"), "200");
    }
    let home = server.kill();
    let log = home.path("pyzord.sqlite-wal");
    assert!(log.metadata().unwrap().len() > 0);
    // Not on the open file's own bytes: a restore puts another file there.
    fs::copy(&copy, home.path("restored")).unwrap();
    fs::rename(home.path("restored"), home.path(DATABASE)).unwrap();
    for _ in 0..2 {
        let (starts, text) = started(&home);
        assert!(!starts && text.contains("belongs to another database") && text.contains("remove"), "{text}");
        let (state, status, text) = checked(&home);
        assert_eq!((state.as_str(), status), ("unusable", 1), "{text}");
    }
    fs::remove_file(log).unwrap();
    fs::remove_file(home.path("pyzord.sqlite-shm")).unwrap();
    let server = Server::on(home, &[]);
    assert_eq!([1, 50, 200].map(|number| server.client().check(&digest(number)).0), [1; 3]);
}

/// A program that leaves a transaction open keeps counts waiting, and checks go on.
#[test]
fn another_program_reads_meanwhile_and_cannot_stop_checks() {
    let server = Server::on(home_with(10), &[]);
    let client = server.client();
    assert_eq!(field(&client.ask(request("report", &[&digest(1)])), "Code"), "200");
    assert_eq!(sql(&server.home, "select count(*), sum(r_count) from digests"), "10 11");
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  c.execute('begin immediate')\nprint('locked', flush=True)\nsys.stdin.read()\nc.execute('rollback')";
    let mut command = crate::harness::python("python");
    command.args(["-c", script]).arg(server.home.path(DATABASE));
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "locked\n");
    let refused = client.ask(request("report", &[&digest(1)]));
    assert_eq!(field(&refused, "Code"), "500", "{refused}");
    assert_eq!(client.check(&digest(1)), (2, 0));
    server.wait_for_log("another process has locked it");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(field(&client.ask(request("report", &[&digest(1)])), "Code"), "200");
    assert_eq!(client.check(&digest(1)), (3, 0));
}

/// Files that root's tool made would be root's, and the server could not write them.
#[test]
fn a_tool_that_root_runs_leaves_the_files_to_the_service() {
    if !geteuid().is_root() {
        return;
    }
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let own = |path: &Path| chown(path, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
    let of_nobody = |home: &Home| {
        for entry in fs::read_dir(home.dir()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with(DATABASE) {
                assert_eq!(path.metadata().unwrap().uid(), nobody.uid.as_raw(), "{name}");
            }
        }
    };
    let home = Home::new();
    own(home.dir());
    home.write("config", "[server]\nEngine = sqlite\nCleanupAge = 0\n");
    let line = format!("{},1,1700000000,1700000001,0,,\n", digest(1));
    let imported = feed(&home, &["import"], &line);
    assert!(
        printed(&imported).starts_with("1 records") && stderr(&imported).contains("belongs to user"),
        "{imported:?}"
    );
    of_nobody(&home);
    // Without a server, and with what a killed one has left.
    let server = Server::on(home, &["--user", "nobody"]);
    assert_eq!(field(&server.client().ask(request("report", &[&digest(1)])), "Code"), "200");
    printed(&ask(&server, &["set", &digest(2), "--reports", "5"]));
    of_nobody(&server.home);
    let home = server.kill();
    for arguments in
        [&["export"][..], &["set", &digest(3), "--reports", "5"], &["check-database"], &["export"]]
    {
        printed(&ctl(&home, arguments));
        of_nobody(&home);
    }
    let server = Server::on(home, &["--user", "nobody"]);
    assert_eq!([1, 2, 3].map(|number| server.client().check(&digest(number)).0), [2, 5, 5]);
    let folder = Home::new();
    own(folder.dir());
    let copy = folder.path("copy");
    printed(&ask(&server, &["backup", copy.to_str().unwrap()]));
    assert_eq!(copy.metadata().unwrap().uid(), nobody.uid.as_raw());
    drop(server);
    // The account that may only read the database cannot serve it, and the check says so.
    let home = home_with(1);
    fs::set_permissions(home.dir(), Permissions::from_mode(0o755)).unwrap();
    let text = said(&home.run(&["-p", "0", "--user", "nobody", "--check-config"]));
    assert!(text.contains("a start fails") && text.contains("ermission denied"), "{text}");
}
