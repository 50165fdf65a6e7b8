//! TLS with a certificate that the system trusts only if it is told to.

use std::path::Path;
use std::process::{Command, Stdio};

use pyzord_core::{StoreError, StoreOp};
use pyzord_engines::redis::{Dsn, Redis};
use pyzord_testkit::{RedisServer, free_port};

use crate::support::{at, execute_one, patient};

/// The variable that holds the URL for the child process.
const URL: &str = "PYZORD_TEST_REDISS_URL";

/// Runs in a process of its own, as the trusted certificates are read from the environment.
#[test]
#[ignore = "a part of the test below"]
fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let mut store = Redis::new(&Dsn::parse(&url).unwrap(), patient(0));
    let answer = execute_one(&mut store, at(1_704_800_000), StoreOp::Report, 1);
    println!("{}", if answer.is_ok() { "counted" } else { "refused" });
    assert!(matches!(answer, Ok(_) | Err(StoreError::Unavailable)));
}

fn certify(directory: &Path) {
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory)
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn run_child(url: &str, trusted: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::child", "--ignored", "--nocapture"])
        .env(URL, url)
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_trusted_certificate_is_accepted_and_another_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    certify(directory.path());
    certify(other.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let port = free_port().to_string();
    let server = RedisServer::with(&[
        "--appendonly",
        "no",
        "--tls-port",
        &port,
        "--tls-cert-file",
        &file("cert.pem"),
        "--tls-key-file",
        &file("key.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    for (url, trusted, expected) in [
        (format!("rediss://localhost:{port}/2"), directory.path(), "counted"),
        (format!("rediss://127.0.0.1:{port}/2"), directory.path(), "counted"),
        (format!("rediss://localhost:{port}/2"), other.path(), "refused"),
        (format!("rediss://localhost:{}/2", server.port()), directory.path(), "refused"),
    ] {
        let printed = run_child(&url, &trusted.join("cert.pem"));
        assert!(printed.contains(expected), "{url}: {printed}");
    }
}
