use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::client::{Action, Cause, Condition, Forwarder, Remote, Totals, Unreachable};
use pyzord_core::{
    AccessOrder, Counted, Digest, HeaderBlock, Now, Operation, Policy, Request, Server, StoreOp, Tick, UnixTime,
};

use crate::one_request::{OneRequest, forgetful_server};

const START: i64 = 1_700_000_000;
/// More digests than a queue holds.
const FLOOD: u32 = 10_050;
/// The most digests in both queues and in 32 requests in flight.
const MOST_WAITING: u64 = 2 * 10_000 + 320;
/// The time in which a signed request is sent again unchanged.
const SIGNED_FOR: Duration = Duration::from_secs(150);

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    signed: bool,
    /// The timeout in seconds.
    timeout: u8,
    /// In one of 64 runs, more digests are counted at first than a queue holds, which takes long.
    flood: u8,
    events: Vec<Happens<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Happens<'a> {
    /// Counts new digests from some host.
    Counts { digests: u8, whitelisted: bool, host: u8 },
    /// The server of a sent request answers it, perhaps again or late, and says what it does with copies.
    Reply { sent: u8, code: Code, copies_once: bool, uncounted: bool },
    /// A similar reply arrives from another address, or with another `Thread`.
    Forged { sent: u8, how: Forgery },
    /// The network says that a sent request, or another address, cannot be reached.
    Unreachable { sent: u8, other: bool, why: u8 },
    /// Arbitrary bytes arrive from a server.
    Bytes(&'a [u8]),
    /// A lookup ends with this many addresses.
    Found(u8),
    /// Milliseconds pass.
    Pass(u16),
    /// All actions that become due in the next moments happen in time.
    Deadlines(u8),
    Stop,
}

#[derive(Clone, Copy, Arbitrary, Debug)]
enum Code {
    Ok,
    Failed,
    Other(u16),
}

#[derive(Clone, Copy, Arbitrary, Debug)]
enum Forgery {
    Host,
    Port,
    Thread,
}

/// For any input, each digest is in one request per server, is in one of the totals, and is not sent again after
/// that. What may have been counted is sent again only with a signature and the same bytes, to a server that says that
/// it counts copies once. No queue grows without bound, no digest is tried without end, and datagrams from other addresses have no
/// effect.
pub fn forwarder(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut driver = Driver::new(&input);
    if input.flood % 64 == 1 {
        driver.counts(FLOOD, false, 7);
    }
    driver.act();
    for event in &input.events {
        driver.happens(event);
        driver.act();
    }
    driver.finish();
}

/// Sends and waits as a runtime does, and counts independently.
struct Driver {
    forwarder: Forwarder,
    server: Server,
    timeout: Duration,
    tick: Tick,
    offered: u32,
    /// The sent datagrams, oldest first.
    sent: Vec<Sent>,
    books: [Book; 2],
    /// The lines of the log.
    lines: u64,
}

/// A datagram in flight.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Sent {
    server: usize,
    to: SocketAddr,
    thread: Vec<u8>,
}

/// The state of the digests for one server.
#[derive(Debug, Default)]
struct Book {
    /// The requests, by their first digests.
    requests: BTreeMap<Digest, Known>,
    digests: BTreeSet<Digest>,
    pinged: Option<Tick>,
    /// Whether requests to it are signed.
    signed: bool,
    /// Whether a reply of it says that it counts copies once.
    copies_once: bool,
}

/// A sent request.
#[derive(Debug)]
struct Known {
    digests: Vec<Digest>,
    last: Sent,
    datagram: Vec<u8>,
    signed: Tick,
    sent: Tick,
    tries: u32,
    /// The earliest time to send it again.
    not_before: Tick,
    /// Whether a try may have been counted.
    doubtful: bool,
    /// Whether it must not be sent again.
    over: bool,
}

impl Driver {
    fn new(input: &Input<'_>) -> Self {
        let accounts = b"192.0.2.1 : 24441 : bob : ,abcdef\na.example : 24441 : bob : ,abcdef".as_slice();
        let servers = b"192.0.2.1:24441\na.example:24441".as_slice();
        let (remotes, _) = Remote::parse(Some(servers), input.signed.then_some(accounts));
        let timeout = Duration::from_secs(u64::from(input.timeout % 60) + 1);
        let access = b"report whitelist ping : bob anonymous : allow";
        let (policy, _) = Policy::parse(Some(b"bob : abcdef"), Some(access), AccessOrder::FirstMatch);
        Self {
            forwarder: Forwarder::new(remotes, timeout, [0; 16], Tick::default()),
            server: forgetful_server(policy),
            timeout,
            tick: Tick::default(),
            offered: 0,
            sent: Vec::new(),
            books: [(); 2].map(|()| Book { signed: input.signed, ..Book::default() }),
            lines: 0,
        }
    }

