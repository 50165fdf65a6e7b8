//! What an operator asks and commands of a running server at its control socket, with every engine, also in trouble.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use serde_json::Value;

use crate::harness::{DEADLINE, Guarded, Home, LISTEN, Server, digest, field, request, wait_for};
use crate::pyzorctl::{command, ctl, printed, stderr, stdout};

/// The engines that need no other server.
const ENGINES: [&str; 2] = ["gdbm", "sqlite"];

fn with_config(text: &str) -> Home {
    let home = Home::new();
    home.write("config", text);
    home
}

fn spawn(home: &Home, arguments: &[&str]) -> Child {
    command(home, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn socket(home: &Home, engine: &str) -> std::path::PathBuf {
    home.path(if engine == "gdbm" { "pyzord.db.control" } else { "pyzord.sqlite.control" })
}

/// Connects and reads the greeting.
fn connect(path: &Path) -> (UnixStream, BufReader<UnixStream>) {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "pyzord control 1\n");
    (stream, reader)
}

/// The outcome of a reload was in the log alone, and a stop was a signal without an answer.
#[test]
fn a_reload_a_level_and_a_stop_tell_their_outcome() {
    for engine in ENGINES {
        let config = |text: &str| format!("[server]\nEngine = {engine}\n{text}");
        let server = Server::on(with_config(&config("")), &[]);
        let home = &server.home;
        let reload = |text: &str| {
            home.write("config", config(text));
            ctl(home, &["reload"])
        };
        assert!(printed(&reload("")).starts_with("nothing has changed\n"));
        let text = printed(&reload("DenyNetworks = 192.0.2.0/24\nWorkers = 3\n"));
        assert!(text.contains("changed: DenyNetworks is now `192.0.2.0/24` (line 3).\n"), "{text}");
        assert!(text.contains("needs a restart: Workers has changed (line 4): a reload does not"), "{text}");
        home.write("pyzord.access", "all : all : allow\n");
        let json = printed(&ctl(home, &["reload", "--json"]));
        let report: Value = serde_json::from_str(&json).unwrap();
        let file = report["lines"][0]["text"].as_str().unwrap();
        assert!(report["lines"][0]["kind"] == "changed" && file.contains("pyzord.access has changed"), "{json}");
        let broken = reload("DenyNetworks = 192.0.2.0/33\n");
        assert_eq!(broken.status.code(), Some(1), "{broken:?}");
        let said = stdout(&broken);
        assert!(said.starts_with("failed: ") && said.contains("the old settings and rules still hold"), "{broken:?}");
        // The server that runs is well, and the next one would not start.
        let status = ctl(home, &["status"]);
        assert!(status.status.success() && stdout(&status).starts_with("ok: "), "{status:?}");
        assert!(stderr(&status).contains("a restart of the server would fail"), "{status:?}");
        // What has failed changes nothing.
        let text = printed(&reload("DenyNetworks = 192.0.2.0/24\n"));
        assert!(text.starts_with("nothing has changed\n"), "{text}");

        let level = printed(&ctl(home, &["log-level", "debug"]));
        assert_eq!(level, "log level: debug until the next reload; it was info\n");
        server.client().ask(request("pong", &[&digest(1)]));
        server.wait_for_log("anonymous,127.0.0.1,pong");
        let text = printed(&reload("DenyNetworks = 192.0.2.0/24\n"));
        assert!(text.contains("changed: the log level is that of the settings again: info.\n"), "{text}");
        assert_eq!(ctl(home, &["log-level", "loud"]).status.code(), Some(2));

        let pid = server.pid();
        assert_eq!(printed(&ctl(home, &["stop"])), format!("stopped, process {pid}\n"));
        let log = server.log();
        let home = server.stop_after_signal();
        let account = User::from_uid(geteuid()).unwrap().unwrap().name;
        for what in ["reload", "log level debug until the next reload; it was info", "stop"] {
            let of = format!("pyzorctl of {account} (uid {}, process ", geteuid());
            let is_line = |line: &&str| line.contains(&of) && line.ends_with(what);
            assert!(log.lines().any(|line| is_line(&line)), "{what}: {log}");
        }
        assert!(!socket(&home, engine).exists(), "a stop removes the socket");
        let again = ctl(&home, &["stop"]);
        assert_eq!(again.status.code(), Some(1));
        assert!(stderr(&again).contains("does the server run, and is its home directory /"), "{again:?}");
    }
}

/// The last of several operators at once must not get the report of a reload that has read the files before.
#[test]
fn reloads_at_once_are_done_one_after_the_other() {
    let server = Server::on(with_config("[server]\nRequestRate = 5000\n"), &["--workers", "2"]);
    for round in 1..=5 {
        server.home.write("config", format!("[server]\nRequestRate = {}\n", 5000 + round));
        let operators: Vec<Child> = (0..6)
            .map(|_| {
                server.signal(Signal::SIGUSR1);
                spawn(&server.home, &["reload"])
            })
            .collect();
        for operator in operators {
            let output = operator.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}: {}", server.log());
        }
        // All of them have seen the file of this round.
        let line = format!("RequestRate is now `{}`", 5000 + round);
        assert_eq!(server.log().matches(&line).count(), 1, "{}", server.log());
    }
    assert_eq!(field(&server.client().ask(request("ping", &[])), "Code"), "200");
    server.stop();
}

