//! Log lines; those that other programs read, byte by byte.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Home, Server, digest, request, wait_for};

/// Splits `2026-11-22 10:11:12,345 (pid) LEVEL message` and checks its form.
fn parse(line: &str, pid: &str) -> (String, String) {
    let (stamp, rest) = line.split_at(23);
    let form: String = stamp.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(form, "9999-99-99 99:99:99,999", "{line}");
    let rest = rest.strip_prefix(&format!(" ({pid}) ")).unwrap_or_else(|| panic!("{line}"));
    let (level, message) = rest.split_once(' ').unwrap();
    (level.to_owned(), message.to_owned())
}

#[test]
fn the_usage_log_has_the_lines_of_python() {
    // One worker, so that the lines are in the order of the requests.
    let server = Server::start(&["--usage-log-file", "usage", "--workers", "1"]);
    let (client, pid) = (server.client(), server.pid().to_string());
    let (a, b) = (digest(10), digest(11));
    client.ask(request("ping", &[]));
    client.ask(request("report", &[&a, &b]));
    client.ask(request("whitelist", &[&a]));
    client.ask("Op: check\nUser: e\n ve\nThread: 1\nPV: 2.1\n");
    let home = server.stop();
    let lines: Vec<(String, String)> = home.read("usage").lines().map(|line| parse(line, &pid)).collect();
    let expected = [
        ("INFO", "anonymous,127.0.0.1,ping,None,200".to_owned()),
        ("INFO", format!("anonymous,127.0.0.1,report,['{a}', '{b}'],200")),
        (
            "ERROR",
            "403: Forbidden: User is not authorized to request the operation. (anonymous,127.0.0.1,whitelist)".to_owned(),
        ),
        ("ERROR", "401: Unauthorized: Signature Error: Unknown user. (e\\n ve,127.0.0.1,check)".to_owned()),
    ];
    assert_eq!(lines, expected.map(|(level, text)| (level.to_owned(), text)));
}

#[test]
fn with_a_log_file_the_terminal_gets_errors_alone() {
    let server = Server::start(&["--log-file", "pyzord.log"]);
    let pid = server.pid().to_string();
    let home = server.stop();
    assert_eq!(home.read("stderr"), "");
    let log = home.read("pyzord.log");
    let lines: Vec<(String, String)> = log.lines().map(|line| parse(line, &pid)).collect();
    assert!(lines.iter().all(|(level, _)| level == "INFO"), "{log}");
    assert_eq!(lines.last().unwrap().1, "Server shutdown.");
    let failed = home.run(&["-a", "127.0.0.1", "-p", "0", "--log-file", "pyzord.log", "-e", "none"]);
    assert_eq!(String::from_utf8_lossy(&failed.stderr).lines().count(), 1);
    assert!(
        home.read("pyzord.log").contains("ERROR option --database-engine: this build has no engine `none`")
    );
}

#[test]
fn debugging_output_shows_requests_on_the_terminal() {
    let server = Server::start(&["-d", "--log-file", "pyzord.log"]);
    server.client().ask(request("ping", &[]));
    server.wait_for_log("INFO anonymous,127.0.0.1,ping,None,200\n");
}

#[test]
fn logs_are_reopened_after_logrotate_has_moved_them() {
    let server = Server::start(&["--log-file", "pyzord.log", "--usage-log-file", "usage"]);
    server.client().ask(request("ping", &[]));
    for name in ["pyzord.log", "usage"] {
        wait_for("a line", || (!server.home.read(name).is_empty()).then_some(()));
        fs::rename(server.home.path(name), server.home.path(&format!("{name}.1"))).unwrap();
    }
    server.signal(Signal::SIGHUP);
    wait_for("the new file", || server.home.path("usage").exists().then_some(()));
    server.client().ask(request("pong", &[]));
    let home: Home = server.stop();
    assert!(home.read("usage.1").contains(",ping,") && !home.read("usage.1").contains(",pong,"));
    assert!(home.read("usage").contains(",pong,"));
    assert!(home.read("pyzord.log").contains("Server shutdown."));
}
