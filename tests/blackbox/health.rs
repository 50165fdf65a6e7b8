//! Health: what `/healthz` says while the server does not do what it is for.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::harness::{Home, LISTEN, Server, digest, field, request, wait_for};
use crate::http::{get, status_address};

/// Waits until the health has this code and a body that begins and goes on so.
fn until(page: SocketAddr, code: u16, start: &str, part: &str) {
    let mut last = String::new();
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("another state of health", || {
            let found = get(page, "/healthz");
            last = format!("{} {}", found.code, found.body);
            (found.code == code && found.body.starts_with(start) && found.body.contains(part)).then_some(())
        });
    }));
    assert!(done.is_ok(), "{code} {start} {part}: {last}");
}

fn well(page: SocketAddr) {
    until(page, 200, "ok\n", "");
}

/// Returns the codes of a report and of a ping.
fn codes(server: &Server, number: u32) -> [String; 2] {
    let client = server.client();
    [client.ask(request("report", &[&digest(number)])), client.ask(request("ping", &[]))]
        .map(|reply| field(&reply, "Code").to_owned())
}

/// Health was ok while every report was refused.
#[test]
fn a_gdbm_file_that_cannot_grow_is_a_trouble() {
    let home = Home::new();
    let server = home.command(&[&LISTEN[..], &["--status-address", "127.0.0.1:0"]].concat());
    let mut command = Command::new("sh");
    // In blocks of 512 bytes.
    command.arg("-c").arg("ulimit -f 2500; exec \"$0\" \"$@\"").stdin(Stdio::null());
    command.arg(server.get_program()).args(server.get_args());
    let server = Server::launch(home, command);
    let page = status_address(&server);
    well(page);
    // One digest may need more room than the next: the file is full when none finds any.
    let mut refused = 0;
    let full = (0..100_000).find(|number| {
        refused = if codes(&server, *number) == ["500", "200"] { refused + 1 } else { 0 };
        refused == 100
    });
    assert!(full.is_some(), "the file has a limit");
    until(page, 503, "the database refuses counts: database /", "File too large");
    assert!(get(page, "/healthz").body.contains(", since 2"), "the beginning is told");
    assert_eq!(get(page, "/status.json").body.matches(r#""trouble_since":1"#).count(), 1);
}

/// The manager learns what is wrong, too.
#[test]
fn a_manager_is_told_of_a_trouble_in_words() {
    let home = Home::new();
    let log = home.path("logs/pyzord.log");
    std::fs::create_dir(home.path("logs")).unwrap();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    let mut command = home.command(&[&LISTEN[..], &["--log-file", log.to_str().unwrap()]].concat());
    command.env("NOTIFY_SOCKET", home.path("notify")).env_remove("WATCHDOG_USEC");
    let told = |start: &str| loop {
        let mut buffer = [0; 1000];
        let length = manager.recv(&mut buffer).unwrap();
        if buffer[..length].starts_with(start.as_bytes()) {
            return;
        }
    };
    let path = log.clone();
    std::fs::write(&log, "").unwrap();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = crate::harness::Guarded(command.spawn().unwrap());
    told("READY=1\nSTATUS=Listening on ");
    std::fs::rename(path.parent().unwrap(), home.path("moved")).unwrap();
    told("STATUS=the folder of the log ");
    std::fs::rename(home.path("moved"), path.parent().unwrap()).unwrap();
    told("STATUS=Listening on ");
}

#[cfg(all(feature = "redis", feature = "mysql"))]
mod remote {
    use pyzord_testkit::{MariadbServer, RedisServer};

    use super::*;

    fn serve(engine: &str, dsn: &str) -> (Server, SocketAddr) {
        let server =
            Server::on(Home::new(), &["-e", engine, "--dsn", dsn, "--status-address", "127.0.0.1:0"]);
        let page = status_address(&server);
        well(page);
        (server, page)
    }

    /// Reads work, so health was ok while every report was refused.
    #[test]
    fn a_redis_that_refuses_counts_is_a_trouble() {
        for engine in ["redis", "redis_v0"] {
            let database = RedisServer::start();
            let dsn = format!("127.0.0.1,{},,0", database.port());
            let (server, page) = serve(engine, &dsn);
            assert_eq!(codes(&server, 1), ["200", "200"]);
            for (trouble, end, cause) in [
                (["config", "set", "maxmemory", "1"], ["config", "set", "maxmemory", "0"], "OOM"),
                (
                    ["config", "set", "min-replicas-to-write", "1"],
                    ["config", "set", "min-replicas-to-write", "0"],
                    "NOREPLICAS",
                ),
            ] {
                assert_eq!(database.ask(&trouble).trim(), "+OK");
                assert_eq!(codes(&server, 2), ["500", "200"], "{cause}");
                until(page, 503, "the database refuses counts: redis ", cause);
                assert_eq!(database.ask(&end).trim(), "+OK");
                well(page);
            }
            assert_eq!(database.ask(&["replicaof", "127.0.0.1", "1"]).trim(), "+OK");
            until(page, 503, "the database ", ", since 2");
            assert_eq!(database.ask(&["replicaof", "no", "one"]).trim(), "+OK");
            well(page);
            wait_for("the end of the probe's key", || (database.ask(&["dbsize"]).trim() == ":1").then_some(()));
        }
    }

    #[test]
    fn a_mysql_that_is_read_only_is_a_trouble() {
        let database = MariadbServer::start();
        let dsn = database.dsn("health");
        let made = Home::new().run(&["-e", "mysql", "--dsn", &dsn, "--create-table"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (server, page) = serve("mysql", &dsn);
        assert_eq!(codes(&server, 1), ["200", "200"]);
        database.query("SET GLOBAL read_only = 1");
        until(page, 503, "the database ", ", since 2");
        database.query("SET GLOBAL read_only = 0");
        well(page);
        assert_eq!(codes(&server, 2), ["200", "200"]);
        assert_eq!(database.rows("SELECT COUNT(*) FROM pyzor.health").trim(), "2");
    }
}
