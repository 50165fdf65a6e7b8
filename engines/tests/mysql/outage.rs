//! Servers that go away, hang and come back; and TLS.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pyzord_core::{Store, StoreError, StoreOp};
use pyzord_engines::mysql::{Mysql, Timeouts};
use pyzord_testkit::{MariadbServer, wait_for};

use crate::common::now;
use crate::support::{CALM, call, engine, execute, mysql, tick};

/// The bound for one call: far longer than promised, as the machine may be slow; far shorter than a wait for
/// a hanging server.
const BOUND: Duration = Duration::from_secs(4);

/// Reports once, and returns the answer and how long it took.
fn report(engine: &mut impl Store, millis: u64) -> (Result<(), StoreError>, Duration) {
    let started = now();
    let answer = execute(engine, tick(millis), &[call(StoreOp::Report, 1)])[0];
    (answer.map(drop), started.elapsed())
}

/// Reports until it works, as clients that keep asking do.
fn until_it_works(engine: &mut Mysql, mut millis: u64) {
    wait_for("a report", || {
        millis += 1000;
        report(engine, millis).0.ok()
    });
}

#[test]
fn a_server_that_was_killed_is_used_again_when_it_is_back() {
    let mut server = MariadbServer::start();
    let mut engine = engine(&server, "digests");
    assert_eq!(report(&mut engine, 0).0, Ok(()));
    server.kill();
    assert_eq!(report(&mut engine, 1).0, Err(StoreError::Unavailable), "nothing was sent");
    // During the pause no attempt is made.
    server.restart();
    assert_eq!(report(&mut engine, 50).0, Err(StoreError::Unavailable));
    assert_eq!(report(&mut engine, 101).0, Ok(()));
    // An idle connection to a server that was restarted costs no request.
    server.stop();
    server.restart();
    assert_eq!(report(&mut engine, 60_000).0, Ok(()));
    assert_eq!(server.rows("SELECT r_count FROM pyzor.digests").trim(), "3");
}

#[test]
fn a_server_that_hangs_costs_a_moment_and_then_nothing() {
    let server = MariadbServer::start();
    drop(engine(&server, "digests"));
    let socket = format!("{},pyzor,secret,pyzor,digests", server.socket().display());
    for dsn in [server.dsn("digests"), socket] {
        let mut engine = mysql(&dsn, Timeouts::SERVING);
        until_it_works(&mut engine, 0);
        server.hang();
        let (answer, took) = report(&mut engine, 100_000);
        assert!(matches!(answer, Err(StoreError::Unavailable | StoreError::Unknown)), "{answer:?}");
        assert!(took < BOUND, "{took:?}");
        let started = now();
        for _ in 0..1000 {
            assert_eq!(report(&mut engine, 100_001).0, Err(StoreError::Unavailable));
        }
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
        // Attempts must not pile up, as the socket's queue of clients is short.
        for n in 0..5 {
            let (answer, took) = report(&mut engine, 200_000 + n * 10_000);
            assert_eq!(answer, Err(StoreError::Unavailable));
            assert!(took < BOUND, "{took:?}");
        }
        let started = now();
        server.go_on();
        until_it_works(&mut engine, 300_000);
        server.hang();
        drop(engine);
        assert!(started.elapsed() < Duration::from_secs(30));
        server.go_on();
    }
}

#[test]
fn tls_verifies_as_much_as_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let server = MariadbServer::start_with(&[
        &format!("--ssl-ca={}", path("ca.pem")),
        &format!("--ssl-cert={}", path("server.pem")),
        &format!("--ssl-key={}", path("server.key")),
        "--require-secure-transport=ON",
    ]);
    server.query(
        "CREATE TABLE pyzor.digests (digest char(40) PRIMARY KEY, r_count int, wl_count int, r_entered \
                  datetime, wl_entered datetime, r_updated datetime, wl_updated datetime)",
    );
    let table = [
        ("127.0.0.1", String::new(), false),
        ("127.0.0.1", "&ssl-mode=required".to_owned(), true),
        ("127.0.0.1", "&ssl-mode=verify-ca".to_owned(), false),
        ("127.0.0.1", format!("&ssl-mode=verify-ca&ssl-ca={}", path("ca.pem")), true),
        ("localhost", format!("&ssl-mode=verify-identity&ssl-ca={}", path("ca.pem")), true),
        ("127.0.0.1", format!("&ssl-ca={}", path("ca.pem")), false),
    ];
    for (host, options, works) in table {
        let dsn = format!("mysql://pyzor:secret@{host}:{}/pyzor?table=digests{options}", server.port());
        let checked = mysql(&dsn, CALM).check();
        assert_eq!(checked.is_ok(), works, "{host} {options}: {checked:?}");
    }
}

/// Creates an authority, and a certificate for `localhost` that it has signed.
fn certificates(directory: &Path) {
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for command in [
        format!("req -x509 {new} -keyout ca.key -out ca.pem -days 3650 -subj /CN=authority"),
        format!("req {new} -keyout server.key -out server.csr -subj /CN=localhost"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 3650 -extfile names"
            .to_owned(),
    ] {
        let output = Command::new("openssl").args(command.split(' ')).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
