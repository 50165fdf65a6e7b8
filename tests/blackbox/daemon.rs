//! `--detach`, the pid file, and a second server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::harness::{Client, Home, Server, digest, field, request, wait_for};

/// A detached server; it is killed when the test ends.
struct Daemon {
    home: Home,
    pid: Pid,
}

impl Daemon {
    fn start(home: Home, arguments: &[&str]) -> Self {
        let output = home.path("output");
        let detach =
            ["-a", "127.0.0.1", "-p", "0", "--log-file", "pyzord.log", "--detach", output.to_str().unwrap()];
        let status = home.command(&[&detach[..], arguments].concat()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
        // The parent has returned: the pid file must be there.
        let pid = home.read("pyzord.pid");
        assert!(pid.ends_with('\n'));
        Self { pid: Pid::from_raw(pid.trim().parse().unwrap()), home }
    }

    /// The parent has returned, so the server answers at once.
    fn client(&self) -> Client {
        let log = self.home.read("pyzord.log");
        let address = log.split("Listening on ").nth(1).unwrap().split_whitespace().next().unwrap();
        Client::new(address.parse().unwrap())
    }

    fn stop(&self) {
        kill(self.pid, Signal::SIGTERM).unwrap();
        wait_for("the end", || kill(self.pid, None).is_err().then_some(()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

#[test]
fn a_daemon_serves_when_its_parent_returns_and_leaves_no_pid_file() {
    let daemon = Daemon::start(Home::new(), &[]);
    let client = daemon.client();
    client.send(request("report", &[&digest(1)]));
    assert_eq!(field(&client.receive(), "Code"), "200");
    assert_eq!(getsid(Some(daemon.pid)).unwrap(), daemon.pid, "it leads a session of its own");
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", daemon.pid)).unwrap().to_str(), Some("/"));
    for name in ["pyzord.db", "pyzord.pid", "pyzord.log", "output"] {
        let mode = fs::metadata(daemon.home.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is for its owner alone: {mode:o}");
    }
    daemon.stop();
    assert!(!daemon.home.path("pyzord.pid").exists());
    assert!(daemon.home.read("pyzord.log").contains("Server shutdown."));
}

#[test]
fn a_second_daemon_is_refused_and_the_first_keeps_its_pid_file() {
    let daemon = Daemon::start(Home::new(), &[]);
    let output = daemon.home.run(&["-a", "127.0.0.1", "-p", "0", "--detach", "/dev/null"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&format!("pyzord runs already, as process {}", daemon.pid)), "{error}");
    assert_eq!(daemon.home.read("pyzord.pid").trim(), daemon.pid.to_string());
    assert_eq!(field(&daemon.client().ask(request("ping", &[])), "Code"), "200");
}

#[test]
fn a_pid_file_of_a_killed_server_is_taken_over() {
    let daemon = Daemon::start(Home::new(), &[]);
    kill(daemon.pid, Signal::SIGKILL).unwrap();
    wait_for("the end", || kill(daemon.pid, None).is_err().then_some(()));
    let stale = daemon.pid;
    let home = Home::new();
    for name in ["pyzord.pid", "pyzord.db"] {
        fs::copy(daemon.home.path(name), home.path(name)).unwrap();
    }
    let daemon = Daemon::start(home, &[]);
    assert_ne!(daemon.pid, stale);
    assert!(daemon.home.read("pyzord.log").contains("taking over"));
}

#[test]
fn a_failed_start_reports_the_cause_and_leaves_no_pid_file() {
    let blocked = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = blocked.local_addr().unwrap().port().to_string();
    let junk = Home::new();
    junk.write("pyzord.db", "this is no database, but it is long enough to look at".repeat(100));
    for (home, arguments, cause) in [
        (Home::new(), &["-p", &port][..], "is another pyzord running?"),
        (junk, &["-p", "0"], "pyzord.db"),
        (Home::new(), &["-p", "x"], "option --port: `x` is not a port from 0 to 65535"),
        (Home::new(), &["-p", "0", "-e", "oracle"], "this build has no engine `oracle`"),
        (Home::new(), &["-p", "0", "-a", "192.0.2.1"], "cannot listen on 192.0.2.1 port 0"),
        (Home::new(), &["-p", "0", "--log-file", "no/such/folder/log"], "log file"),
        (Home::new(), &["-p", "0", "--pid-file", "no/such/folder/pid"], "pid file"),
    ] {
        for detach in [&[][..], &["--detach", "/dev/null"]] {
            if detach.is_empty() && cause == "pid file" {
                continue;
            }
            let address: &[&str] = if arguments.contains(&"-a") { &[] } else { &["-a", "127.0.0.1"] };
            let output = home.run(&[address, arguments, detach].concat());
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = error.lines().last().unwrap();
            assert!(last.contains(cause), "{error}");
            assert!(!home.path("pyzord.pid").exists());
        }
    }
}

#[test]
fn a_database_in_use_is_one_clear_error() {
    let server = Server::start(&[]);
    let output = server.home.run(&["-a", "127.0.0.1", "-p", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.lines().last().unwrap().contains("is in use by another process"), "{error}");
}
