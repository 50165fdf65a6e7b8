//! Settings from environment variables, for the server and for `pyzorctl`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Home, LISTEN, Server, without_settings};
use crate::http::{get, status_address};
use crate::pyzorctl::{at, ctl, printed, stderr, stdout};

fn check(home: &Home, variables: &[(&str, &str)], arguments: &[&str]) -> (bool, String) {
    let mut command = home.command(&[&["--check-config"], arguments].concat());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    (output.status.success(), stdout(&output))
}

#[test]
fn a_variable_overrides_the_file_and_an_option_overrides_both() {
    let home = Home::new();
    home.write("config", "[server]\nCleanupAge = 1\nRequestRate = 1\nRequestBurst = 1\n");
    let variables = [
        ("PYZORD_CLEANUP_AGE", "2"),
        ("PYZORD_REQUEST_RATE", "2"),
        ("PYZORD_REQUEST_BURST", ""),
        ("PYZORD_ALLOW_NETWORKS", "127.0.0.0/8\n::1\n"),
    ];
    let (succeeds, text) = check(&home, &variables, &["--port", "0", "--cleanup-age", "3"]);
    assert!(succeeds, "{text}");
    for line in [
        "CleanupAge = 3 (--cleanup-age)",
        "RequestRate = 2 (environment variable PYZORD_REQUEST_RATE)",
        "RequestBurst = 1 (line 4)",
        r"AllowNetworks = 127.0.0.0/8\n::1 (environment variable PYZORD_ALLOW_NETWORKS)",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
    }
}

#[test]
fn a_value_that_cannot_be_used_is_an_error_that_names_the_variable() {
    for (name, value, error) in [
        ("PYZORD_PORT", "many", "error: environment variable PYZORD_PORT: `many` is not a port from 0 to 65535"),
        ("PYZORD_PORT", "1\n2", r"error: environment variable PYZORD_PORT: `1\n2` is not"),
        ("PYZORD_ENGINE", "oracle", "environment variable PYZORD_ENGINE: "),
        ("PYZORD_ALLOW_NETWORKS", "all", "environment variable PYZORD_ALLOW_NETWORKS: `all` is not a list"),
        ("PYZORD_DIGEST_DB", "/none/\u{1b}[2J", "error: "),
    ] {
        let (succeeds, text) = check(&Home::new(), &[(name, value)], &["--address", "127.0.0.1"]);
        assert!(!succeeds && text.contains(error) && !text.contains('\u{1b}'), "{error} is not in {text}");
    }
    let mut command = Home::new().command(&["--check-config"]);
    command.env("PYZORD_LOG_FILE", OsStr::from_bytes(b"log\xff"));
    let text = stdout(&command.output().unwrap());
    assert!(text.contains("error: environment variable PYZORD_LOG_FILE: the value is not UTF-8"), "{text}");
}

/// A server keeps the environment of its start, and a reload changes nothing that a variable sets.
#[test]
fn a_server_serves_as_the_environment_says_before_and_after_a_reload() {
    let home = Home::new();
    home.write("config", "[server]\nRequestRate = 1\nFailureRate = 1\n");
    let mut command = home.command(&LISTEN);
    command.env("PYZORD_STATUS_ADDRESS", "127.0.0.1:0").env("PYZORD_REQUEST_RATE", "5000");
    command.env("PYZORD_ENGIN", "redis").env("PYZORD_PORT", "udp://10.0.0.7:24441");
    let server = Server::launch(home, command);
    let warning = "environment variable PYZORD_ENGIN: there is no such setting; did you mean PYZORD_ENGINE?";
    assert!(server.log().contains(warning), "{}", server.log());
    assert!(!server.log().contains("10.0.0.7"), "{}", server.log());
    server.home.write("config", "[server]\nRequestRate = 2\nFailureRate = 2\n");
    server.signal(Signal::SIGHUP);
    server.wait_for_log("FailureRate is now `2` (line 3).");
    assert!(!server.log().contains("RequestRate is now"), "{}", server.log());
    let page = status_address(&server);
    let settings = get(page, "/status.json").body;
    let row = r#"{"name":"RequestRate","value":"5000","source":"environment variable PYZORD_REQUEST_RATE"}"#;
    assert!(settings.contains(row), "{settings}");
}

#[test]
fn the_tools_read_the_environment_as_the_server_does() {
    let server = Server::start(&[]);
    let [_, ip, _, port] = at(&server);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyzorctl"));
    without_settings(&mut command);
    command.arg("--homedir").arg(server.home.dir()).arg("status");
    command.env("PYZORD_LISTEN_ADDRESS", ip).env("PYZORD_PORT", &port).env("PYZORD_ADRESS", "x");
    let output = command.output().unwrap();
    assert!(printed(&output).contains(&port), "{output:?}");
    assert!(stderr(&output).contains("environment variable PYZORD_ADRESS: there is no such setting"), "{output:?}");
    assert!(!ctl(&server.home, &["status", "--address", "127.0.0.1", "--port", "1"]).status.success());
}
