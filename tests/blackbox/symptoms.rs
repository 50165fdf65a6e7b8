//! The symptoms of `docs/on-call.md`, each provoked on a real server: the log, the status document, `/healthz` and the
//! metrics name cause and remedy.
//!
//! The log is read before any status is asked for, since a question makes the server look sooner. Each test prints the time
//! from the provocation to the line of the log; the goal is five seconds.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyzord_core::{HashedKey, HeaderBlock};
use serde_json::Value;

use crate::harness::{Home, LISTEN, Server, digest, field, request, run_python, wait_for};
use crate::http::{get, serve, status_address};
use crate::pyzorctl::{ask as ask_tool, stdout};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is expected of a symptom.
struct Expected {
    symptom: &'static str,
    finding: &'static str,
    level: &'static str,
    sentence: &'static str,
    remedy: &'static str,
}

impl Expected {
    /// Provokes the symptom again and again, until all places name it.
    #[expect(clippy::disallowed_methods, reason = "tests measure and poll against a deadline")]
    fn is_named(&self, server: &Server, page: SocketAddr, mut provoke: impl FnMut()) {
        let Self { symptom, finding, level, sentence, remedy } = self;
        let began = Instant::now();
        let line = wait_for(symptom, || {
            provoke();
            let log = server.log();
            let mut lines = log.lines().filter(|line| line.contains(" health: ") && line.contains(sentence));
            lines.next().map(str::to_owned)
        });
        let logged = began.elapsed();
        assert!(line.contains(remedy), "{line}");
        assert!(logged < Duration::from_secs(30), "{symptom}: {logged:?}");
        let document = get(page, "/status.json").body;
        let document: Value = serde_json::from_str(&document).unwrap();
        let judgements = document["findings"].as_array().unwrap();
        let named = |judgement: &&Value| judgement["finding"] == *finding;
        let judgement = judgements.iter().find(named).unwrap_or_else(|| panic!("{document:#}"));
        assert_eq!(judgement["level"], *level);
        let text = |name: &str| judgement[name].as_str().unwrap();
        assert!(text("sentence").contains(sentence) && text("remedy").contains(remedy), "{judgement:#}");
        assert!(judgement["since"].as_f64().is_some(), "{judgement:#}");
        assert_eq!(document["verdict"], judgements[0], "the worst");
        let health = get(page, "/healthz");
        let worst = document["verdict"]["level"] == "failed";
        assert_eq!(health.code, if worst { 503 } else { 200 }, "{}", health.body);
        assert_eq!(health.body.starts_with("ok"), !worst, "{}", health.body);
        let metric = format!("pyzord_finding{{finding=\"{finding}\"}} 1\n");
        assert!(get(page, "/metrics").body.contains(&metric), "{metric}");
        self.is_shown_by_tool(server, worst);
        println!("| {symptom} | `{finding}` | {:.1} s |", logged.as_secs_f64());
    }
}

impl Expected {
    /// Asks with `pyzorctl`, unless a namespace hides the control socket.
    fn is_shown_by_tool(&self, server: &Server, failed: bool) {
        let engine: &[&str] =
            match ["pyzord.db.control", "pyzord.control"].map(|name| server.home.path(name).exists()) {
                [true, _] => &[],
                [_, true] => &["--database-engine", "redis", "--dsn", "127.0.0.1,1,,0"],
                _ => return,
            };
        let output = ask_tool(server, &[engine, &["status"]].concat());
        let shown = stdout(&output);
        assert!(shown.contains(self.sentence) && shown.contains(self.remedy), "{shown}");
        assert_eq!(output.status.code(), Some(i32::from(failed)), "{shown}");
    }
}

/// Waits until nothing is wrong.
fn well(page: SocketAddr) {
    wait_for("the end of all findings", || (get(page, "/healthz").body == "ok\n").then_some(()));
}

fn ask(server: &Server, op: &str, number: u32) -> String {
    field(&server.client().ask(request(op, &[&digest(number)])), "Code").to_owned()
}

