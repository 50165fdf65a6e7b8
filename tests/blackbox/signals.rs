//! Signals under load.

use std::thread;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Home, LISTEN, Server, digest, field, request, wait_for};

const BURST: usize = 150;

#[test]
fn term_and_int_stop_with_nothing_lost() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start(&[]);
        let client = server.client();
        let spam = digest(3);
        // As many requests as this end's receive buffer has room for replies.
        for _ in 0..BURST {
            client.send(request("report", &[&spam]));
        }
        server.signal(signal);
        // Datagrams in the kernel's buffer at the signal are answered, and each answered report is counted.
        let acknowledged = (0..BURST).map_while(|_| client.receive_within(2000)).count();
        server.wait_for_log("Server shutdown.");
        let server = Server::on(server.stop_after_signal(), &[]);
        let (counted, _) = server.client().check(&spam);
        assert_eq!(counted, acknowledged as u64);
        assert_eq!(acknowledged, BURST, "the datagrams were there before the signal");
    }
}

/// A Rust port of Python's server ended at its own reload signal.
#[test]
fn twenty_reloads_under_load_lose_no_datagram() {
    let server = Server::start(&["--workers", "2"]);
    let spam = digest(4);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let client = server.client();
            for _ in 0..4000 {
                assert_eq!(field(&client.ask(request("report", &[&spam])), "Code"), "200");
            }
        });
        for reloads in 1..=20 {
            server.signal(if reloads % 2 == 0 { Signal::SIGUSR1 } else { Signal::SIGHUP });
            wait_for("a reload", || {
                (server.log().matches("Reloading configuration.").count() == reloads).then_some(())
            });
        }
        load.join().unwrap();
    });
    assert_eq!(server.client().check(&spam), (4000, 0));
}

#[test]
fn a_reload_applies_the_new_rules_and_an_unreadable_file_keeps_the_old_ones() {
    let server = Server::start(&[]);
    let client = server.client();
    let ping = || field(&client.ask(request("ping", &[])), "Code").to_owned();
    assert_eq!(ping(), "200");
    server.home.write("pyzord.access", "ping : anonymous : deny\n");
    server.signal(Signal::SIGUSR1);
    wait_for("the new rules", || (ping() == "403").then_some(()));
    // Root cannot read a directory as a file, either.
    std::fs::remove_file(server.home.path("pyzord.access")).unwrap();
    std::fs::create_dir(server.home.path("pyzord.access")).unwrap();
    server.signal(Signal::SIGUSR1);
    server.wait_for_log("the old rules still hold");
    assert_eq!(ping(), "403");
    std::fs::remove_dir(server.home.path("pyzord.access")).unwrap();
    server.home.write("pyzord.access", "ping : anonymous : allow\n");
    server.signal(Signal::SIGHUP);
    wait_for("the new rules", || (ping() == "200").then_some(()));
    server.wait_for_log("this reload lets anonymous users ping, which was denied before");
}

/// A reload took a vanished access file for one that never was, so anonymous clients could report; without the accounts
/// file no user could sign.
#[test]
fn a_file_that_vanishes_before_a_reload_keeps_the_old_rules() {
    for gone in ["pyzord.access", "pyzord.passwd"] {
        let home = Home::new();
        home.write("pyzord.access", "check : anonymous : allow\nall : all : allow\n");
        home.write("pyzord.passwd", "bob : 1234\n");
        let server = Server::on(home, &[]);
        let client = server.client();
        let report = || field(&client.ask(request("report", &[&digest(1)])), "Code").to_owned();
        assert_eq!(report(), "403");
        let text = server.home.read(gone);
        for reload in 1..=2 {
            let _ = std::fs::remove_file(server.home.path(gone));
            server.signal(Signal::SIGHUP);
            wait_for("an error", || {
                let log = server.log();
                (log.matches("the old rules still hold").count() == reload && log.contains(gone))
                    .then_some(())
            });
            assert_eq!(report(), "403");
        }
        let accounts = || server.log().matches("Accounts: 1.").count();
        assert_eq!(accounts(), 1);
        // A file that is back counts.
        server.home.write(gone, text);
        server.signal(Signal::SIGHUP);
        wait_for("a reload", || (accounts() == 2).then_some(()));
        assert_eq!(report(), "403");
    }
}

/// A read of a FIFO waits for its writer: the start, a reload and TERM hung for ever.
#[test]
fn a_fifo_in_place_of_a_file_stops_nothing() {
    for name in ["config", "pyzord.passwd", "pyzord.access"] {
        let home = Home::new();
        mkfifo(&home.path(name), Mode::S_IRWXU).unwrap();
        let output = home.run(&LISTEN);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(name) && text.contains("it is a FIFO, not a regular file"), "{text}");
    }
    let server = Server::start(&[]);
    mkfifo(&server.home.path("pyzord.access"), Mode::S_IRWXU).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_log(
        "it is a FIFO, not a regular file; put the text into a regular file; the old rules still hold",
    );
    assert_eq!(field(&server.client().ask(request("ping", &[])), "Code"), "200");
    server.signal(Signal::SIGTERM);
    server.wait_for_log("Server shutdown.");
    server.stop_after_signal();
}