#[test]
fn a_socket_of_a_living_server_is_not_replaced_and_a_stale_one_is() {
    let folder = Home::new();
    let path = folder.path("control");
    let option = ["--control-socket", path.to_str().unwrap()];
    let first = Server::start(&option);
    let second = Server::start(&option);
    second.wait_for_log("another server answers there; pyzorctl can neither ask nor command this server");
    let pid = |home: &Home| {
        let status = printed(&ctl(home, &[&option[..], &["status", "--json"]].concat()));
        serde_json::from_str::<Value>(&status).unwrap()["pid"].clone()
    };
    assert_eq!(pid(&first.home), first.pid().as_raw());
    // The socket belongs to a server with another database: its records are not those that are asked for.
    let export = ctl(&second.home, &[&option[..], &["export"]].concat());
    assert_eq!(export.status.code(), Some(1));
    assert!(stderr(&export).contains("belongs to a server with the database "), "{export:?}");
    second.stop();
    assert!(path.exists(), "it is not the second one's");
    first.kill();
    assert!(path.exists());
    let third = Server::start(&option);
    assert!(!third.log().contains("control socket"), "{}", third.log());
    assert_eq!(pid(&third.home), third.pid().as_raw());
}

/// A server serves without its control socket, and says why it has none.
#[test]
fn a_socket_that_cannot_be_made_is_a_warning() {
    let home = Home::new();
    let long = "x".repeat(108);
    for (value, cause) in [
        (&*long, "and that of a socket has at most 107"),
        ("no/such/folder", "No such file or directory"),
        ("stderr", "there is a file that is not a socket"),
        (".", "there is a file that is not a socket"),
    ] {
        let server = Server::start(&["--control-socket", value]);
        let log = server.log();
        assert_eq!(log.matches("WARNING control socket ").count(), 1, "{value}: {log}");
        assert!(log.contains(cause), "{value}: {log}");
        assert_eq!(field(&server.client().ask(request("ping", &[])), "Code"), "200");
        // A ping alone is no health.
        let port = server.address.port().to_string();
        let status = ctl(&server.home, &["--control-socket", value, "status", "-a", "127.0.0.1", "-p", &port]);
        assert_eq!(status.status.code(), Some(4), "{status:?}");
        assert!(stdout(&status).starts_with("unknown: it answers a ping; whether it reads and counts"), "{status:?}");
        let server = server.stop();
        let check = server.run(&[&LISTEN[..], &["--control-socket", value, "--check-config"]].concat());
        assert!(stdout(&check).contains("warning: control socket "), "{check:?}");
    }
    let server = Server::on(home, &["--control-socket", "none"]);
    assert!(!server.log().contains("control socket"), "{}", server.log());
    assert!(!server.home.path("pyzord.db.control").exists());
    let stop = ctl(&server.home, &["--control-socket", "None", "stop"]);
    assert!(stderr(&stop).contains("this server takes no commands"), "{stop:?}");
}

/// Eight idle connections kept every operator out for ten minutes.
#[test]
fn idle_and_half_written_requests_keep_no_operator_out() {
    let server = Server::start(&[]);
    let path = server.home.path("pyzord.db.control");
    let mut all = Vec::new();
    for number in 0..200 {
        let (mut stream, reader) = connect(&path);
        if number % 2 == 0 {
            stream.write_all(b"stat").unwrap();
        }
        all.push((stream, reader));
        if number % 40 == 0 {
            assert!(ctl(&server.home, &["status"]).status.success(), "{number}");
        }
    }
    assert!(printed(&ctl(&server.home, &["status"])).starts_with("ok: "));
    assert!(printed(&ctl(&server.home, &["reload"])).starts_with("nothing has changed\n"));
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    assert!(threads < 100, "{threads}");
    assert!(ctl(&server.home, &["stop"]).status.success());
    server.stop_after_signal();
    drop(all);
}

