//! Datagrams of hostile peers.

use std::net::UdpSocket;

use nix::sys::signal::Signal;

use crate::harness::{Client, Server, digest, field, request, run_python};

/// A small generator of pseudo-random numbers, with the same sequence in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

/// A request with a few bytes changed, removed, repeated or added.
fn mutated(numbers: &mut Numbers) -> Vec<u8> {
    let op = ["ping", "pong", "check", "report", "info", "whitelist"][numbers.next(6)];
    let number = u32::try_from(numbers.next(1000)).unwrap();
    let mut datagram = request(op, &[&digest(number)]).into_bytes();
    for _ in 0..=numbers.next(5) {
        let at = numbers.next(datagram.len());
        match numbers.next(5) {
            0 => datagram[at] = u8::try_from(numbers.next(256)).unwrap(),
            1 => datagram.truncate(at.max(1)),
            2 => datagram.insert(at, b"\n\r: \t\0"[numbers.next(6)]),
            3 => datagram.extend_from_within(at..),
            _ => drop(datagram.remove(at)),
        }
        if datagram.is_empty() {
            datagram.push(0);
        }
    }
    datagram.truncate(60_000);
    datagram
}

#[test]
fn twenty_thousand_mutated_datagrams_cost_no_memory_and_no_service() {
    let server = Server::start(&["--usage-log-file", "usage"]);
    let client = server.client();
    let mut numbers = Numbers(2026);
    let mut bombard = |count: usize| {
        for index in 0..count {
            match index % 1000 {
                0 => client.send(b""),
                1 => client.send([b'x'; 60_000]),
                2 => client.send(request("report", &vec![&*digest(1); 1000])),
                _ => client.send(mutated(&mut numbers)),
            }
            // Replies are read from time to time, so that this end's receive buffer does not overflow.
            if index % 50 == 0 {
                assert_ping(&client);
            }
        }
    };
    bombard(4_000);
    let before = server.memory();
    bombard(20_000);
    let after = server.memory();
    assert!(after < before + 4096, "from {before} KiB to {after} KiB");
    let usage = server.stop().read("usage");
    assert!(
        usage.lines().all(|line| line.contains(") INFO ") || line.contains(") ERROR ")),
        "one line a request"
    );
}

/// Sends a request and waits for its reply among all others.
fn assert_ping(client: &Client) {
    client.send("Op: ping\nThread: alive\nPV: 2.1\n\n");
    while !client.receive().contains("Thread: alive\n") {}
}

#[test]
fn a_datagram_that_is_no_request_gets_no_reply() {
    let server = Server::start(&["--workers", "1"]);
    let client = server.client();
    let reply = client.ask(request("ping", &[]));
    for datagram in [reply.as_bytes(), b"", b"\n\n", b"Thread: 5\nPV: 2.1\n\n", &[0xff; 60_000]] {
        client.send(datagram);
    }
    // One worker answers in order: a reply to one of the datagrams above would come first.
    client.send("Op: ping\nThread: last\nPV: 2.1\n\n");
    assert_eq!(field(&client.receive(), "Thread"), "last");
}

/// Sends a UDP datagram with a forged source; its arguments are source port, destination port and payload.
const SPOOF: &str = "import socket, struct, sys\n\
    source, target, payload = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()\n\
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)\n\
    raw.sendto(struct.pack('!HHHH', source, target, 8 + len(payload), 0) + payload, ('127.0.0.1', 0))";

fn spoof(source: u16, target: u16, payload: &str) {
    assert!(nix::unistd::geteuid().is_root(), "forging a source wants a raw socket: run the tests as root");
    run_python(SPOOF, &[&source.to_string(), &target.to_string(), payload]);
}

/// A send to port 0 fails with EINVAL; Python's server logs an error for each.
#[test]
fn source_port_zero_is_ignored_and_counted() {
    let server = Server::start(&[]);
    spoof(0, server.address.port(), &request("ping", &[]));
    let client = server.client();
    assert_eq!(field(&client.ask(request("ping", &[])), "Code"), "200");
    server.signal(Signal::SIGUSR1);
    server.wait_for_log(" 1 came from port 0, 0 receive errors, 0 send errors");
}

/// CVE-2024-2169: after one spoofed datagram two Python servers, or one and itself, answer each other for ever.
#[test]
fn servers_never_answer_each_other() {
    let (server, twin) = (Server::start(&[]), Server::start(&[]));
    let [a, b] = [&server, &twin].map(|server| server.address.port());
    for _ in 0..3 {
        spoof(a, b, &request("ping", &[]));
        spoof(b, a, "Op: nonsense\n");
        spoof(a, a, &request("ping", &[]));
    }
    // Each server answers its three or six requests, and does not answer replies.
    for (server, answered) in [(&server, 6), (&twin, 3)] {
        crate::harness::wait_for("all answers", || {
            server.signal(Signal::SIGUSR1);
            let last = server.log().lines().rfind(|line| line.contains(" answered, ")).map(str::to_owned)?;
            let no_requests = if answered == 6 { 6 } else { 3 };
            (last.contains(&format!(" {answered} answered, {no_requests} malformed"))).then_some(())
        });
    }
}

/// Many sockets of one peer send one request each: the server keeps no state of them.
#[test]
fn peers_leave_no_state_behind() {
    let server = Server::start(&[]);
    let ask = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        socket.send_to(request("check", &[&digest(1)]).as_bytes(), server.address).unwrap();
        socket.recv(&mut [0; 1000]).unwrap();
    };
    (0..500).for_each(|_| ask());
    let before = server.memory();
    (0..5000).for_each(|_| ask());
    let after = server.memory();
    assert!(after < before + 1024, "from {before} KiB to {after} KiB");
}