    fn happens(&mut self, event: &Happens<'_>) {
        match *event {
            Happens::Counts { digests, whitelisted, host } => {
                self.counts(digests.into(), whitelisted, host);
            }
            Happens::Reply { sent, code, copies_once, uncounted } => {
                if let Some(sent) = self.recall(sent) {
                    self.reply(&sent, code.number(), copies_once, uncounted);
                }
            }
            Happens::Forged { sent, how } => {
                if let Some(sent) = self.recall(sent) {
                    self.forge(sent, how);
                }
            }
            Happens::Unreachable { sent, other, why } => self.unreachable(sent, other, why),
            Happens::Bytes(bytes) => self.forwarder.received(address(1), bytes, self.tick),
            Happens::Found(count) => {
                let found: Vec<SocketAddr> = (0..count % 12).map(|host| address(host + 100)).collect();
                self.forwarder.found(1, &found, self.tick);
            }
            Happens::Pass(millis) => self.tick = self.tick.after(Duration::from_millis(millis.into())),
            Happens::Deadlines(count) => {
                for _ in 0..count {
                    let Some(next) = self.forwarder.next_deadline() else { break };
                    self.tick = self.tick.max(next);
                    self.act();
                }
            }
            Happens::Stop => self.forwarder.stop(),
        }
    }

    /// What the network says may be forged: no request is lost or repeated by it.
    fn unreachable(&mut self, sent: u8, other: bool, why: u8) {
        let Some(Sent { mut to, .. }) = self.recall(sent) else { return };
        if other {
            to.set_port(1);
        }
        let why = match why % 3 {
            0 => Unreachable::Closed,
            1 => Unreachable::NoRoute,
            _ => Unreachable::Forbidden,
        };
        let before = (self.totals(), self.conditions());
        self.forwarder.unreachable(to, why, self.tick);
        assert_eq!(self.totals(), before.0);
        assert!(!other || self.conditions() == before.1, "a message about another address");
    }

    fn conditions(&self) -> Vec<Condition> {
        self.forwarder.standings().map(|standing| standing.condition.clone()).collect()
    }

    /// Checks what is shown of each server.
    fn check_conditions(&self) {
        for standing in self.forwarder.standings() {
            let delivered = standing.totals.accepted > 0;
            assert_eq!(standing.delivered.is_some(), delivered);
            match standing.condition {
                Condition::Idle => assert!(!delivered, "{:?}", standing.totals),
                Condition::Delivering { since } => assert!(*since <= self.tick),
                Condition::Failing { since, cause } => {
                    assert!(*since <= self.tick, "{cause}");
                    assert!(*cause != Cause::Slow || standing.totals.dropped > 0);
                }
            }
        }
    }

    fn counts(&mut self, digests: u32, whitelisted: bool, host: u8) {
        for _ in 0..digests {
            self.offered += 1;
            let host = IpAddr::from([192, 0, 2, host]);
            self.forwarder.count(Counted::new(digest(self.offered), whitelisted, Some(host)), self.tick);
        }
    }

    /// Returns one of the last sent datagrams.
    fn recall(&self, back: u8) -> Option<Sent> {
        self.sent.iter().rev().nth(back.into()).cloned()
    }

    fn act(&mut self) {
        let mut datagram = Vec::new();
        let mut actions = 0;
        while let Some(action) = self.forwarder.poll(self.now(), &mut datagram) {
            match action {
                Action::Send(to) => self.sends(to, &datagram),
                Action::LookUp(server) => assert_eq!(server, 1),
                Action::Log(notice) => {
                    self.lines += 1;
                    let told = notice.to_string();
                    assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{told:?}");
                    assert!(told.len() < 500, "{told}");
                }
            }
            actions += 1;
            assert!(actions < 100, "a busy loop");
        }
        assert!(self.forwarder.next_deadline().is_none_or(|deadline| deadline > self.tick));
        for totals in self.totals() {
            assert!(totals.waiting <= MOST_WAITING, "{totals}");
            assert_eq!(all(&totals), u64::from(self.offered), "{totals}");
        }
        self.check_conditions();
        // For each of two servers: a failure and its end, at first and once a minute, and what was dropped.
        let minutes = self.tick.since(Tick::default()).as_secs() / 60;
        assert!(self.lines <= 2 * 3 * (1 + minutes), "{} lines in {minutes} minutes", self.lines);
    }