/// An import whose first line comes late must not be closed as an idle connection.
#[test]
fn a_client_that_waits_for_its_own_input_keeps_its_connection() {
    let server = Server::start(&[]);
    let path = server.home.path("pyzord.db.control");
    let (mut import, mut replies) = connect(&path);
    let mut ask = |request: &str| {
        import.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        replies.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(ask("database\n"), format!("ok {}\n", server.home.path("pyzord.db").display()));
    // More connections than there is room for.
    let all: Vec<_> = (0..60).map(|_| connect(&path)).collect();
    assert_eq!(ask("estimate\n"), "ok 0\n");
    drop(all);
}

/// Returns a command of pyzorctl for the account `nobody`, which cannot enter the folder of the program.
fn as_nobody(home: &Home, arguments: &[&str]) -> Output {
    let user = User::from_name("nobody").unwrap().unwrap();
    let program = home.path("pyzorctl");
    if !program.exists() {
        let mut install = Command::new("install");
        install.args(["-m", "755", env!("CARGO_BIN_EXE_pyzorctl")]).arg(&program);
        assert!(install.status().unwrap().success());
    }
    let mut command = Command::new(program);
    command.arg("--homedir").arg(home.dir()).args(arguments).stdin(Stdio::null()).current_dir(home.dir());
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).output().unwrap()
}

