//! The control socket: `pyzorctl` on the gdbm file of a running server. What it commands is in `operator.rs`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};

use crate::harness::{DEADLINE, Home, Server, digest, field, request};
use crate::pyzorctl::{KEEP, ask, at, ctl, feed, fill, lines, printed, stderr};

/// The most frequent request of Pyzor's users: a wrong record is removed while the server runs.
#[test]
fn a_running_servers_records_are_read_and_changed_through_it() {
    let home = Home::new();
    let records = fill(&home, 3000);
    let before = lines(&ctl(&home, &["export"]));
    let server = Server::on(home, &KEEP);
    assert_eq!(lines(&ask(&server, &["export"])), before);
    let status = printed(&ask(&server, &["status"]));
    assert!(status.ends_with("records: about 3000\n"), "{status}");
    let check = printed(&ask(&server, &["check-database"]));
    assert!(check.ends_with("served\n3000 entries, 0 of them unreadable\n"), "{check}");
    assert!(printed(&ask(&server, &["expiry"])).contains("older: 2800\nwithout a date: 200\n"));

    let client = server.client();
    assert_eq!(client.check(&digest(4)), (16, 1));
    let deleted = printed(&ask(&server, &["delete", &digest(4), &digest(5000)]));
    let expected =
        format!("{}: deleted (16 reports, 1 whitelistings)\n{}: no record\n", digest(4), digest(5000));
    assert_eq!((deleted, client.check(&digest(4))), (expected, (0, 0)));
    let set = ["set", &digest(3), "--reports", "7", "--reported", "1700000000", "--whitelists", "0"];
    assert!(printed(&ask(&server, &set)).ends_with("  whitelistings: 0\n"));
    assert_eq!(client.check(&digest(3)), (7, 0));
    let line = format!("{},100,1700000000.5,1700000001,0,,\n", digest(6000));
    let at = at(&server);
    let import = [&at.each_ref().map(String::as_str)[..], &["import"]].concat();
    assert_eq!(printed(&feed(&server.home, &import, &line)), "1 records imported, 0 lines failed\n");
    assert_eq!(field(&client.ask(request("report", &[&digest(6000)])), "Code"), "200");
    assert_eq!(client.check(&digest(6000)), (101, 0));
    let status = printed(&ask(&server, &["status"]));
    assert!(status.ends_with("records: about 3000\n"), "{status}");

    let home = server.stop();
    assert!(!home.path("pyzord.db.control").exists(), "a stop removes the socket");
    assert_eq!(lines(&ctl(&home, &["export"])).len(), records.len());
}

/// An operator asks about a server that hangs, so the question itself must not hang.
#[test]
fn a_server_that_hangs_is_reported() {
    let server = Server::start(&[]);
    server.home.write("pyzord.pid", format!("{}\n", server.pid()));
    server.signal(Signal::SIGSTOP);
    // Until the last of its threads is suspended, the server may still answer.
    waitpid(server.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    let status = ask(&server, &["status"]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let export = ask(&server, &["export"]);
    assert_eq!(export.status.code(), Some(1), "{export:?}");
    assert!(stderr(&export).contains("in use by another process"), "{export:?}");
    server.signal(Signal::SIGCONT);
    assert!(ask(&server, &["export"]).status.success());
}

#[test]
fn the_control_socket_is_its_owners_and_survives_a_kill() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let server = Server::start(&[]);
    let socket = server.home.path("pyzord.db.control");
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o077, 0);
    let home = server.kill();
    assert!(socket.exists());
    let server = Server::on(home, &[]);
    assert!(ask(&server, &["lookup", &digest(1)]).status.success());
    // A file that is not a socket is not removed; the server runs without a control socket.
    let home = server.stop();
    home.write("pyzord.db.control", "mine");
    let server = Server::on(home, &[]);
    assert_eq!(server.home.read("pyzord.db.control"), "mine");
    assert_eq!(ask(&server, &["export"]).status.code(), Some(1));
}

/// A client of the socket may open the file, too; but its mistakes must not harm the server.
#[test]
fn the_control_socket_survives_any_bytes() {
    let server = Server::start(&[]);
    let connect = || {
        let stream = UnixStream::connect(server.home.path("pyzord.db.control")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "pyzord control 1");
        (stream, lines)
    };
    for (request, reply) in [
        ("nonsense\n", "failed there is no such request"),
        ("\n", "failed there is no such request"),
        ("fetch abc\n", "failed a digest is 40 hex digits"),
        ("put a,b\n", "failed there are 2 fields in place of 7"),
        (&format!("remove {}\n", digest(1)), "ok"),
        (&format!("whitelist {}\n", digest(1)), "ok"),
        (&format!("fetch {}\n", digest(1)), "ok"),
        ("scan\n", "found"),
        ("estimate\n", "ok 1"),
        ("sync\n", "ok"),
        (&"x".repeat(5000), "failed a request is a line of at most 1024 bytes"),
        ("cut", "failed a request is a line of at most 1024 bytes"),
        ("\u{0}\n", "failed there is no such request"),
    ] {
        let (mut stream, mut lines) = connect();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(reply), "{request:?}: {line}");
    }
    // Those that use the database keep others out of it, but from nothing else, and delay neither datagrams nor a stop.
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (mut stream, mut lines) = connect();
            stream.write_all(b"estimate\n").unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "ok 1");
            (stream, lines)
        })
        .collect();
    let refused = ask(&server, &["export"]);
    assert!(stderr(&refused).contains("8 others use the database already"), "{refused:?}");
    assert!(ask(&server, &["status"]).status.success());
    assert_eq!(server.client().check(&digest(1)), (0, 1));
    server.stop();
    drop(all);
}
