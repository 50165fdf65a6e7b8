//! `--detach`, the pid file, and a second server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::harness::{Client, Guarded, Home, Server, digest, field, python, request, wait_for};

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
        (Home::new(), &["-p", "0", "-a", "127.0.0.1", "-a", "192.0.2.1"], "cannot listen on 192.0.2.1 port "),
        (Home::new(), &["-p", &port, "-a", "127.0.0.2,127.0.0.1"], "cannot listen on 127.0.0.1 port "),
        (Home::new(), &["-p", "0", "-a", "*"], "option --address: `*` is not a list of addresses"),
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

/// The server held the caller's lock for as long as it ran.
#[test]
fn a_daemon_keeps_no_descriptor_of_its_caller() {
    let home = Home::new();
    let server = home.command(&["-a", "127.0.0.1", "-p", "0", "--detach", "/dev/null"]);
    let mut caller = Command::new("sh");
    caller.args(["-c", "exec 7>\"$0\" 8>&7; \"$@\""]).arg(home.path("lock"));
    caller.arg(server.get_program()).args(server.get_args()).stdin(Stdio::null());
    assert!(caller.status().unwrap().success());
    let pid = home.read("pyzord.pid");
    let daemon = Daemon { pid: Pid::from_raw(pid.trim().parse().unwrap()), home };
    let held = |name: &str| {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap();
        let targets = descriptors.map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
        targets.filter(|to| to.ends_with(name)).count()
    };
    assert!(held("pyzord.db") > 0);
    assert_eq!(held("lock"), 0);
}

/// TERM and INT had no effect until everything was open, however long a start waited.
#[test]
fn term_and_int_end_a_start() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let home = Home::new();
        // The start waits for the lock of the database, as it does for a slow disk.
        let source = home.write("wait.c", "#include <unistd.h>\nint flock(int a, int b) { for (;;) pause(); }\n");
        let library = home.path("wait.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(compiler.status().unwrap().success());
        let mut parent = home.command(&["-a", "127.0.0.1", "-p", "0", "--detach", "/dev/null"]);
        parent.args(["--log-file", "pyzord.log"]).env("LD_PRELOAD", library).stderr(Stdio::null());
        let mut parent = Guarded(parent.spawn().unwrap());
        let pid = wait_for("the start", || {
            let log = home.read("pyzord.log");
            let line = log.lines().find(|line| line.ends_with(concat!(env!("CARGO_PKG_VERSION"), ".")))?;
            line.split(['(', ')']).nth(1).map(str::to_owned)
        });
        kill(Pid::from_raw(pid.parse().unwrap()), signal).unwrap();
        let status = wait_for("the end", || parent.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(1), "nothing serves");
        assert!(home.read("pyzord.log").contains("The start is given up"), "{}", home.read("pyzord.log"));
        assert!(!home.path("pyzord.pid").exists());
    }
}

#[test]
fn a_process_that_shares_the_port_is_named() {
    let server = Server::start(&["--workers", "2"]);
    let script = "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n\
                  s.bind(('127.0.0.1', int(sys.argv[1])))\nsys.stdin.read()";
    let mut thief = python("python");
    thief.args(["-c", script, &server.address.port().to_string()]).stdin(Stdio::piped());
    let thief = Guarded(thief.spawn().unwrap());
    server.wait_for_log(&format!("process {} (", thief.0.id()));
    assert!(server.log().contains(&format!("has a socket on {}, too", server.address)));
}

#[test]
fn a_database_in_use_is_one_clear_error() {
    let server = Server::start(&[]);
    let output = server.home.run(&["-a", "127.0.0.1", "-p", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.lines().last().unwrap().contains("is in use by another process"), "{error}");
}