#[test]
fn another_account_than_root_and_the_servers_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let home = Home::new();
    fs::set_permissions(home.dir(), Permissions::from_mode(0o755)).unwrap();
    let server = Server::on(home, &[]);
    let port = server.address.port().to_string();
    let at = ["--address", "127.0.0.1", "--port", &port];
    let path = server.home.path("pyzord.db.control");
    let status = || as_nobody(&server.home, &[&at[..], &["status"]].concat());
    let denied = status();
    assert_eq!(denied.status.code(), Some(4), "{denied:?}");
    assert!(stdout(&denied).contains("Permission denied") && stdout(&denied).contains("run pyzorctl as root"), "{denied:?}");
    // A mode that an operator has changed gives no rights, either.
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let denied = status();
    assert_eq!(denied.status.code(), Some(4), "{denied:?}");
    assert!(stdout(&denied).contains("only root and the account of the server may use this socket"), "{denied:?}");
    let stop = as_nobody(&server.home, &["stop"]);
    assert_eq!(stop.status.code(), Some(1), "{stop:?}");
    // A configuration that it may not read: nothing is told of settings that are not the server's.
    let config = server.home.write("config", "[server]\n");
    fs::set_permissions(config, Permissions::from_mode(0o600)).unwrap();
    let blind = as_nobody(&server.home, &["status", "--port", "1"]);
    assert_eq!(blind.status.code(), Some(4), "{blind:?}");
    assert!(stderr(&blind).contains("config: Permission denied") && !stdout(&blind).contains("engine:"), "{blind:?}");
    server.stop();

    // Root commands the server of another account.
    let user = User::from_name("nobody").unwrap().unwrap();
    let home = Home::new();
    chown(home.dir(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let server = Server::on(home, &["--user", "nobody"]);
    assert!(printed(&ctl(&server.home, &["status"])).starts_with("ok: "));
    assert!(ctl(&server.home, &["stop"]).status.success());
    assert!(server.log().contains("pyzorctl of root (uid 0, process "), "{}", server.log());
    server.stop_after_signal();
}

/// A server whose syncs hang while there is a file `hang` in its home directory.
fn hanging(engine: &str) -> Server {
    let home = Home::new();
    let source = home.write(
        "hang.c",
        "#define _GNU_SOURCE\n#include <stdlib.h>\n#include <sys/mman.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
         static void hang(void) { const char *f = getenv(\"HANG\"); while (f && access(f, F_OK) == 0) usleep(5000); }\n\
         int fsync(int fd) { hang(); return syscall(SYS_fsync, fd); }\n\
         int fdatasync(int fd) { hang(); return syscall(SYS_fdatasync, fd); }\n\
         int msync(void *a, size_t l, int f) { hang(); return syscall(SYS_msync, a, l, f); }\n",
    );
    let library = home.path("hang.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    assert!(compiler.status().unwrap().success());
    home.write("config", format!("[server]\nEngine = {engine}\n"));
    let durability: &[&str] = if engine == "sqlite" { &["--durability", "strict"] } else { &[] };
    let mut command = home.command(&[&LISTEN[..], durability].concat());
    command.env("LD_PRELOAD", library).env("HANG", home.path("hang"));
    Server::launch(home, command)
}

/// A status waited for the database as everything else did, and a stop for the client that waited for it.
#[test]
fn a_database_that_hangs_delays_neither_a_status_nor_a_stop() {
    for engine in ENGINES {
        let mut server = hanging(engine);
        let client = server.client();
        assert_eq!(field(&client.ask(request("report", &[&digest(1)])), "Code"), "200");
        server.home.write("hang", "");
        let mut waiting = Vec::new();
        if engine == "gdbm" {
            // It waits for the sync of what it has changed.
            waiting.push(Guarded(spawn(&server.home, &["delete", &digest(1)])));
            wait_for("the deletion", || (client.check(&digest(1)) == (0, 0)).then_some(()));
            assert!(printed(&ctl(&server.home, &["status"])).contains("engine: gdbm\n"));
        } else {
            client.send(request("report", &[&digest(2)]));
            let failed = wait_for("the verdict", || {
                let status = ctl(&server.home, &["status"]);
                (status.status.code() == Some(1)).then_some(status)
            });
            assert!(stdout(&failed).starts_with("failed: "), "{failed:?}");
            assert!(stdout(&failed).contains(", since 2"), "{failed:?}");
        }
        for verb in [&["stats"][..], &["top"], &["reload"], &["log-level", "info"]] {
            let output = ctl(&server.home, verb);
            assert!(output.status.success(), "{output:?}");
        }
        let stop = ctl(&server.home, &["stop"]);
        let (status, log) = (server.wait_for_end(), server.log());
        assert_eq!((stop.status.code(), status.code()), (Some(1), Some(1)), "{stop:?}: {log}");
        assert!(stderr(&stop).contains("the server has ended although the database hangs"), "{stop:?}");
        assert!(log.contains("Server ended with threads that wait for the database."), "{log}");
    }
}

/// Redis is opened by pyzorctl itself; the server has a control socket all the same.
#[cfg(feature = "redis")]
#[test]
fn a_server_of_a_database_server_is_asked_and_commanded() {
    use pyzord_testkit::RedisServer;
    let redis = RedisServer::start();
    let home = with_config(&format!("[server]\nEngine = redis\nDigestDB = 127.0.0.1,{},,0\n", redis.port()));
    let server = Server::on(home, &[]);
    assert!(server.home.path("pyzord.control").exists());
    let status = printed(&ctl(&server.home, &["status"]));
    assert!(status.starts_with("ok: ") && status.contains("engine: redis\n"), "{status}");
    let (mut stream, mut lines) = connect(&server.home.path("pyzord.control"));
    stream.write_all(b"scan\n").unwrap();
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "failed pyzorctl opens the database of this server itself\n");
    redis.hang();
    let failed = wait_for("the verdict", || {
        let status = ctl(&server.home, &["status"]);
        (status.status.code() == Some(1)).then_some(status)
    });
    assert!(stdout(&failed).starts_with("failed: the database does not answer"), "{failed:?}");
    assert!(ctl(&server.home, &["stop"]).status.success());
    server.stop_after_signal();
}

#[test]
fn figures_need_no_page() {
    let server = Server::start(&[]);
    let client = server.client();
    for number in 0..20 {
        assert_eq!(field(&client.ask(request("report", &[&digest(number)])), "Code"), "200");
    }
    client.ask(request("whitelist", &[&digest(1)]));
    let stats = printed(&ctl(&server.home, &["stats"]));
    assert!(stats.contains("\nreport 200: 20\n") && stats.contains("answered within "), "{stats}");
    assert!(stats.starts_with("per second, over the last"), "{stats}");
    let whole: Value = serde_json::from_str(&printed(&ctl(&server.home, &["stats", "--json"]))).unwrap();
    assert!(whole["received"].as_u64().unwrap() >= 21);
    let top = printed(&ctl(&server.home, &["top"]));
    assert!(top.lines().any(|line| line.starts_with("127.0.0.1/32 ")), "{top}");
    let top: Value = serde_json::from_str(&printed(&ctl(&server.home, &["top", "--json"]))).unwrap();
    assert_eq!(top["talkers"][0]["network"], "127.0.0.1/32");
    let home = server.stop();
    for verb in ["stats", "top"] {
        assert_eq!(ctl(&home, &[verb]).status.code(), Some(1));
    }
}
