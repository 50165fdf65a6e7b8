//! Servers that forward to each other, and a network with faults between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use pyzord_core::client::{Action, Event, Forwarder, Remote, Reply, ServerEvent, Totals};
use pyzord_core::{
    AccessOrder, Batch, Digest, Guard, Limits, MemoryStore, Now, Policy, Server, Store, StoreError, Tick,
    UnixTime,
};

pub(crate) const START: i64 = 1_700_000_000;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const CLIENT: &str = "198.51.100.9:4000";

pub(crate) fn digest(number: u32) -> Digest {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Digest::new(bytes)
}

pub(crate) fn now(tick: Tick) -> Now {
    let seconds = i64::try_from(tick.since(Tick::default()).as_secs()).unwrap();
    Now { wall: UnixTime::from_seconds(START + seconds), tick }
}

pub(crate) fn at(millis: u64) -> Tick {
    Tick::new(Duration::from_millis(millis))
}

/// A linear congruential generator, with the same numbers in every run.
#[derive(Debug)]
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A server that may forward.
#[derive(Debug)]
pub(crate) struct Node {
    address: SocketAddr,
    pub(crate) server: Server,
    pub(crate) store: MemoryStore,
    pub(crate) forwarder: Forwarder,
    /// Whether it receives datagrams.
    pub(crate) up: bool,
    /// Whether its database fails.
    pub(crate) broken: bool,
    pub(crate) received: usize,
    pub(crate) events: Vec<Event>,
}

impl Node {
    pub(crate) fn new(host: u8, remotes: Vec<Remote>) -> Self {
        let access = b"ping report whitelist : anonymous bob : allow";
        let (policy, _) =
            Policy::parse(Some(format!("bob : {KEY}").as_bytes()), Some(access), AccessOrder::FirstMatch);
        Self {
            address: SocketAddr::from(([192, 0, 2, host], 24441)),
            server: Server::new(policy, Guard::new(Limits::default(), [host; 16])),
            store: MemoryStore::new(),
            forwarder: Forwarder::new(remotes, TIMEOUT, [host; 16], Tick::default()),
            up: true,
            broken: false,
            received: 0,
            events: Vec::new(),
        }
    }

    /// Serves one datagram, and forwards the counted digests.
    pub(crate) fn serve(&mut self, peer: SocketAddr, datagram: &[u8], now: Now) -> Option<Vec<u8>> {
        self.received += 1;
        let mut batch = Batch::new();
        batch.accept(&self.server, peer, datagram, now).ok()?;
        let asked = batch.ask();
        let mut answers = Vec::new();
        if self.broken {
            answers.extend(asked.calls().iter().map(|_| Err(StoreError::Unavailable)));
        } else {
            self.store.execute(now, asked.calls(), &mut answers);
        }
        let answered = asked.resolve(&self.server, &answers);
        answered.counted().for_each(|counted| self.forwarder.count(counted, now.tick));
        answered.replies().next().map(|(_, reply)| reply.to_vec())
    }

    /// Returns how often each digest was reported.
    pub(crate) fn reports(&self) -> BTreeMap<Digest, u64> {
        self.store.records().map(|(digest, record)| (digest, record.reports.count)).collect()
    }

    /// Returns the sum of all counts.
    pub(crate) fn total(&self) -> u64 {
        self.store.records().map(|(_, record)| record.reports.count + record.whitelists.count).sum()
    }
}

#[derive(Debug)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    datagram: Vec<u8>,
}

/// A network of servers. Each server sends from the port on which it receives.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Tick,
    packets: BTreeMap<(Tick, u64), Packet>,
    numbers: Numbers,
    /// Lost datagrams, in percent.
    pub(crate) loss: u64,
    /// Repeated datagrams, in percent.
    pub(crate) repeats: u64,
    /// What each datagram takes beside the usual time.
    pub(crate) delay: Duration,
    /// Whether the network passes pings only.
    pub(crate) pings_only: bool,
    pub(crate) sent: u64,
}

