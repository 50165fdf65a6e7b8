//! The server under a service manager: notifications, a passed socket, the journal.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Client, DEADLINE, Guarded, Home, field, request, wait_for};

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn client_of(home: &Home) -> Client {
    let address =
        |log: &str| Some(log.split("Listening on ").nth(1)?.split_whitespace().next()?.parse().unwrap());
    Client::new(wait_for("listening", || address(&home.read("stderr"))))
}

/// Returns the next notification that is not about the watchdog.
fn news(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1000];
    loop {
        let length = manager.recv(&mut buffer).expect("a notification");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text != "WATCHDOG=1\n" {
            return text;
        }
    }
}

#[test]
fn the_manager_is_notified_of_start_life_reload_and_stop() {
    let home = Home::new();
    let path = home.path("notify");
    let name = format!("pyzord-test-{}-{}", std::process::id(), crate::RUNTIME);
    for (variable, address) in [
        (path.to_str().unwrap().to_owned(), SocketAddr::from_pathname(&path).unwrap()),
        (format!("@{name}"), SocketAddr::from_abstract_name(name).unwrap()),
    ] {
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut command = home.command(&["-a", "127.0.0.1", "-p", "0"]);
        command.env("NOTIFY_SOCKET", variable).env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
        let mut server =
            Guarded(command.stderr(fs::File::create(home.path("stderr")).unwrap()).spawn().unwrap());
        let ready = news(&manager);
        assert!(ready.starts_with("READY=1\nSTATUS=Listening on 127.0.0.1:"), "{ready}");
        assert_eq!(field(&client_of(&home).ask(request("ping", &[])), "Code"), "200");
        for _ in 0..2 {
            let mut buffer = [0; 100];
            let length = manager.recv(&mut buffer).expect("a sign of life");
            assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
        }
        signal(&server.0, Signal::SIGHUP);
        let reloading = news(&manager);
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        let uptime: f64 =
            fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
        // Only the uptime includes the time in suspension.
        assert!(since.parse::<f64>().unwrap() / 1e6 < uptime + 1.0, "{since} {uptime}");
        assert_eq!(news(&manager), "READY=1\n");
        signal(&server.0, Signal::SIGTERM);
        assert!(news(&manager).starts_with("STOPPING=1\n"));
        assert!(wait_for("the end", || server.0.try_wait().unwrap()).success());
    }
}

#[test]
fn an_unreachable_manager_does_not_stop_the_server() {
    let home = Home::new();
    let mut command = home.command(&["-a", "127.0.0.1", "-p", "0"]);
    command.env("NOTIFY_SOCKET", home.path("nobody"));
    let _server = Guarded(command.stderr(fs::File::create(home.path("stderr")).unwrap()).spawn().unwrap());
    assert_eq!(field(&client_of(&home).ask(request("ping", &[])), "Code"), "200");
    wait_for("the warning", || {
        home.read("stderr").contains("the service manager cannot be told `READY=1").then_some(())
    });
}

/// Starts the server with this socket as file descriptor 3, as the manager does, and with what is its standard output as
/// file descriptor 4.
fn passed(home: &Home, socket: impl Into<OwnedFd>, count: &str) -> Command {
    let server = home.command(&["-a", "192.0.2.1"]);
    let mut command = Command::new("sh");
    let second = if count == "2" { "4<&1 >/dev/null" } else { "" };
    command.args(["-c", &format!("LISTEN_PID=$$ exec \"$@\" 3<&0 </dev/null {second}"), "sh"]);
    command.arg(server.get_program()).args(server.get_args()).env("LISTEN_FDS", count);
    command.stdin(Stdio::from(socket.into())).stderr(fs::File::create(home.path("stderr")).unwrap());
    command
}

#[test]
fn a_passed_socket_is_served_instead_of_the_settings() {
    let home = Home::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let client = Client::new(socket.local_addr().unwrap());
    // The manager binds the socket before the server starts.
    client.send(request("ping", &[]));
    let mut server = Guarded(passed(&home, socket, "1").spawn().unwrap());
    assert_eq!(field(&client.receive(), "Code"), "200");
    signal(&server.0, Signal::SIGTERM);
    assert!(wait_for("the end", || server.0.try_wait().unwrap()).success());
    assert!(home.read("stderr").contains("on the sockets that the service manager passed"));
}

/// A unit with several `ListenDatagram=` was refused.
#[test]
fn all_passed_sockets_are_served() {
    let home = Home::new();
    let first = UdpSocket::bind("127.0.0.1:0").unwrap();
    let second = UdpSocket::bind(("127.0.0.2", first.local_addr().unwrap().port())).unwrap();
    let clients = [&first, &second].map(|socket| Client::new(socket.local_addr().unwrap()));
    let mut command = passed(&home, first, "2");
    let mut server = Guarded(command.stdout(Stdio::from(OwnedFd::from(second))).spawn().unwrap());
    for client in clients {
        assert_eq!(field(&client.ask(request("ping", &[])), "Code"), "200");
    }
    signal(&server.0, Signal::SIGTERM);
    assert!(wait_for("the end", || server.0.try_wait().unwrap()).success());
    let log = home.read("stderr");
    assert!(log.contains("Listening on 127.0.0.1:") && log.contains(", 127.0.0.2:"), "{log}");
}

#[test]
fn descriptors_of_another_kind_are_refused() {
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    for (socket, count, cause) in [
        (udp(), "2", "LISTEN_FDS: fd 4 is not a socket; this server takes UDP sockets on one port"),
        (tcp(), "1", "LISTEN_FDS: fd 3 is not a valid udp socket"),
    ] {
        let home = Home::new();
        assert_eq!(passed(&home, socket, count).status().unwrap().code(), Some(1));
        assert!(home.read("stderr").contains(cause), "{}", home.read("stderr"));
    }
}

#[test]
fn in_the_journal_a_line_is_a_priority_and_the_message() {
    for journal in [true, false] {
        let home = Home::new();
        let stderr = fs::File::create(home.path("stderr")).unwrap();
        let file = stderr.metadata().unwrap();
        let inode = file.ino() + u64::from(!journal);
        home.write("pyzord.passwd", "nonsense\n");
        let mut command = home.command(&["-d", "-a", "127.0.0.1", "-p", "0"]);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", file.dev()));
        let mut server = Guarded(command.stderr(stderr).spawn().unwrap());
        client_of(&home).ask(request("ping", &[]));
        signal(&server.0, Signal::SIGTERM);
        wait_for("the end", || server.0.try_wait().unwrap());
        let log = home.read("stderr");
        for line in ["<6>Starting pyzord server", "<4>accounts file", "<6>anonymous,127.0.0.1,ping,None,200"]
        {
            assert_eq!(log.lines().any(|found| found.starts_with(line)), journal, "{line} in {log}");
        }
        assert_eq!(log.lines().all(|line| line.starts_with('<')), journal, "{log}");
        let mut failed = home.command(&["-p", "x"]);
        let stderr = fs::File::options().append(true).open(home.path("stderr")).unwrap();
        failed.env("JOURNAL_STREAM", format!("{}:{inode}", file.dev())).stderr(stderr);
        assert_eq!(failed.status().unwrap().code(), Some(1));
        let mark = if journal { "<3>option --port" } else { "pyzord: option --port" };
        assert!(home.read("stderr").lines().last().unwrap().starts_with(mark));
    }
}
