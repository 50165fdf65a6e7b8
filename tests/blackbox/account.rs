//! `User` and `Group`. Only root can change the account; without root the tests check that it is refused.

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::harness::{Home, Server, field, request, wait_for};

fn nobody() -> User {
    User::from_name("nobody").unwrap().unwrap()
}

/// A home directory that belongs to the user nobody.
fn home_of_nobody() -> Home {
    let (home, user) = (Home::new(), nobody());
    chown(home.dir(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    home
}

#[test]
fn only_root_can_change_the_account() {
    let home = Home::new();
    let output = if geteuid().is_root() {
        // The user nobody cannot enter the folder of the program.
        let (home, user) = (home_of_nobody(), nobody());
        let program = home.path("pyzord");
        // Another process writes the copy. A child that another test starts at the same time inherits files that this
        // process has open, and a program that is open for writing cannot be run.
        let mut install = Command::new("install");
        install.args(["-m", "755", env!("CARGO_BIN_EXE_pyzord")]).arg(&program);
        assert!(install.status().unwrap().success());
        let mut command = Command::new(program);
        command.arg("--homedir").arg(home.dir()).args(["-a", "127.0.0.1", "-p", "0", "--user", "root"]);
        command.current_dir(home.dir()).uid(user.uid.as_raw()).gid(user.gid.as_raw()).output().unwrap()
    } else {
        home.run(&["-a", "127.0.0.1", "-p", "0", "--user", "root"])
    };
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("User: only root can start a server as user root"), "{error}");
}

#[test]
fn root_binds_the_port_and_then_serves_as_the_user() {
    if !geteuid().is_root() {
        return;
    }
    let user = nobody();
    let home = home_of_nobody();
    let free = |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    let port = (600..1024).rev().find(free).unwrap().to_string();
    home.write("config", "[server]\nUser = nobody\n");
    let server = Server::spawn(
        home,
        &["--runtime", crate::RUNTIME, "-a", "127.0.0.1", "-p", &port, "--log-file", "pyzord.log"],
    );
    assert_eq!(field(&server.client().ask(request("report", &[&"0".repeat(40)])), "Code"), "200");
    // Credentials belong to a thread, so each thread is checked.
    for task in fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let ids = |name: &str| -> Vec<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(ids("Uid:"), vec![user.uid.to_string(); 4]);
        assert_eq!(ids("Gid:"), vec![user.gid.to_string(); 4]);
        assert!(ids("Groups:").iter().all(|group| *group == user.gid.to_string()), "{status}");
        assert_eq!(ids("CapEff:"), ["0000000000000000"]);
    }
    // logrotate moves the file; the user opens the new one.
    fs::rename(server.home.path("pyzord.log"), server.home.path("pyzord.log.1")).unwrap();
    server.signal(Signal::SIGHUP);
    wait_for("the new log", || server.home.read("pyzord.log").contains("datagrams received").then_some(()));
    for name in ["pyzord.log", "pyzord.log.1", "pyzord.db"] {
        let file = fs::metadata(server.home.path(name)).unwrap();
        assert_eq!((file.uid(), file.mode() & 0o777), (user.uid.as_raw(), 0o600), "{name}");
    }
    server.stop();
}

#[test]
fn a_file_that_the_user_cannot_use_is_an_error_that_names_the_user() {
    if !geteuid().is_root() {
        return;
    }
    let user = nobody();
    for (name, cause) in [("pyzord.passwd", "accounts file"), ("pyzord.log", "log file"), ("pyzord.db", "")] {
        let home = home_of_nobody();
        home.write(name, "");
        fs::set_permissions(home.path(name), Permissions::from_mode(0o600)).unwrap();
        let arguments = ["-a", "127.0.0.1", "-p", "0", "--user", "nobody", "--log-file", "pyzord.log"];
        // The check finds it, too: it has the rights of the user.
        for check in [&["--check-config"][..], &[]] {
            let output = home.run(&[&arguments[..], check].concat());
            assert_eq!(output.status.code(), Some(1), "{name}");
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            let account = format!("(as user nobody, group {})", user.gid);
            let error = said.lines().find(|line| line.contains(cause) && line.contains(name));
            assert!(error.is_some_and(|error| error.ends_with(&account)), "{said}");
        }
    }
}

#[test]
fn unknown_users_and_groups_are_refused_by_check_config_too() {
    let home = Home::new();
    home.write("config", "[server]\nUser = no-such-user-here\n");
    for arguments in [&["--check-config"][..], &["-a", "127.0.0.1", "-p", "0"]] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            said.contains("config, line 2: User: `no-such-user-here` is not a user of this system"),
            "{said}"
        );
    }
    let output = home.run(&["--user", "", "--group", "no-such-group-here", "--check-config"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("option --group: `no-such-group-here` is not a group of this system"), "{said}");
}

/// A server with a part of its workers served a part of its clients, and said that it was ready.
#[test]
fn a_limit_of_threads_ends_the_start_and_leaves_no_pid_file() {
    // The limit holds for other accounts than root.
    if !geteuid().is_root() {
        return;
    }
    for detach in [&[][..], &["--detach", "/dev/null"]] {
        let home = home_of_nobody();
        home.write("config", "[server]\nUser = nobody\n");
        let server = home.command(&[&["-a", "127.0.0.1", "-p", "0", "--workers", "64"][..], detach].concat());
        let mut limited = Command::new("prlimit");
        limited.arg("--nproc=20:20").arg(server.get_program()).args(server.get_args());
        let output = limited.stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.lines().last().unwrap().contains("cannot start all threads"), "{error}");
        assert!(!home.path("pyzord.pid").exists());
    }
}
