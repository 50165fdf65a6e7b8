//! A client whose replies stay in a queue of this machine.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use pyzord_core::{Limits, MemoryStore, Policy, Server, Tick};
use pyzord_runtime::{Clock, Counters, Service, Sockets, Stores, shared_guard};

use crate::Drive;

const PING: &[u8] = b"Op: ping\nThread: 5\nPV: 2.1\n\n";
const CHECK: &[u8] =
    b"Op: check\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nThread: 5\nPV: 2.1\n\n";
/// More requests than there is room for replies.
const FILLING: u64 = 1000;
const SLOW: [&str; 2] = ["127.0.0.9", "127.0.0.10"];

/// Replies to one slow client filled the send buffer: all workers waited in their sends, and the server did not stop.
///
/// The links of a network namespace are slowed down, so the test runs again in one of its own.
#[test]
fn a_slow_client_keeps_no_other_waiting() {
    let mut inner = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        inner.arg("--map-root-user");
    }
    inner.arg("--net").arg(std::env::current_exe().unwrap());
    let output =
        inner.args(["--exact", "slow::in_a_namespace", "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "slows down the loopback interface: the test above runs it in a namespace"]
fn in_a_namespace() {
    run("ip link set lo up");
    #[cfg(feature = "runtime-std")]
    serve_beside_slow_clients::<crate::Std>();
    #[cfg(feature = "runtime-smol")]
    serve_beside_slow_clients::<crate::Smol>();
}

fn run(line: &str) {
    assert!(Command::new("sh").args(["-c", line]).status().unwrap().success(), "{line}");
}

/// Slows down the links of some clients, whose queues are empty then.
fn slow_down() {
    run("tc qdisc replace dev lo root pfifo && tc qdisc replace dev lo root handle 1: htb");
    run("tc class add dev lo parent 1: classid 1:3 htb rate 8kbit burst 1k");
    for client in SLOW {
        run(&format!(
            "tc filter add dev lo parent 1: protocol ip prio 1 u32 match ip dst {client}/32 flowid 1:3"
        ));
    }
}

fn serve_beside_slow_clients<D: Drive>() {
    for remote in [false, true] {
        // Chance decides which clients share a spare socket.
        let served = (0..4).any(|_| {
            let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
            let (served, _) = serve::<D>(&sockets, remote, |_| FILLING);
            served
        });
        assert!(served, "no server answers while a client is slow");
        // A socket of a service manager has no spare ones.
        let sockets = Sockets::adopt(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let clock = Clock::start();
        let (_, counters) = serve::<D>(&sockets, remote, |counters| {
            assert!(clock.tick() < Tick::new(Duration::from_secs(60)), "{counters}");
            if counters.counts().replies_dropped == 0 { u64::MAX } else { 0 }
        });
        assert!(counters.counts().replies_dropped > 0, "{counters}");
    }
}

/// Serves slow clients until as many requests were received as `enough` says. Returns whether another client is answered
/// then. The server stops in any case.
fn serve<D: Drive>(sockets: &Sockets, remote: bool, enough: impl Fn(&Counters) -> u64) -> (bool, Counters) {
    slow_down();
    // The size that a process without privileges gets.
    sockets.iter().for_each(|socket| setsockopt(socket, sockopt::SndBuf, &100_000).unwrap());
    let counters = Counters::default();
    let (commands, receiver) = mpsc::channel();
    let store = MemoryStore::new();
    let served = thread::scope(|scope| {
        // Dropped at the end, which stops the server.
        let _commands = commands;
        let counters = &counters;
        scope.spawn(move || {
            let stores = if remote {
                Stores::Remote { workers: 1, stores: vec![store.clone()] }
            } else {
                Stores::Local { workers: vec![store.clone()], large: store.clone() }
            };
            let service = Service {
                sockets,
                server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
                counters,
                stores,
                upkeep: store,
                cleanup: None,
                reload: &mut || None,
                on_answered: &|_| (),
                supervisor: None,
            };
            D::serve(service, receiver);
        });
        let slow = SLOW.map(|address| UdpSocket::bind((address, 0)).unwrap());
        let to = sockets.address().unwrap();
        let mut sent: u64 = 0;
        while sent < enough(counters) {
            for client in &slow {
                client.send_to(PING, to).unwrap();
                client.send_to(CHECK, to).unwrap();
                sent += 2;
            }
            while counters.counts().received < sent {
                thread::yield_now();
            }
        }
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(to).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        (0..100).all(|_| {
            slow.iter().for_each(|client| assert!(client.send_to(PING, to).is_ok()));
            [PING, CHECK].iter().all(|request| {
                client.send(request).unwrap();
                client.recv(&mut [0; 500]).is_ok()
            })
        })
    });
    (served, counters)
}
