//! The same transcript gives the same replies on every runtime and from the core alone.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pyzord_core::{
    AccessOrder, Batch, Guard, HashedKey, HeaderBlock, Limits, MemoryStore, Policy, Server, Store,
};
use pyzord_runtime::{Clock, Command, Counters, Service, Sockets, Stores, shared_guard};

use crate::{Drive, for_every_runtime};

const REQUESTS: usize = 10_000;

/// A small generator of numbers, the same ones in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.get(self.below(choices.len())).copied().unwrap_or_default()
    }
}

fn policy() -> Policy {
    let access = b"check report ping info : anonymous : allow\nall odd : bob : allow\nreport : eve : allow";
    Policy::parse(Some(b"bob : 1234\neve : 5678"), Some(access), AccessOrder::FirstMatch).0
}

/// More wrong signatures come from one address than any client sends.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.failures = None;
    limits
}

/// Requests of every kind: signed and not, allowed and not, whole and broken.
fn transcript(now: i64) -> Vec<Vec<u8>> {
    let mut numbers = Numbers(7);
    (0..REQUESTS).map(|thread| request(&mut numbers, thread, now)).collect()
}

fn request(numbers: &mut Numbers, thread: usize, now: i64) -> Vec<u8> {
    let op = numbers.one_of(&["check", "report", "ping", "pong", "info", "whitelist", "odd", "none"]);
    let digests: String = (0..numbers.below(4))
        .map(|_| format!("Op-Digest: {:040x}{}\n", numbers.below(50), numbers.one_of(&["", "", "", "", "x"])))
        .collect();
    let user = numbers.one_of(&["anonymous", "bob", "eve", "mallory", ""]);
    let version = numbers.one_of(&["2.1", "2.1", "2.1", "2", "3", "x"]);
    let mut text = format!("Op: {op}\n{digests}Thread: {thread}\nPV: {version}\nUser: {user}\nTime: {now}\n");
    let key = HashedKey::new(user.as_bytes(), numbers.one_of(&["1234", "5678"]).as_bytes());
    let signature = key.sign(HeaderBlock::new(text.as_bytes()), now);
    text += &format!("Sig: {}\n\n", String::from_utf8_lossy(&signature));
    let mut bytes = text.into_bytes();
    if numbers.below(10) == 0 {
        // Behind the first line, so that it stays a request and is answered.
        let at = 10 + numbers.below(bytes.len() - 10);
        *bytes.get_mut(at).unwrap() = b"\n :x"[..].get(numbers.below(4)).copied().unwrap();
    }
    bytes
}

/// Replies without their dates: those depend on when they were made.
fn undated(reply: &[u8]) -> String {
    let line = |line: &str| match line.split_once("ed: ") {
        Some((name, date)) => format!("{name}ed: {}\n", if date == "0" { "never" } else { "a date" }),
        None => format!("{line}\n"),
    };
    String::from_utf8_lossy(reply).lines().map(line).collect()
}

fn core_alone(transcript: &[Vec<u8>]) -> Vec<String> {
    let server: Server = Server::new(policy(), Guard::new(limits(), [7; 16]));
    let (mut store, clock) = (MemoryStore::new(), Clock::start());
    let mut answer = |datagram: &Vec<u8>| {
        let (now, mut batch) = (clock.now(), Batch::new());
        if batch.accept(&server, (), datagram, now).is_err() {
            return String::new();
        }
        let asked = batch.ask();
        let mut answers = Vec::new();
        store.execute(now, asked.calls(), &mut answers);
        let answered = asked.resolve(&server, &answers);
        assert_eq!((answered.replies().count(), answered.internal_errors()), (1, 0));
        answered.replies().map(|(_, reply)| undated(reply)).collect()
    };
    transcript.iter().map(&mut answer).collect()
}

fn over_the_wire<D: Drive>(transcript: &[Vec<u8>], expected: &[String]) -> Vec<String> {
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let counters = Counters::default();
    let (commands, receiver) = mpsc::channel();
    thread::scope(|scope| {
        // Dropped when the test fails, which stops the server, too.
        let commands = commands;
        scope.spawn(|| {
            let service = Service {
                sockets: &sockets,
                server: Server::new(policy(), shared_guard(limits()).unwrap()),
                counters: &counters,
                stores: Stores::Local { workers: vec![MemoryStore::new()], large: MemoryStore::new() },
                upkeep: MemoryStore::new(),
                cleanup: None,
                reload: &mut || None,
                on_answered: &|_| (),
                supervisor: None,
            };
            D::serve(service, receiver);
        });
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(sockets.address().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ask = |(datagram, expected): (&Vec<u8>, &String)| {
            client.send(datagram).unwrap();
            if expected.is_empty() {
                return String::new();
            }
            let mut buffer = [0; 10_000];
            let length = client.recv(&mut buffer).unwrap();
            undated(buffer.get(..length).unwrap())
        };
        let replies = transcript.iter().zip(expected).map(ask).collect();
        commands.send(Command::Stop).unwrap();
        replies
    })
}

fn ten_thousand_requests_are_answered_as_the_core_alone_answers_them<D: Drive>() {
    let transcript = transcript(Clock::start().now().wall.seconds());
    let expected = core_alone(&transcript);
    assert!(expected.iter().filter(|reply| reply.starts_with("Code: 200")).count() > REQUESTS / 10);
    let replies = over_the_wire::<D>(&transcript, &expected);
    for ((reply, expected), request) in replies.iter().zip(&expected).zip(&transcript) {
        assert_eq!(reply, expected, "{}", request.escape_ascii());
    }
}

for_every_runtime! {
    ten_thousand_requests_are_answered_as_the_core_alone_answers_them,
}