impl Network {
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        let numbers = Numbers(1);
        let (now, packets) = (Tick::default(), BTreeMap::new());
        let (loss, repeats, delay) = (0, 0, Duration::ZERO);
        Self { nodes, now, packets, numbers, loss, repeats, delay, pings_only: false, sent: 0 }
    }

    fn send(&mut self, packet: &Packet) {
        if self.pings_only && packet.datagram.starts_with(b"Op: report") {
            return;
        }
        let copies = 1 + u64::from(self.numbers.below(100) < self.repeats);
        for _ in 0..copies {
            if self.numbers.below(100) >= self.loss {
                let arrives = self.now.after(self.delay + Duration::from_millis(1 + self.numbers.below(50)));
                self.sent += 1;
                let Packet { from, to, ref datagram } = *packet;
                self.packets.insert((arrives, self.sent), Packet { from, to, datagram: datagram.clone() });
            }
        }
    }

    /// Reports a digest to the first server, which always receives it.
    pub(crate) fn report(&mut self, number: u32) {
        let request = format!("Op: report\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(number));
        let reply = self.nodes[0].serve(CLIENT.parse().unwrap(), request.as_bytes(), now(self.now));
        assert!(reply.unwrap().starts_with(b"Code: 200"));
    }

    /// Performs all actions of the forwarders that are due.
    fn act(&mut self) {
        let mut datagram = Vec::new();
        for index in 0..self.nodes.len() {
            let mut actions = 0;
            while let Some(action) = self.nodes[index].forwarder.poll(now(self.now), &mut datagram) {
                let from = self.nodes[index].address;
                match action {
                    Action::Send(to) => self.send(&Packet { from, to, datagram: datagram.clone() }),
                    Action::LookUp(_) => panic!("a lookup, though all hosts are addresses"),
                    Action::Log(ServerEvent { event, .. }) => self.nodes[index].events.push(event),
                }
                actions += 1;
                assert!(actions < 10_000, "a busy loop");
            }
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let Packet { from, to, datagram } = packet;
        let Some(node) = self.nodes.iter_mut().find(|node| node.address == to && node.up) else { return };
        if Reply::parse(&datagram).is_ok() {
            node.forwarder.received(from, &datagram, self.now);
        } else if let Some(datagram) = node.serve(from, &datagram, now(self.now)) {
            self.send(&Packet { from: to, to: from, datagram });
        }
    }

    /// Runs the network for this time.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        loop {
            self.act();
            let deadlines = self.nodes.iter().filter_map(|node| node.forwarder.next_deadline());
            let packet = self.packets.keys().next().map(|(arrives, _)| *arrives);
            let Some(next) = deadlines.chain(packet).min().filter(|next| *next <= end) else { break };
            assert!(next >= self.now || next == Tick::default(), "an action that was due is not done");
            self.now = self.now.max(next);
            while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let packet = entry.remove();
                self.deliver(packet);
            }
        }
        self.now = end;
    }

    pub(crate) fn run_seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }
}

/// The key of bob.
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// Returns the remote for the server with this number, signed or anonymous.
pub(crate) fn remote(host: u8, signed: bool) -> Remote {
    let accounts = format!("192.0.2.{host} : 24441 : bob : ,{KEY}");
    let servers = format!("192.0.2.{host}:24441");
    let (remotes, warnings) = Remote::parse(Some(servers.as_bytes()), signed.then_some(accounts.as_bytes()));
    assert!(warnings.is_empty(), "{warnings:?}");
    remotes.into_iter().next().unwrap()
}

/// Returns a server that forwards to another one.
pub(crate) fn pair(signed: bool) -> Network {
    Network::new(vec![Node::new(1, vec![remote(2, signed)]), Node::new(2, Vec::new())])
}

/// Returns the totals of the first remote.
pub(crate) fn totals(node: &Node) -> Totals {
    node.forwarder.totals().next().unwrap().1
}