#[test]
fn a_flood_is_named_with_its_sender() {
    let (server, page) = serve(&["--request-rate", "20"]);
    let client = server.client();
    let flood = Expected {
        symptom: "flood",
        finding: "over-limit",
        level: "warning",
        sentence: "ten seconds; 127.0.0.1/32 sends ",
        remedy: "`DenyNetworks = 127.0.0.1`; then reload",
    };
    flood.is_named(&server, page, || (0..200).for_each(|_| client.send(request("ping", &[]))));
    well(page);
}

#[test]
fn forged_reports_are_named_with_their_sender() {
    let (server, page) = serve(&[]);
    let forged = Expected {
        symptom: "forged reports",
        finding: "anonymous-reports",
        level: "warning",
        sentence: "127.0.0.1/32 has reported ",
        remedy: "`DenyNetworks = 127.0.0.1`, else add it to UnlimitedNetworks; then reload; `pyzorctl explain",
    };
    let mut number = 0;
    forged.is_named(&server, page, || {
        number += 1;
        assert_eq!(ask(&server, "report", number % 7), "200");
    });
}

/// A report signed at this time.
fn signed(time: i64, key: &str) -> Vec<u8> {
    let headers =
        format!("Op: report\nOp-Digest: {}\nThread: 2000\nPV: 2.1\nUser: bob\nTime: {time}\n", digest(7));
    let signature = HashedKey::new(b"bob", key.as_bytes()).sign(HeaderBlock::new(headers.as_bytes()), time);
    [headers.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat()
}

#[test]
fn refused_signatures_are_named_with_user_and_reason() {
    let home = Home::new();
    home.write("pyzord.passwd", format!("bob : {KEY}\n"));
    let server = Server::on(home, &["--status-address", "127.0.0.1:0"]);
    let page = status_address(&server);
    let now: i64 = run_python("import time; print(int(time.time()))", &[]).trim().parse().unwrap();
    let client = server.client();
    for (time, key, reason, remedy) in [
        (now, "beef", "the keys differ", "compare the key"),
        (now - 3600, KEY, "the clocks differ by more than 300 seconds", "`timedatectl`"),
    ] {
        let refused = Expected {
            symptom: "401",
            finding: "wrong-signatures",
            level: "warning",
            sentence: "from 127.0.0.1/32 got 401 in ten seconds, the last of user bob",
            remedy,
        };
        wait_for(reason, || {
            client.send(signed(time, key));
            get(page, "/healthz").body.contains(reason).then_some(())
        });
        if key != KEY {
            refused.is_named(&server, page, || ());
        }
    }
}

/// Another process of this user fills a file system of four megabytes that only the server sees.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_with_its_path() {
    let namespaces = Command::new("unshare").args(["-Urm", "true"]).output();
    if !namespaces.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine lets no user mount a file system");
        return;
    }
    let home = Home::new();
    let server = home.command(&[&LISTEN[..], &["--status-address", "127.0.0.1:0"]].concat());
    let mut command = Command::new("unshare");
    let script = "mkdir \"$DATA\" && mount -t tmpfs -o size=4m none \"$DATA\" && exec \"$0\" \"$@\"";
    command.args(["-Urm", "sh", "-c", script]).arg(server.get_program()).args(server.get_args());
    let data = home.path("data");
    command.arg("--dsn").arg(data.join("pyzord.db")).env("DATA", &data).stdin(Stdio::null());
    let server = Server::launch(home, command);
    let page = status_address(&server);
    wait_for("the first look", || (get(page, "/healthz").code == 200).then_some(()));
    let seen_by_server = format!("/proc/{}/root", server.pid());
    let seen_by_server = Path::new(&seen_by_server).join(data.strip_prefix("/").unwrap());
    let mut filler = fs::File::create(seen_by_server.join("filler")).unwrap();
    while filler.write_all(&[7; 4096]).is_ok() {}
    let full = Expected {
        symptom: "disk full",
        finding: "disk-full",
        level: "failed",
        sentence: "the disk of the database ",
        remedy: "make room on the disk, `df -h ",
    };
    full.is_named(&server, page, || ());
    fs::remove_file(seen_by_server.join("filler")).unwrap();
    wait_for("reports", || (ask(&server, "report", 1) == "200").then_some(()));
}

