//! Forwarding between servers in virtual time, over a network that loses, repeats and reorders.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use pyzord_core::client::{Action, Event, Forwarder, Message, Notice, Remote, Reply, Thread};
use pyzord_core::{
    AccessOrder, Batch, Counted, Digest, Guard, Limits, MemoryStore, Now, Operation, Policy, Server, Store,
    StoreError, Tick, UnixTime,
};

const START: i64 = 1_700_000_000;
const TIMEOUT: Duration = Duration::from_secs(5);
const CLIENT: &str = "198.51.100.9:4000";

fn digest(number: u32) -> Digest {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Digest::new(bytes)
}

fn now(tick: Tick) -> Now {
    let seconds = i64::try_from(tick.since(Tick::default()).as_secs()).unwrap();
    Now { wall: UnixTime::from_seconds(START + seconds), tick }
}

fn at(millis: u64) -> Tick {
    Tick::new(Duration::from_millis(millis))
}

/// A small generator of numbers, the same ones in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A server that may forward.
struct Node {
    address: SocketAddr,
    server: Server,
    store: MemoryStore,
    forwarder: Forwarder,
    /// Whether it receives and sends anything.
    up: bool,
    /// Whether its database is away.
    broken: bool,
    received: usize,
    events: Vec<Event>,
}

impl Node {
    fn new(host: u8, remotes: Vec<Remote>) -> Self {
        let access = b"ping report whitelist : anonymous bob : allow";
        let (policy, _) = Policy::parse(Some(b"bob : 1234"), Some(access), AccessOrder::FirstMatch);
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

    /// Serves one datagram, and forwards what it counted.
    fn serve(&mut self, peer: SocketAddr, datagram: &[u8], now: Now) -> Option<Vec<u8>> {
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

    /// How often each digest was reported.
    fn reports(&self) -> BTreeMap<Digest, u64> {
        self.store.records().map(|(digest, record)| (digest, record.reports.count)).collect()
    }

    fn total(&self) -> u64 {
        self.store.records().map(|(_, record)| record.reports.count + record.whitelists.count).sum()
    }
}

struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    datagram: Vec<u8>,
}

/// Servers and a network between them. Each server sends from the port that it serves.
struct World {
    nodes: Vec<Node>,
    now: Tick,
    packets: BTreeMap<(Tick, u64), Packet>,
    numbers: Numbers,
    /// In percent.
    loss: u64,
    repeats: u64,
    sent: u64,
}

impl World {
    fn new(nodes: Vec<Node>) -> Self {
        let numbers = Numbers(1);
        Self { nodes, now: Tick::default(), packets: BTreeMap::new(), numbers, loss: 0, repeats: 0, sent: 0 }
    }

    fn send(&mut self, packet: &Packet) {
        let copies = 1 + u64::from(self.numbers.below(100) < self.repeats);
        for _ in 0..copies {
            if self.numbers.below(100) >= self.loss {
                let arrives = self.now.after(Duration::from_millis(1 + self.numbers.below(50)));
                self.sent += 1;
                let Packet { from, to, ref datagram } = *packet;
                self.packets.insert((arrives, self.sent), Packet { from, to, datagram: datagram.clone() });
            }
        }
    }