    fn sends(&mut self, to: SocketAddr, datagram: &[u8]) {
        let server = usize::from(to != address(1));
        let request = Request::parse(datagram).expect("a request");
        let digests: Vec<Digest> = request.digests().filter_map(Digest::parse).collect();
        let thread = request.thread.map(<[u8]>::to_vec).expect("a request has a Thread");
        let sent = Sent { server, to, thread };
        self.sent.push(sent.clone());
        let whole = HeaderBlock::new(datagram).iter().any(|header| header.is("Sig"));
        assert!(whole && datagram.len() < 1024, "{}", datagram.escape_ascii());
        let accepted = match OneRequest::accept(&self.server, datagram, self.now().wall) {
            Ok(accepted) => accepted,
            Err(ignored) => panic!("{ignored:?}: {}", datagram.escape_ascii()),
        };
        let asked = accepted.calls().to_vec();
        if asked.is_empty() {
            assert_eq!((accepted.refusal(), Operation::parse(request.op)), (None, Some(Operation::Ping)));
        }
        let op = if request.op == b"whitelist" { StoreOp::Whitelist } else { StoreOp::Report };
        assert!(asked.iter().all(|call| call.op == op) && asked.iter().map(|call| call.digest).eq(digests.clone()));
        let book = self.books.get_mut(server).expect("there are two servers");
        if digests.is_empty() {
            return book.pings(self.tick, self.timeout);
        }
        assert!(request.forwarded.is_some() && digests.len() <= 10);
        book.sends(digests, sent, datagram, self.tick);
    }

    fn reply(&mut self, sent: &Sent, code: u16, copies_once: bool, uncounted: bool) {
        let before = self.totals();
        let said = [(copies_once, "Copies: once\n"), (uncounted, "Counted: none\n")];
        let said: String = said.into_iter().filter_map(|(said, line)| said.then_some(line)).collect();
        self.receive(sent.to, &sent.thread, code, &said);
        let after = self.totals();
        let delta = |what: fn(&Totals) -> u64| -> Vec<u64> {
            after.iter().zip(&before).map(|(after, before)| what(after) - what(before)).collect()
        };
        let (accepted, refused) = (delta(|totals| totals.accepted), delta(|totals| totals.refused));
        let counted: u64 = accepted.iter().chain(&refused).sum();
        let book = self.books.get_mut(sent.server).expect("there are two servers");
        book.pinged = None;
        // There are few `Thread`s, so they repeat: a reply answers the last request with its `Thread`.
        let signed = book.signed;
        let answered = book.requests.values_mut().filter(|known| known.last == *sent);
        let known = answered.max_by_key(|known| known.sent);
        // A reply to nothing that is pending has no effect; the book does not know which ping is pending.
        book.copies_once |= copies_once;
        let Some(known) = known else { return assert_eq!(counted, 0) };
        let own = [&accepted, &refused].map(|delta| delta.get(sent.server).copied().unwrap_or_default());
        assert_eq!(own.iter().sum::<u64>(), counted, "a reply of one server answers no request to another");
        let doubtful = known.doubtful && !uncounted;
        if counted > 0 {
            assert!(!known.over, "it was dropped or answered before");
            let digests = known.digests.len() as u64;
            assert_eq!(own, if code == 200 { [digests, 0] } else { [0, digests] });
            let given_up = doubtful && !(signed && copies_once && self.tick.since(known.signed) <= SIGNED_FOR);
            assert!(code != 500 || known.tries == 7 || given_up, "{known:?}");
            known.over = true;
        } else if code == 500 && !known.over && self.tick < known.sent.after(self.timeout) {
            assert!(!doubtful || signed && copies_once, "{known:?}");
            known.doubtful = doubtful;
            let pause = Duration::from_secs(1 << (known.tries - 1));
            known.not_before = self.tick.after(pause);
        } else if code != 500 {
            assert!(known.over || known.sent.after(self.timeout) <= self.tick, "{code} to {known:?}");
            known.over = true;
        }
    }