/// Nothing is asked of the server meanwhile.
#[test]
fn a_removed_database_is_named_with_its_path() {
    let (server, page) = serve(&["--database-engine", "gdbm"]);
    let removed = Expected {
        symptom: "database removed",
        finding: "database-removed",
        level: "failed",
        sentence: "the database refuses counts: database /",
        remedy: "put the database back at its path",
    };
    fs::rename(server.home.path("pyzord.db"), server.home.path("away")).unwrap();
    removed.is_named(&server, page, || ());
    fs::rename(server.home.path("away"), server.home.path("pyzord.db")).unwrap();
    well(page);
}

#[test]
fn a_forwarding_that_fails_is_named_with_its_server() {
    let home = Home::new();
    fs::create_dir(home.path("client")).unwrap();
    // A port that no program listens on.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    home.write("client/servers", format!("127.0.0.1:{port}\n"));
    let client = home.path("client");
    let forward = ["--forward-client-homedir", client.to_str().unwrap()];
    let server = Server::on(home, &[&["--status-address", "127.0.0.1:0"], &forward[..]].concat());
    let page = status_address(&server);
    let fails = Expected {
        symptom: "forwarding",
        finding: "forwarding-fails",
        level: "warning",
        sentence: "forwarding to 127.0.0.1:",
        remedy: "look at that server",
    };
    assert_eq!(ask(&server, "report", 1), "200");
    fails.is_named(&server, page, || ());
}

#[cfg(all(feature = "redis", feature = "mysql"))]
mod remote {
    use pyzord_testkit::{Fault, RedisServer, TcpProxy};

    use super::*;

    const PASSWORD: &str = "hunter2secret";

    fn on_redis(port: u16, password: &str, arguments: &[&str]) -> (Server, SocketAddr) {
        let dsn = format!("127.0.0.1,{port},{password},0");
        let fixed = ["-e", "redis", "--dsn", &dsn, "--status-address", "127.0.0.1:0"];
        let server = Server::on(Home::new(), &[&fixed[..], arguments].concat());
        let page = status_address(&server);
        well(page);
        (server, page)
    }

    /// Nothing is asked of the server meanwhile.
    #[test]
    fn a_database_that_is_down_or_hangs_is_named_with_its_error() {
        let mut database = RedisServer::with_password(PASSWORD);
        let (server, page) = on_redis(database.port(), PASSWORD, &[]);
        let hangs = Expected {
            symptom: "database hangs",
            finding: "database-silent",
            level: "failed",
            sentence: "the database does not answer: ",
            remedy: "start the database server",
        };
        database.hang();
        hangs.is_named(&server, page, || ());
        database.go_on();
        well(page);
        drop(server);
        let (server, page) = on_redis(database.port(), PASSWORD, &[]);
        let down = Expected { symptom: "database down", sentence: "Connection refused", ..hangs };
        database.kill();
        down.is_named(&server, page, || ());
        assert!(
            !get(page, "/status.json").body.contains("hunter2secret") && !server.log().contains("hunter2")
        );
    }

    #[test]
    fn a_slow_database_is_named_as_what_is_slow() {
        let database = RedisServer::with_password(PASSWORD);
        let proxy = TcpProxy::to(database.port());
        let (server, page) = on_redis(proxy.port(), PASSWORD, &["--db-connections", "2"]);
        let slow = Expected {
            symptom: "slow",
            finding: "slow",
            level: "warning",
            sentence: "a second; the database is slow",
            remedy: "look at the database's machine",
        };
        proxy.set(Fault::Slow(Duration::from_millis(300)));
        let client = server.client();
        slow.is_named(&server, page, || {
            client.send(request("check", &[&digest(1)]));
            // More requests at once would wait for each other in the proxy, until the database counts as silent.
            std::thread::sleep(Duration::from_millis(100));
        });
    }

