//! `pyzorctl import --merge` and `pyzorctl set` while the server counts, and merges that are interrupted.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{Home, Server, digest, field, request, wait_for};
use crate::pyzorctl::{KEEP, at, ctl, feed, printed, stderr};

/// How many digests are reported and merged at the same time.
const DIGESTS: u32 = 20;

/// Lines that add `reports` reports and one whitelisting to each digest, `times` times.
fn merge_lines(reports: u32, times: u32) -> String {
    let line = |number| format!("{},{reports},1700000000,1700000060,1,1700000000,1700000060\n", digest(number));
    (0..times).flat_map(|_| 0..DIGESTS).map(line).collect()
}

/// Reports each digest again and again until the work is done; returns how often each was counted.
fn reported_during(server: &Server, work: impl FnOnce()) -> u64 {
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let counting = scope.spawn(move || {
            let client = server.client();
            let digests: Vec<String> = (0..DIGESTS).map(digest).collect();
            let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
            let mut rounds = 0;
            // At least some reports, if the work is quick.
            while rounds < 20 || !done.load(Ordering::Relaxed) {
                assert_eq!(field(&client.ask(request("report", &digests)), "Code"), "200");
                rounds += 1;
            }
            rounds
        });
        work();
        done.store(true, Ordering::Relaxed);
        counting.join().unwrap()
    })
}

/// The tool read a record, added to it, and wrote it: what was reported between was lost.
fn nothing_is_lost_beside(engine: &str, dsn: Option<&str>) {
    let database = dsn.map_or_else(Vec::new, |dsn| vec!["-e", engine, "--dsn", dsn]);
    let server = Server::start(&[&database[..], &KEEP[..]].concat());
    let at = at(&server);
    let options = [&at.each_ref().map(String::as_str)[..], &database].concat();
    let rounds = reported_during(&server, || {
        let merged = feed(&server.home, &[&options[..], &["import", "--merge"]].concat(), &merge_lines(7, 100));
        assert_eq!(printed(&merged), "2000 records imported, 0 lines failed\n", "{engine}");
    });
    let client = server.client();
    for number in 0..DIGESTS {
        assert_eq!(client.check(&digest(number)), (700 + rounds, 100), "{engine}");
    }
    let more = reported_during(&server, || {
        for round in 1..=30 {
            let (number, whitelists) = (digest(round % DIGESTS), round.to_string());
            printed(&ctl(&server.home, &[&options[..], &["set", &number, "--whitelists", &whitelists]].concat()));
        }
    });
    for number in 0..DIGESTS {
        let whitelists = (1..=30).filter(|round| round % DIGESTS == number).max().unwrap();
        assert_eq!(client.check(&digest(number)), (700 + rounds + more, whitelists.into()), "{engine}");
    }
}

#[test]
fn merges_and_edits_through_the_control_socket_lose_no_report() {
    nothing_is_lost_beside("gdbm", None);
}

#[cfg(feature = "sqlite")]
#[test]
fn merges_and_edits_in_sqlite_lose_no_report() {
    nothing_is_lost_beside("sqlite", Some("pyzord.sqlite"));
}

#[test]
fn merges_and_edits_beside_sqlite_lose_no_report() {
    let folder = Home::new();
    nothing_is_lost_beside("sqlite", Some(folder.path("pyzord.sqlite").to_str().unwrap()));
}

#[test]
fn merges_and_edits_in_redis_lose_no_report() {
    let redis = RedisServer::start();
    for (engine, database) in [("redis", 1), ("redis_v0", 2)] {
        nothing_is_lost_beside(engine, Some(&format!("127.0.0.1,{},,{database}", redis.port())));
    }
}

#[test]
fn merges_and_edits_in_mysql_lose_no_report() {
    let mysql = MariadbServer::start();
    let dsn = mysql.dsn("digests");
    assert!(Home::new().run(&["-e", "mysql", "--dsn", &dsn, "--create-table"]).status.success());
    nothing_is_lost_beside("mysql", Some(&dsn));
}

/// Returns the number behind `--skip` in a message.
fn skip(message: &str) -> String {
    let (_, rest) = message.trim_end().rsplit_once("--skip ").unwrap_or_else(|| panic!("{message}"));
    rest.to_owned()
}

#[test]
fn a_merge_that_is_interrupted_goes_on_without_counting_twice() {
    let home = Home::new();
    let mut import = Command::new(env!("CARGO_BIN_EXE_pyzorctl"));
    import.arg("--homedir").arg(home.dir()).args(["import", "--merge"]);
    import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = import.spawn().unwrap();
    let lines = merge_lines(1, 50);
    let (first, _) = lines.split_at(lines.len() / 2);
    let mut input = child.stdin.take().unwrap();
    input.write_all(first.as_bytes()).unwrap();
    // The rest of the input does not come, and the operator has had enough.
    let pid = Pid::from_raw(child.id().cast_signed());
    wait_for("the first records", || {
        let metadata = home.path("pyzord.db").metadata().ok()?;
        (metadata.len() > 0 && is_waiting(child.id())).then_some(())
    });
    kill(pid, Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = stderr(&output);
    assert!(said.starts_with("pyzorctl: SIGINT received; lines 1 to ") && said.lines().count() == 1, "{said}");
    let whole = lines.lines().count();
    let skipped: usize = skip(&said).parse().unwrap();
    assert!(skipped > 0 && skipped <= whole / 2, "{said}");
    assert!(said.contains(lines.lines().nth(skipped - 1).unwrap().split(',').next().unwrap()), "{said}");
    let rest = feed(&home, &["import", "--merge", "--skip", &skipped.to_string()], &lines);
    assert_eq!(printed(&rest), format!("{} records imported, 0 lines failed\n", whole - skipped));
    let exported = printed(&ctl(&home, &["export"]));
    for line in exported.lines().skip(1) {
        assert!(line.contains(",50,1700000000,1700000060,50,"), "{line}");
    }
}

/// Whether a process waits for input.
fn is_waiting(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/wchan")).unwrap_or_default();
    state.contains("pipe")
}

#[test]
fn a_merge_whose_database_goes_away_says_where_to_go_on() {
    let mut redis = RedisServer::durable();
    let dsn = format!("127.0.0.1,{},,0", redis.port());
    let home = Home::new();
    let file = home.write("records.csv", merge_lines(1, 50));
    let import = |skip: &str| {
        let file = file.to_str().unwrap();
        ctl(&home, &["-e", "redis", "--dsn", &dsn, "import", "--merge", "--skip", skip, file])
    };
    assert!(import("400").status.success());
    redis.kill();
    let refused = import("400");
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("; lines 1 to 400 are done; go on with --skip 400"), "{said}");
    redis.restart();
    // Without memory for any record, none is named and none is left out.
    assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "1"]), "+OK");
    let said = stderr(&import("990"));
    assert!(said.contains("OOM") && said.contains("; go on with --skip 990") && said.lines().count() == 1, "{said}");
}