    /// A client reports a digest to the first server, which always receives it.
    fn report(&mut self, number: u32) {
        let request = format!("Op: report\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(number));
        let reply = self.nodes[0].serve(CLIENT.parse().unwrap(), request.as_bytes(), now(self.now));
        assert!(reply.unwrap().starts_with(b"Code: 200"));
    }

    fn act(&mut self) {
        let mut datagram = Vec::new();
        for index in 0..self.nodes.len() {
            let mut actions = 0;
            while let Some(action) = self.nodes[index].forwarder.poll(now(self.now), &mut datagram) {
                let from = self.nodes[index].address;
                match action {
                    Action::Send(to) => self.send(&Packet { from, to, datagram: datagram.clone() }),
                    Action::LookUp(_) => panic!("all hosts are addresses"),
                    Action::Tell(Notice { event, .. }) => self.nodes[index].events.push(event),
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

    /// Lets so much time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        loop {
            self.act();
            let deadlines = self.nodes.iter().filter_map(|node| node.forwarder.next_deadline());
            let packet = self.packets.keys().next().map(|(arrives, _)| *arrives);
            let Some(next) = deadlines.chain(packet).min().filter(|next| *next <= end) else { break };
            assert!(next >= self.now || next == Tick::default(), "nothing that is due is left undone");
            self.now = self.now.max(next);
            while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let packet = entry.remove();
                self.deliver(packet);
            }
        }
        self.now = end;
    }

    fn run_seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }
}

/// A remote for the server with this number, signed or not.
fn remote(host: u8, signed: bool) -> Remote {
    let accounts = format!("192.0.2.{host} : 24441 : bob : ,1234");
    let servers = format!("192.0.2.{host}:24441");
    let (remotes, warnings) = Remote::parse(Some(servers.as_bytes()), signed.then_some(accounts.as_bytes()));
    assert!(warnings.is_empty(), "{warnings:?}");
    remotes.into_iter().next().unwrap()
}

fn pair(signed: bool) -> World {
    World::new(vec![Node::new(1, vec![remote(2, signed)]), Node::new(2, Vec::new())])
}

fn totals(node: &Node) -> pyzord_core::client::Totals {
    node.forwarder.totals().next().unwrap().1
}

#[test]
fn a_digest_counted_so_often_is_sent_so_often_in_few_requests() {
    for signed in [true, false] {
        let mut world = pair(signed);
        (0..25).for_each(|number| world.report(number % 5));
        world.run(Duration::from_millis(900));
        assert_eq!(world.nodes[1].received, 2, "two batches of ten, and the rest waits for others");
        world.run(Duration::from_millis(300));
        assert_eq!(world.nodes[1].received, 3);
        assert_eq!(world.nodes[1].reports(), (0..5).map(|number| (digest(number), 5)).collect());
        world.run_seconds(100);
        assert_eq!((totals(&world.nodes[0]).accepted, world.nodes[1].received), (25, 3));
        assert_eq!(world.nodes[0].forwarder.next_deadline(), None, "nothing is left to do");
    }
}

#[test]
fn whitelistings_go_as_such() {
    let mut world = pair(true);
    let request = format!("Op: whitelist\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(1));
    world.nodes[0].serve(CLIENT.parse().unwrap(), request.as_bytes(), now(Tick::default()));
    world.report(1);
    world.run_seconds(2);
    let (_, record) = world.nodes[1].store.records().next().unwrap();
    assert_eq!((record.whitelists.count, record.reports.count), (1, 1));
}

/// The other server remembers signatures, so what is sent again is never counted again.
#[test]
fn on_a_bad_network_nothing_signed_is_counted_twice_and_little_is_lost() {
    let mut world = pair(true);
    (world.loss, world.repeats) = (20, 20);
    for number in 0..5000 {
        world.report(number);
        if number % 7 == 0 {
            world.run(Duration::from_millis(100));
        }
    }
    world.run_seconds(300);
    let (counted, totals) = (world.nodes[1].reports(), totals(&world.nodes[0]));
    assert!(counted.values().all(|count| *count == 1));
    assert_eq!(totals.accepted + totals.unanswered, 5000, "{totals}");
    assert!(totals.unanswered < 500, "{totals}");
    assert!(world.nodes[1].total() >= totals.accepted);
}

/// Nobody can tell copies of an anonymous request apart, so it is sent once while the server answers others.
#[test]
fn on_a_bad_network_few_anonymous_digests_are_counted_twice() {
    let mut world = pair(false);
    world.loss = 20;
    for number in 0..5000 {
        world.report(number);
        if number % 7 == 0 {
            world.run(Duration::from_millis(100));
        }
    }
    world.run_seconds(300);
    let (total, totals) = (world.nodes[1].total(), totals(&world.nodes[0]));
    assert_eq!(totals.accepted + totals.unanswered, 5000, "{totals}");
    assert!((3500..5050).contains(&total), "{total} of 5000, {totals}");
}

#[test]
fn a_server_that_is_away_for_an_hour_costs_little_and_gets_what_waits() {
    for signed in [true, false] {
        let mut world = pair(signed);
        world.report(0);
        world.run_seconds(2);
        world.nodes[1].up = false;
        let before = world.sent;
        for number in 0..3600 * 20 {
            world.report(number);
            if number % 20 == 0 {
                world.run_seconds(1);
            }
            assert!(totals(&world.nodes[0]).waiting <= 10_000 + 320);
        }
        // A few requests before it was noticed, and a ping every six seconds.
        assert!(world.sent - before < 700, "{} datagrams", world.sent - before);
        world.nodes[1].up = true;
        let waited = totals(&world.nodes[0]).waiting;
        world.run_seconds(60);
        let totals = totals(&world.nodes[0]);
        assert_eq!(totals.accepted, 1 + waited, "{totals}");
        assert_eq!((totals.waiting, totals.accepted + totals.dropped), (0, 72_001));
        assert_eq!(world.nodes[1].total(), totals.accepted, "each was counted once");
        let newest: BTreeSet<Digest> = (62_000..72_000).map(digest).collect();
        assert!(newest.is_subset(&world.nodes[1].reports().into_keys().collect()), "the newest were kept");
        let events = &world.nodes[0].events;
        let told = |wanted: &Event| events.iter().filter(|event| *event == wanted).count();
        assert_eq!((told(&Event::Down), told(&Event::Back)), (1, 1));
        assert!(events.len() < 70, "{} lines in the log of an hour", events.len());
        let dropped =
            events.iter().map(|event| if let Event::Dropped { digests } = event { *digests } else { 0 });
        assert_eq!(dropped.sum::<u64>(), totals.dropped, "each that was dropped is told of, once");
    }
}

/// The server would refuse a signature that is older than five minutes.
#[test]
fn what_waited_for_minutes_is_signed_anew() {
    let mut world = pair(true);
    world.nodes[1].up = false;
    world.report(1);
    world.run_seconds(400);
    world.nodes[1].up = true;
    world.run_seconds(10);
    assert_eq!((world.nodes[1].total(), totals(&world.nodes[0]).accepted), (1, 1));
    let line = "1 digests accepted, 0 refused, 0 unanswered, 0 dropped, 0 not sent back, 0 waiting";
    assert_eq!(totals(&world.nodes[0]).to_string(), line);
}

#[test]
fn one_lost_datagram_is_not_worth_a_line_in_the_log() {
    for signed in [true, false] {
        let mut world = pair(signed);
        world.report(1);
        world.loss = 100;
        world.run_seconds(2);
        world.loss = 0;
        world.run_seconds(10);
        assert_eq!((world.nodes[1].total(), totals(&world.nodes[0]).accepted), (1, 1));
        assert_eq!(world.nodes[0].events, []);
    }
}

#[test]
fn what_is_refused_is_dropped_and_told_of_once_in_ten_minutes() {
    let mut world = pair(false);
    world.nodes[1].server.replace_policy(Policy::parse(None, Some(b""), AccessOrder::FirstMatch).0);
    for number in 0..1000 {
        world.report(number);
        world.run_seconds(1);
    }
    world.run_seconds(10);
    assert_eq!((totals(&world.nodes[0]).refused, world.nodes[1].total()), (1000, 0));
    let diag = "Forbidden: User is not authorized to request the operation.".to_owned();
    assert_eq!(world.nodes[0].events, vec![Event::Refused { code: 403, diag }; 2]);
}

#[test]
fn what_failed_is_sent_again_for_a_minute() {
    let mut world = pair(true);
    world.nodes[1].broken = true;
    (0..10).for_each(|number| world.report(number));
    world.run_seconds(40);
    world.nodes[1].broken = false;
    world.run_seconds(40);
    assert_eq!((world.nodes[1].total(), totals(&world.nodes[0]).accepted), (10, 10));
    assert_eq!(world.nodes[1].received, 7);
    world.nodes[1].broken = true;
    (0..10).for_each(|number| world.report(number));
    world.run_seconds(200);
    assert_eq!((totals(&world.nodes[0]).refused, totals(&world.nodes[0]).waiting), (10, 0));
    assert_eq!(world.nodes[1].received, 7 + 7, "then it is given up");
}

/// Python's servers that forward to each other never end.
#[test]
fn servers_that_forward_to_each_other_count_once_each() {
    let everybody = [1, 2, 3];
    let others =
        |host: u8| everybody.iter().filter(move |other| **other != host).map(|host| remote(*host, true));
    let mut world =
        World::new(everybody.iter().map(|host| Node::new(*host, others(*host).collect())).collect());
    (0..100).for_each(|number| world.report(number));
    world.run_seconds(100);
    for node in &world.nodes {
        assert_eq!((node.total(), node.forwarder.next_deadline()), (100, None));
    }
    assert!(world.nodes[1].received < 20);
}

/// A server that does not mark what it forwards, such as Python's, gets nothing back that came from its host.
#[test]
fn nothing_is_sent_back_to_the_host_that_it_came_from() {
    let mut world = World::new(vec![
        Node::new(1, vec![remote(2, true), remote(3, false)]),
        Node::new(2, Vec::new()),
        Node::new(3, Vec::new()),
    ]);
    let unmarked = format!("Op: report\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(1));
    world.nodes[0].serve("[::ffff:192.0.2.2]:9".parse().unwrap(), unmarked.as_bytes(), now(world.now));
    world.run_seconds(5);
    let received: Vec<u64> = world.nodes.iter().map(Node::total).collect();
    assert_eq!(received, [1, 0, 1]);
    assert_eq!(totals(&world.nodes[0]).withheld, 1);
}

#[test]
fn on_loopback_addresses_the_host_says_nothing() {
    let mut forwarder = Forwarder::new([Remote::new("127.0.0.1", 5)], TIMEOUT, [0; 16], at(0));
    forwarder.count(Counted::new(digest(1), false, "127.0.0.1".parse().ok()), at(0));
    assert_eq!(forwarder.totals().next().unwrap().1.waiting, 1);
}

#[test]
fn a_request_counted_twice_or_not_at_all_is_not_forwarded() {
    let mut node = Node::new(1, vec![remote(2, false)]);
    let bob = Remote::parse(Some(b"a:1"), Some(b"a:1:bob:,1234")).0.remove(0).credentials;
    let (mut datagram, thread) = (Vec::new(), Thread::from_random(1));
    let message = Message { operation: Operation::Report, digests: &[digest(1)], thread, forwarded: false };
    message.write(&bob, UnixTime::from_seconds(START), &mut datagram);
    let peer = CLIENT.parse().unwrap();
    node.broken = true;
    node.serve(peer, &datagram, now(at(0)));
    assert_eq!(totals(&node).waiting, 0, "the database failed");
    node.broken = false;
    for _ in 0..3 {
        node.serve(peer, &datagram, now(at(0)));
    }
    assert_eq!(totals(&node).waiting, 1, "two copies of it were not counted");
    let check = format!("Op: check\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(1));
    node.serve(peer, check.as_bytes(), now(at(0)));
    assert_eq!(totals(&node).waiting, 1);
}

#[test]
fn a_stop_sends_what_waits_at_once_and_waits_for_nobody_who_is_away() {
    let mut world = pair(true);
    world.report(1);
    world.nodes[0].forwarder.stop();
    assert!(!world.nodes[0].forwarder.is_idle());
    world.run(Duration::from_millis(200));
    assert!(world.nodes[0].forwarder.is_idle());
    assert_eq!(world.nodes[1].total(), 1);
    world.nodes[1].up = false;
    world.report(2);
    world.run_seconds(10);
    assert!(world.nodes[0].forwarder.is_idle());
    assert_eq!(totals(&world.nodes[0]).waiting, 1);
}

#[test]
fn a_name_is_looked_up_and_its_addresses_are_tried_in_turn() {
    let addresses: Vec<SocketAddr> = ["[2001:db8::1]:5", "192.0.2.1:5"].map(|a| a.parse().unwrap()).into();
    let mut forwarder = Forwarder::new([Remote::new("a.example", 5)], TIMEOUT, [0; 16], at(0));
    let (mut datagram, mut tick) = (Vec::new(), at(0));
    forwarder.count(Counted::new(digest(1), false, "192.0.2.7".parse().ok()), tick);
    assert_eq!(forwarder.poll(now(tick), &mut datagram), Some(Action::LookUp(0)));
    assert_eq!(forwarder.poll(now(tick), &mut datagram), None);
    forwarder.found(0, &[], tick);
    let Some(Action::Tell(notice)) = forwarder.poll(now(tick), &mut datagram) else { panic!() };
    assert_eq!(notice.event, Event::Nowhere);
    let mut tried = Vec::new();
    while tried.len() < 3 {
        tick = tick.max(forwarder.next_deadline().unwrap());
        match forwarder.poll(now(tick), &mut datagram) {
            Some(Action::LookUp(0)) => forwarder.found(0, &addresses, tick),
            Some(Action::Send(to)) => {
                assert!(datagram.starts_with(b"Op: ping\n"));
                tried.push(to);
            }
            other => assert_eq!(other, None),
        }
    }
    assert_eq!(tried, [addresses[0], addresses[1], addresses[0]]);
    assert!(tick < at(40_000), "{tick:?}");
}

#[test]
fn only_the_server_itself_can_answer() {
    let mut forwarder = Forwarder::new([remote(2, true)], TIMEOUT, [0; 16], at(0));
    let mut datagram = Vec::new();
    forwarder.count(Counted::new(digest(1), false, "192.0.2.7".parse().ok()), at(0));
    assert_eq!(
        forwarder.poll(now(at(1000)), &mut datagram),
        Some(Action::Send("192.0.2.2:24441".parse().unwrap()))
    );
    let request = pyzord_core::Request::parse(&datagram).unwrap();
    assert!(request.forwarded);
    let thread = String::from_utf8(request.thread.unwrap().to_vec()).unwrap();
    let reply = |thread: &str| format!("Code: 200\nDiag: OK\nPV: 2.1\nThread: {thread}\n\n");
    let accepted = |forwarder: &Forwarder| forwarder.totals().next().unwrap().1.accepted;
    let wrong = if thread == "2000" { "2001" } else { "2000" };
    forwarder.received("192.0.2.3:24441".parse().unwrap(), reply(&thread).as_bytes(), at(1001));
    forwarder.received("192.0.2.2:24442".parse().unwrap(), reply(&thread).as_bytes(), at(1001));
    forwarder.received("192.0.2.2:24441".parse().unwrap(), reply(wrong).as_bytes(), at(1001));
    assert_eq!(accepted(&forwarder), 0);
    forwarder.received("[::ffff:192.0.2.2]:24441".parse().unwrap(), reply(&thread).as_bytes(), at(1001));
    assert_eq!(accepted(&forwarder), 1);
}

/// What a forwarder sends at a moment.
fn sends(forwarder: &mut Forwarder, tick: Tick) -> Vec<Vec<u8>> {
    let (mut datagram, mut sent) = (Vec::new(), Vec::new());
    while let Some(action) = forwarder.poll(now(tick), &mut datagram) {
        assert!(matches!(action, Action::Send(_)), "{action:?}");
        sent.push(datagram.clone());
    }
    sent
}

/// Ten digests, so that they go at once.
fn count_ten(forwarder: &mut Forwarder, tick: Tick) {
    (0..10).for_each(|number| {
        forwarder.count(Counted::new(digest(number), false, Some([192, 0, 2, 7].into())), tick)
    });
}

fn answer(forwarder: &mut Forwarder, datagram: &[u8], tick: Tick) {
    let thread = pyzord_core::Request::parse(datagram).unwrap().thread.unwrap();
    let reply = [b"Code: 200\nDiag: OK\nPV: 2.1\nThread: ", thread, b"\n\n"].concat();
    forwarder.received("192.0.2.2:24441".parse().unwrap(), &reply, tick);
}

/// With other bytes the server would take it for another report, and count it again.
#[test]
fn a_request_whose_replies_are_lost_is_sent_three_times_with_the_same_bytes() {
    let timeout = Duration::from_secs(75);
    let mut forwarder = Forwarder::new([remote(2, true)], timeout, [0; 16], at(0));
    let mut tick = at(1000);
    count_ten(&mut forwarder, tick);
    let first = sends(&mut forwarder, tick).remove(0);
    for again in [true, true, false] {
        // The server answers others.
        let soon = tick.after(Duration::from_secs(1));
        count_ten(&mut forwarder, soon);
        let other = sends(&mut forwarder, soon).remove(0);
        answer(&mut forwarder, &other, soon);
        tick = tick.after(timeout);
        assert_eq!(sends(&mut forwarder, tick), vec![first.clone(); usize::from(again)]);
    }
    let (_, totals) = forwarder.totals().next().unwrap();
    assert_eq!((totals.accepted, totals.unanswered, totals.waiting), (30, 10, 0));
}

/// What a server answered before it was asked says nothing of whether it is still there.
#[test]
fn a_reply_at_the_moment_of_a_request_is_no_sign_of_life() {
    let mut forwarder = Forwarder::new([remote(2, false)], TIMEOUT, [0; 16], at(0));
    count_ten(&mut forwarder, at(0));
    let first = sends(&mut forwarder, at(0)).remove(0);
    answer(&mut forwarder, &first, at(10));
    count_ten(&mut forwarder, at(10));
    assert_eq!(sends(&mut forwarder, at(10)).len(), 1);
    assert_eq!(sends(&mut forwarder, at(5010)), [b""; 0], "it is away");
    let ping = sends(&mut forwarder, at(5110));
    assert!(ping[0].starts_with(b"Op: ping\n"));
    answer(&mut forwarder, &ping[0], at(5120));
    assert_eq!(sends(&mut forwarder, at(5120)).len(), 1, "nothing was given up");
}

/// It would be told when something else happens, which may be in ten minutes.
#[test]
fn what_was_dropped_is_told_of_in_its_time() {
    let mut forwarder = Forwarder::new([Remote::new("a.example", 5)], TIMEOUT, [0; 16], at(0));
    let mut datagram = Vec::new();
    assert_eq!(forwarder.poll(now(at(0)), &mut datagram), Some(Action::LookUp(0)));
    (0..1001).for_each(|_| count_ten(&mut forwarder, at(0)));
    let mut dropped = |tick| match forwarder.poll(now(tick), &mut datagram) {
        Some(Action::Tell(Notice { event: Event::Dropped { digests }, .. })) => Ok(digests),
        other => Err((other, forwarder.next_deadline())),
    };
    assert_eq!(dropped(at(0)), Ok(10));
    assert_eq!(dropped(at(0)), Err((None, Some(at(600_000)))));
    count_ten(&mut forwarder, at(1));
    assert_eq!(forwarder.next_deadline(), Some(at(60_000)));
}

/// Something that happens to a forwarder.
#[derive(Clone, Debug)]
enum Input {
    Count(u32, bool),
    Reply { code: u16, from: u8 },
    Garbage(Vec<u8>),
    Found(u8),
    Pass(u64),
    Stop,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        8 => (any::<u32>(), any::<bool>()).prop_map(|(number, listed)| Input::Count(number, listed)),
        6 => (prop::sample::select(&[200, 200, 403, 500, 505][..]), 0..4_u8)
            .prop_map(|(code, from)| Input::Reply { code, from }),
        1 => any::<Vec<u8>>().prop_map(Input::Garbage),
        1 => (0..4_u8).prop_map(Input::Found),
        4 => (0..20_000_u64).prop_map(Input::Pass),
        1 => Just(Input::Stop),
    ]
}

proptest! {
    /// Whatever comes in, each digest is in exactly one of the totals, and nothing that is due is left undone.
    #[test]
    fn every_digest_is_accounted_for(inputs in prop::collection::vec(input(), 1..300), signed: bool) {
        let remotes = [remote(2, signed), Remote::new("a.example", 24441)];
        let mut forwarder = Forwarder::new(remotes, TIMEOUT, [0; 16], at(0));
        let (mut tick, mut datagram, mut offered) = (at(0), Vec::new(), 0_u64);
        let mut outstanding: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        for input in inputs {
            match input {
                Input::Count(number, whitelisted) => {
                    let peer: IpAddr = CLIENT.parse::<SocketAddr>().unwrap().ip();
                    forwarder.count(Counted::new(digest(number), whitelisted, Some(peer)), tick);
                    offered += 1;
                }
                Input::Reply { code, from } => {
                    if let Some((to, thread)) = outstanding.get(usize::from(from)).cloned() {
                        let thread = String::from_utf8(thread).unwrap();
                        let reply = format!("Code: {code}\nDiag: x\nPV: 2.1\nThread: {thread}\n\n");
                        forwarder.received(to, reply.as_bytes(), tick);
                        outstanding.remove(usize::from(from));
                    }
                }
                Input::Garbage(bytes) => {
                    forwarder.received("192.0.2.2:24441".parse().unwrap(), &bytes, tick);
                }
                Input::Found(count) => {
                    let found: Vec<SocketAddr> =
                        (0..count).map(|host| SocketAddr::from(([203, 0, 113, host], 24441))).collect();
                    forwarder.found(1, &found, tick);
                }
                Input::Pass(millis) => tick = tick.after(Duration::from_millis(millis)),
                Input::Stop => forwarder.stop(),
            }
            let mut actions = 0;
            while let Some(action) = forwarder.poll(now(tick), &mut datagram) {
                if let Action::Send(to) = action {
                    let request = pyzord_core::Request::parse(&datagram).unwrap();
                    outstanding.push((to, request.thread.unwrap().to_vec()));
                }
                actions += 1;
                prop_assert!(actions < 1000, "a busy loop");
            }
            prop_assert!(forwarder.next_deadline().is_none_or(|deadline| deadline > tick));
            for (_, totals) in forwarder.totals() {
                let known = totals.accepted + totals.refused + totals.unanswered + totals.dropped
                    + totals.withheld + totals.waiting;
                prop_assert_eq!(known, offered);
            }
        }
    }
}