    #[test]
    fn records_that_vanish_or_cannot_be_read_are_named() {
        let database = RedisServer::start();
        let (server, page) = on_redis(database.port(), "", &[]);
        let client = server.client();
        for number in 0..150 {
            assert_eq!(field(&client.ask(request("report", &[&digest(number)])), "Code"), "200");
        }
        let key = database.read(&["randomkey"]).unwrap();
        assert_eq!(database.ask(&["del", &key]).trim(), ":1");
        assert_eq!(database.ask(&["set", &key, "nonsense"]).trim(), "+OK");
        let unreadable = Expected {
            symptom: "wrong counts: unreadable",
            finding: "unreadable-records",
            level: "warning",
            sentence: "the database has records that cannot be read",
            remedy: "`pyzorctl check-database` names the records",
        };
        let mut number = 0;
        unreadable.is_named(&server, page, || {
            number += 1;
            client.ask(request("check", &[&digest(number % 150)]));
        });
        wait_for("the count", || get(page, "/status.json").body.contains(r#""records":150,"#).then_some(()));
        let vanished = Expected {
            symptom: "wrong counts: emptied",
            finding: "records-vanished",
            level: "warning",
            sentence: "the database has lost most of its records: 150 before, 0 now",
            remedy: "restore a backup or correct DigestDB",
        };
        assert_eq!(database.ask(&["flushall"]).trim(), "+OK");
        vanished.is_named(&server, page, || ());
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn each_remedy_names_a_section_that_there_is() {
    let remedies = read("src/health/remedy.rs").replace("\\\n", "");
    let remedies: Vec<&str> = remedies.split_whitespace().collect();
    let remedies = remedies.join(" ");
    let named: Vec<(&str, &str)> =
        remedies.split('(').skip(1).filter_map(|part| part.split_once(')')?.0.split_once(".md: ")).collect();
    assert!(named.len() > 15, "{named:?}");
    for (page, section) in named {
        let text = read(&format!("docs/{page}.md"));
        assert!(text.contains(&format!("\n## {section}\n")), "{page}.md has no section {section}");
    }
}

#[test]
fn each_command_of_the_page_exists_with_its_options() {
    let page = read("docs/on-call.md");
    let commands = page.lines().filter_map(|line| line.strip_prefix("# ")?.strip_prefix("pyzorctl "));
    let mut seen = 0;
    for command in commands {
        let mut words = command.split_whitespace();
        let name = words.next().unwrap();
        let help = Command::new(env!("CARGO_BIN_EXE_pyzorctl")).args([name, "--help"]).output().unwrap();
        assert!(help.status.success(), "pyzorctl {command}");
        let help = String::from_utf8(help.stdout).unwrap();
        let options = words.filter(|word| word.starts_with("--"));
        options.for_each(|option| assert!(help.contains(option), "pyzorctl {command}: {option}"));
        seen += 1;
    }
    assert!(seen > 8, "the page has commands");
}

/// The server stands still, as on a machine without a free processor.
#[cfg(target_os = "linux")]
#[test]
fn datagrams_that_the_kernel_drops_are_named_with_their_sender() {
    use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
    let (server, page) = serve(&[]);
    let client = server.client();
    server.signal(SIGSTOP);
    // More than any receive buffer of a test machine holds, and each request has its memory in the kernel.
    (0..200_000).for_each(|_| client.send(request("ping", &[])));
    server.signal(SIGCONT);
    let lost = Expected {
        symptom: "kernel drops",
        finding: "kernel-drops",
        level: "warning",
        sentence: "as the receive buffer was full; 127.0.0.1/32 sends ",
        remedy: "`DenyNetworks = 127.0.0.1`",
    };
    lost.is_named(&server, page, || ());
}
