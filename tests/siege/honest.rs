//! The honest client: it reports, signed, and checks what it has reported.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::attackers::Captured;
use crate::harness::{digest, field, numbered_request, request};
use crate::signer::Signer;

/// Digests that no attacker reports.
const DIGESTS: u32 = 50;
/// The first of them.
const FIRST: u32 = 900_000_000;
/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// Python's client waits for an answer this long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the client has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// The bounds of each digest's count: what was acknowledged, and what was sent.
    counts: BTreeMap<u32, (u64, u64)>,
    checks: u64,
    /// Checks that were answered 200 with a right count.
    pub(crate) good: u64,
    /// Latencies of checks.
    checked_in: Vec<Duration>,
    /// Latencies of the echo.
    echoed_in: Vec<Duration>,
    /// Some answers that were wrong.
    pub(crate) wrong: Vec<String>,
}

impl Seen {
    /// Returns the share of good checks.
    pub(crate) fn share(&self) -> f64 {
        self.good as f64 / self.checks.max(1) as f64
    }

    /// Returns the 99th percentiles of the latencies of the checks and of the echo.
    pub(crate) fn p99(&mut self) -> (Duration, Duration) {
        (p99(&mut self.checked_in), p99(&mut self.echoed_in))
    }

    /// Returns the number of checks.
    pub(crate) fn checks(&self) -> u64 {
        self.checks
    }

    /// Returns the number of acknowledged reports.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.counts.values().map(|(least, _)| least).sum()
    }

    /// Asserts that no acknowledged count is lost and none is doubled.
    pub(crate) fn verify(&self, server: SocketAddr) {
        let client = crate::harness::Client::new(server);
        for (number, (least, most)) in &self.counts {
            let count = crate::harness::wait_for("a count", || {
                let reply = client.ask(request("check", &[&digest(*number)]));
                (field(&reply, "Code") == "200").then(|| field(&reply, "Count").parse::<u64>().unwrap())
            });
            assert!((*least..=*most).contains(&count), "{count} of digest {number}, not {least} to {most}");
        }
    }
}

fn p99(latencies: &mut [Duration]) -> Duration {
    latencies.sort_unstable();
    latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default()
}

/// Asks the server until the time is over.
#[expect(clippy::disallowed_methods, reason = "latencies are measured")]
pub(crate) fn ask(server: SocketAddr, length: Duration, captured: &Captured) -> Seen {
    let (socket, echo) = (socket(server), socket(echo()));
    let (mut signer, mut seen) = (Signer::new("alice", "1111"), Seen::default());
    let started = Instant::now();
    for round in 0_u32.. {
        if started.elapsed() > length {
            break;
        }
        let number = FIRST + round % DIGESTS;
        report(&socket, &mut signer, number, &mut seen, captured);
        check(&socket, number, round, &mut seen);
        let sent = Instant::now();
        if exchange(&echo, b"echo", |_| true).is_some() {
            seen.echoed_in.push(sent.elapsed());
        }
        thread::sleep(PAUSE);
    }
    seen
}

fn report(socket: &UdpSocket, signer: &mut Signer, number: u32, seen: &mut Seen, captured: &Captured) {
    let datagram = signer.request("report", &digest(number));
    let (least, most) = seen.counts.entry(number).or_default();
    *most += 1;
    let thread = signer.thread();
    let reply = exchange(socket, &datagram, |reply| reply.contains(&format!("Thread: {thread}\n")));
    if reply.as_deref().is_some_and(|reply| field(reply, "Code") == "200") {
        *least += 1;
        captured.lock().unwrap().push(datagram);
    }
}

#[expect(clippy::disallowed_methods, reason = "latencies are measured")]
fn check(socket: &UdpSocket, number: u32, round: u32, seen: &mut Seen) {
    let thread = 2000 + round % 60_000;
    let datagram = numbered_request("check", &[&digest(number)], thread);
    let sent = Instant::now();
    let wanted = format!("Thread: {thread}\n");
    let reply = exchange(socket, datagram.as_bytes(), |reply| reply.contains(&wanted));
    seen.checks += 1;
    let (least, most) = seen.counts[&number];
    let reply = reply.unwrap_or_else(|| "no answer".to_owned());
    let right = reply.contains("Code: 200\n")
        && (least..=most).contains(&field(&reply, "Count").parse::<u64>().unwrap());
    if right {
        seen.good += 1;
        seen.checked_in.push(sent.elapsed());
    } else if seen.wrong.len() < 10 {
        seen.wrong.push(format!("{reply:?}, where {least} to {most} is right"));
    }
}

/// Sends a datagram and returns the reply to it, or `None` after the time that Python's client waits.
#[expect(clippy::disallowed_methods, reason = "a client waits for its time")]
fn exchange(socket: &UdpSocket, datagram: &[u8], wanted: impl Fn(&str) -> bool) -> Option<String> {
    socket.send(datagram).ok()?;
    let (sent, mut buffer) = (Instant::now(), [0; 9000]);
    while sent.elapsed() < TIMEOUT {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if wanted(&reply) {
            return Some(reply);
        }
    }
    None
}

fn socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

/// Starts an echo, which ends with the process.
fn echo() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(&buffer[..length], peer));
        }
    });
    address
}
