//! Clients that report while a server is recorded.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use pyzord_cuts::Random;

use crate::harness::{DEADLINE, digest, field, numbered_request};

/// Concurrent clients.
const CLIENTS: u32 = 3;
/// Reports of a client in flight.
const WINDOW: u32 = 8;

/// What clients send.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// The reports of all clients together.
    pub(crate) reports: u32,
    /// The digests that are reported again and again.
    pub(crate) known: usize,
    /// The digests of a large report.
    pub(crate) digests: usize,
    /// How long a client waits after each reply.
    pub(crate) pause: Duration,
    pub(crate) seed: u64,
}

impl Load {
    /// Sends all reports, each as soon as there is room among those that have no reply.
    pub(crate) fn send(self, server: SocketAddr) {
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                scope.spawn(move || self.client(server, number));
            }
        });
    }

    fn client(self, server: SocketAddr, number: u32) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut random = Random::new(self.seed + u64::from(number));
        let (reports, mut replies) = (self.reports / CLIENTS, 0);
        let mut buffer = [0; 1024];
        for sent in 0..reports + WINDOW {
            if sent >= WINDOW {
                let length = socket.recv(&mut buffer).expect("a reply");
                let reply = String::from_utf8_lossy(&buffer[..length]);
                assert!(["200", "500"].contains(&field(&reply, "Code")), "{reply}");
                replies += 1;
                thread::sleep(self.pause);
            }
            if sent < reports {
                let digests = self.digests(&mut random);
                let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
                socket.send(numbered_request("report", &digests, sent).as_bytes()).unwrap();
            }
        }
        assert_eq!(replies, reports);
    }

    /// Returns the digests of a report: one as a rule, half of the time a new one.
    fn digests(self, random: &mut Random) -> Vec<String> {
        let count = if random.percent(10) { self.digests } else { 1 };
        let spread = |number: usize| digest(u32::try_from(number).unwrap().wrapping_mul(2_654_435_761));
        let number = |random: &mut Random| {
            if random.percent(50) { random.index(self.known) } else { self.known + random.index(1 << 30) }
        };
        (0..count).map(|_| spread(number(random))).collect()
    }
}