    fn forge(&mut self, sent: Sent, how: Forgery) {
        let (mut from, mut thread) = (sent.to, sent.thread);
        match how {
            Forgery::Host => from.set_ip([203, 0, 113, 9].into()),
            Forgery::Port => from.set_port(1),
            Forgery::Thread => thread = b"1023".to_vec(),
        }
        let before = self.totals();
        self.receive(from, &thread, 200, "Copies: once\n");
        assert_eq!(self.totals(), before);
    }

    fn receive(&mut self, from: SocketAddr, thread: &[u8], code: u16, said: &str) {
        let mut reply = format!("Code: {code}\nDiag: x\nPV: 2.1\n{said}Thread: ").into_bytes();
        reply.extend([thread, b"\n\n"].concat());
        self.forwarder.received(from, &reply, self.tick);
    }

    /// Both servers answer all requests from now on: soon no digest waits.
    fn finish(&mut self) {
        self.forwarder.found(1, &[address(100)], self.tick);
        self.forwarder.stop();
        let end = self.tick.after(Duration::from_secs(600));
        while self.totals().iter().any(|totals| totals.waiting > 0) {
            self.sent.clear();
            self.act();
            for sent in self.sent.clone() {
                self.reply(&sent, 200, false, false);
            }
            // Some may have been given up just now.
            if self.sent.is_empty() && self.totals().iter().any(|totals| totals.waiting > 0) {
                let next = self.forwarder.next_deadline().expect("a waiting digest has a deadline");
                self.tick = self.tick.max(next);
                assert!(self.tick <= end, "a waiting digest is not sent: {:?}", self.totals());
            }
        }
        assert!(self.forwarder.is_idle());
        for (totals, book) in self.totals().iter().zip(&self.books) {
            assert_eq!(all(totals), u64::from(self.offered), "{totals}");
            let sent = book.digests.len() as u64;
            assert_eq!(sent + totals.dropped + totals.withheld, u64::from(self.offered), "{totals}");
        }
    }

    fn totals(&self) -> Vec<Totals> {
        self.forwarder.totals().map(|(_, totals)| totals).collect()
    }

    fn now(&self) -> Now {
        let seconds = self.tick.since(Tick::default()).as_secs();
        Now { wall: UnixTime::from_seconds(START.saturating_add_unsigned(seconds)), tick: self.tick }
    }
}

impl Book {
    /// Checks digests that are sent, for the first time or again.
    fn sends(&mut self, digests: Vec<Digest>, sent: Sent, datagram: &[u8], now: Tick) {
        let first = digests.first().copied().unwrap_or(digest(0));
        let Some(known) = self.requests.get_mut(&first) else {
            assert!(digests.iter().all(|digest| self.digests.insert(*digest)), "a digest is sent twice");
            let datagram = datagram.to_vec();
            let (signed, tries, doubtful, over) = (now, 1, true, false);
            let known =
                Known { digests, last: sent, datagram, signed, sent: now, tries, not_before: now, doubtful, over };
            self.requests.insert(first, known);
            return;
        };
        assert_eq!(known.digests, digests);
        assert!(!known.over && known.tries < 7 && known.not_before <= now, "{known:?} at {now:?}");
        if known.datagram == datagram {
            assert!(now.since(known.signed) <= SIGNED_FOR);
        } else {
            assert!(now.since(known.signed) > SIGNED_FOR && !known.doubtful, "other bytes count again: {known:?}");
            (known.datagram, known.signed) = (datagram.to_vec(), now);
        }
        assert!(!known.doubtful || self.signed && self.copies_once, "it may count twice: {known:?}");
        (known.last, known.sent, known.tries, known.doubtful) = (sent, now, known.tries + 1, true);
    }

    /// Checks that a silent server is pinged only after the timeout.
    fn pings(&mut self, now: Tick, timeout: Duration) {
        let last = self.pinged.replace(now);
        assert!(last.is_none_or(|last| now.since(last) > timeout), "{last:?} and {now:?}");
    }
}

impl Code {
    fn number(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::Failed => 500,
            Self::Other(code) => code,
        }
    }
}

fn all(totals: &Totals) -> u64 {
    let Totals { accepted, refused, unanswered, dropped, withheld, waiting, .. } = totals;
    accepted + refused + unanswered + dropped + withheld + waiting
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 24441))
}

fn digest(number: u32) -> Digest {
    let mut bytes = [0; 20];
    bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(place, byte)| *place = byte);
    Digest::new(bytes)
}
