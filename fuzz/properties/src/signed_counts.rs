use std::mem;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{
    AccessOrder, Answered, Asked, Batch, Digest, Guard, HashedKey, HeaderBlock, Ignored, IpNet, Limits, MemoryStore,
    Now, Peer, Policy, Rate, Record, Server, Store, StoreAnswer, StoreCall, StoreError, Tick, UnixTime,
};

use crate::peer::Datagram;

const START: i64 = 1_700_000_000;
/// How many different signed counts are sent.
const COUNTS: usize = 8;
/// Each event is one more signed count at most.
const MOST_EVENTS: usize = 200;
/// What the guard is set to remember is remembered, to the last one.
const REMEMBERED: usize = COUNTS + MOST_EVENTS;
/// The validity of a signature before and after its `Time`.
const VALID: Duration = Duration::from_secs(300);

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// In one of eight runs the guard remembers nothing.
    memory: u8,
    /// In one of eight runs each there is a limit of so many per second.
    requests: (u8, u8),
    failures: (u8, u8),
    denied: bool,
    unlimited: bool,
    prefix: u8,
    events: Vec<Event<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Event<'a> {
    /// A signed count comes in, for the first time or again.
    Count { handle: u8, number: u8, copy: Copied, sender: Sender },
    /// Another datagram comes in.
    Other { handle: u8, sender: Sender, datagram: Datagram<'a> },
    /// A batch ends.
    Ask(u8),
    /// The requests of a batch that wait for the store are handed over.
    Split(u8),
    /// The same, in a trip that has not begun.
    Join { trip: u8, handle: u8 },
    /// The store answers a trip; one bit for each call that fails, over and over.
    Resolve { trip: u8, faults: u8 },
    /// A trip never begins.
    Fail(u8),
    /// A trip is lost, as in a panic.
    Lose(u8),
    /// Tenths of seconds go by.
    Pass(u16),
    /// A handle gets a policy that allows all, or only whitelisting.
    Reload { handle: u8, all: bool },
}

/// How a signed count is copied: the signature covers none of the differences.
#[derive(Clone, Copy, PartialEq, Eq, Arbitrary, Debug)]
enum Copied {
    Exactly,
    UpperCase,
    BlanksBehind,
    Folded,
    SignatureFirst,
    AnotherSignatureBehind,
    Body,
    CrLf,
}

#[derive(Clone, Copy, Arbitrary, Debug)]
enum Sender {
    Local,
    Address { v6: bool, host: u8, port: u8 },
}

impl Sender {
    fn address(self) -> Option<SocketAddr> {
        let Self::Address { v6, host, port } = self else { return None };
        let v6_address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host % 4));
        let ip = if v6 { IpAddr::from(v6_address) } else { IpAddr::from([192, 0, 2, host % 4]) };
        Some(SocketAddr::new(ip, u16::from(port)))
    }
}

impl Peer for Sender {
    fn network(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    fn is_answerable(&self) -> bool {
        self.address().is_none_or(|address| address.port() != 0)
    }
}

/// Whatever comes in, and whatever becomes of the batches, a signed count is counted at most once while the guard
/// remembers it, and its success means that it was counted. Its copies are not answered while it waits for the store,
/// and it may be repeated after it has failed. There are no internal errors.
pub fn signed_counts(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut driver = Driver::new(&input);
    for event in input.events.iter().take(MOST_EVENTS) {
        driver.happens(event);
    }
    driver.finish();
}

/// What is known of a signed count.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    /// It never came in, was refused, or failed.
    #[default]
    New,
    InFlight,
    Counted,
}

#[derive(Clone, Copy, Default, Debug)]
struct Known {
    state: State,
    counted: u64,
    /// Whether a reply said that it was counted.
    acknowledged: bool,
}

/// A handle of the server, and the batch that it receives.
struct Handle {
    server: Server,
    all_allowed: bool,
    batch: Batch<Sender>,
    /// The signed counts of the batch that wait for the store.
    counts: Vec<usize>,
}

/// Requests that wait for the store's answers.
struct Trip {
    asked: Asked<Sender>,
    counts: Vec<usize>,
}

struct Driver {
    handles: [Handle; 2],
    trips: Vec<Trip>,
    spare: Vec<Batch<Sender>>,
    store: MemoryStore,
    elapsed: Duration,
    known: [Known; COUNTS],
    remembers: bool,
    limited: bool,
}

impl Driver {
    fn new(input: &Input<'_>) -> Self {
        let rate = |(choice, per_second): (u8, u8)| {
            NonZeroU32::new(per_second.into()).filter(|_| choice % 8 == 1).map(Rate::per_second)
        };
        let network = |text: &str| text.parse::<IpNet>().expect("a network");
        let mut limits = Limits::default();
        limits.requests = rate(input.requests);
        limits.failures = rate(input.failures);
        limits.denied.extend(input.denied.then(|| network("192.0.2.1/32")));
        limits.unlimited.extend(input.unlimited.then(|| network("2001:db8::/127")));
        (limits.ipv4_prefix, limits.ipv6_prefix) = (input.prefix, input.prefix);
        limits.signed_counts = if input.memory % 8 == 1 { 0 } else { REMEMBERED };
        let (remembers, limited) = (limits.signed_counts > 0, limits.requests.is_some() || input.denied);
        let server = Server::new(policy(true), Guard::new(limits, [7; 16]));
        let handle = |server| Handle { server, all_allowed: true, batch: Batch::new(), counts: Vec::new() };
        Self {
            handles: [handle(server.clone()), handle(server)],
            trips: Vec::new(),
            spare: Vec::new(),
            store: MemoryStore::new(),
            elapsed: Duration::ZERO,
            known: Default::default(),
            remembers,
            limited,
        }
    }

    fn happens(&mut self, event: &Event<'_>) {
        match event {
            Event::Count { handle, number, copy, sender } => {
                self.count(*handle, usize::from(*number) % COUNTS, *copy, *sender);
            }
            Event::Other { handle, sender, datagram } => {
                let datagram = datagram.bytes(START.saturating_add_unsigned(self.elapsed.as_secs()));
                if !names_a_signed_count(&datagram) {
                    let _ = self.accept(*handle, &datagram, *sender);
                }
            }
            Event::Ask(handle) => self.ask(*handle),
            Event::Split(handle) => {
                let spare = self.spare.pop().unwrap_or_default();
                let handle = self.handle(*handle);
                let (asked, counts) = (handle.batch.split(spare), mem::take(&mut handle.counts));
                assert_eq!((handle.batch.waiting(), handle.batch.calls().len()), (0, 0));
                self.trips.push(Trip { asked, counts });
            }
            Event::Join { trip, handle } => {
                let Some(mut trip) = self.take_trip(*trip) else { return };
                let handle = self.handle(*handle);
                trip.asked.join(&mut handle.batch);
                trip.counts.append(&mut handle.counts);
                assert_eq!((handle.batch.waiting(), handle.batch.calls().len()), (0, 0));
                self.trips.push(trip);
            }
            Event::Resolve { trip, faults } => {
                if let Some(trip) = self.take_trip(*trip) {
                    self.resolve(trip, *faults);
                }
            }
            Event::Fail(trip) => {
                if let Some(Trip { asked, counts }) = self.take_trip(*trip) {
                    let requests = asked.len();
                    let answered = asked.fail(&self.handle(0).server, StoreError::Unavailable);
                    self.answer(answered, requests, &counts);
                }
            }
            Event::Lose(trip) => drop(self.take_trip(*trip)),
            Event::Pass(tenths) => self.elapsed += Duration::from_millis(100) * u32::from(*tenths),
            Event::Reload { handle, all } => {
                let handle = self.handle(*handle);
                handle.server.replace_policy(policy(*all));
                handle.all_allowed = *all;
            }
        }
    }

    /// A signed count comes in.
    fn count(&mut self, handle: u8, number: usize, copy: Copied, sender: Sender) {
        let state = self.known(number).state;
        let time = Duration::from_secs(time(number).abs_diff(START));
        let valid = self.elapsed.abs_diff(time) <= VALID;
        let waiting = self.handle(handle).batch.waiting();
        let accepted = self.accept(handle, &datagram(number, copy), sender);
        let remembers = self.remembers;
        let this = self.handle(handle);
        let waits = this.batch.waiting() > waiting;
        let sure = valid && copy == Copied::Exactly && this.all_allowed && sender.is_answerable();
        if waits {
            assert!(state == State::New || !remembers, "{number} is counted again, {copy:?}: {state:?}");
            assert!(valid, "{number} is not valid");
            this.counts.push(number);
            self.known(number).state = State::InFlight;
        } else if accepted == Err(Ignored::InFlight) {
            assert!(state == State::InFlight && remembers, "{number} is not in flight: {state:?}");
        } else if sure && !self.limited {
            assert_eq!((accepted, state), (Ok(()), State::Counted), "{number}");
        }
    }

    fn accept(&mut self, handle: u8, datagram: &[u8], sender: Sender) -> Result<(), Ignored> {
        let now = self.now();
        let Handle { server, batch, .. } = self.handle(handle);
        let before = (batch.len(), batch.waiting(), batch.calls().len());
        let accepted = batch.accept(server, sender, datagram, now);
        let after = (batch.len(), batch.waiting(), batch.calls().len());
        if accepted.is_ok() {
            assert_eq!(after.0, before.0 + 1);
            assert_eq!(after.1 > before.1, after.2 > before.2);
        } else {
            assert_eq!(after, before, "a datagram that is not answered has changed the batch");
        }
        accepted
    }

    fn ask(&mut self, handle: u8) {
        let spare = self.spare.pop().unwrap_or_default();
        let handle = self.handle(handle);
        let asked = mem::replace(&mut handle.batch, spare).ask();
        let counts = mem::take(&mut handle.counts);
        self.trips.push(Trip { asked, counts });
    }

    fn resolve(&mut self, Trip { asked, counts }: Trip, faults: u8) {
        let (now, requests) = (self.now(), asked.len());
        let answers = ask(&mut self.store, asked.calls(), faults, now);
        let answered = asked.resolve(&self.handle(0).server, &answers);
        self.answer(answered, requests, &counts);
    }

    /// Replies go out.
    fn answer(&mut self, answered: Answered<Sender>, requests: usize, counts: &[usize]) {
        for number in counts {
            self.known(*number).state = State::New;
        }
        let mut counted = Vec::new();
        counted.extend(answered.counted().map(|counted| counted.digest));
        for number in (0..COUNTS).filter(|number| counted.contains(&digest(*number, 0))) {
            let known = self.known(number);
            known.state = State::Counted;
            known.counted += counted.iter().filter(|counted| **counted == digest(number, 0)).count() as u64;
        }
        for usage in answered.usage().filter(|usage| usage.refusal.is_none()) {
            let named = (0..COUNTS).find(|number| usage.digests.first() == Some(&digest(*number, 0)));
            if let Some(number) = named {
                self.known(number).acknowledged = true;
            }
        }
        assert_eq!((answered.replies().count(), answered.usage().count()), (requests, requests));
        assert_eq!(answered.internal_errors(), 0);
        self.spare.push(answered.clear());
    }

    /// Answers what is left.
    fn finish(&mut self) {
        self.ask(0);
        self.ask(1);
        while let Some(trip) = self.trips.pop() {
            self.resolve(trip, 0);
        }
        for (number, known) in self.known.iter().enumerate() {
            assert!(known.counted <= 1 || !self.remembers, "{number}: {known:?}");
            assert_eq!(known.acknowledged, known.counted > 0, "{number}: {known:?}");
            let stored = |digest| self.store.records().find(|(known, _)| *known == digest);
            let total = |(_, record): (Digest, Record)| record.reports.count + record.whitelists.count;
            let stored = stored(digest(number, 0)).map_or(0, total);
            // The first digest of two may have been counted though the other one, and so the request, has failed.
            assert!(stored == known.counted || two_digests(number) && stored > known.counted, "{number}: {stored}");
        }
    }

    fn take_trip(&mut self, number: u8) -> Option<Trip> {
        let at = usize::from(number).checked_rem(self.trips.len())?;
        Some(self.trips.swap_remove(at))
    }

    fn handle(&mut self, number: u8) -> &mut Handle {
        let [first, second] = &mut self.handles;
        if number.is_multiple_of(2) { first } else { second }
    }

    fn known(&mut self, number: usize) -> &mut Known {
        self.known.get_mut(number).expect("there are so many")
    }

    /// Both clocks run alike.
    fn now(&self) -> Now {
        let micros = i64::try_from(self.elapsed.as_micros()).expect("200 events last some hours");
        Now { wall: UnixTime::from_micros(START * 1_000_000 + micros), tick: Tick::new(self.elapsed) }
    }
}

/// Answers every call.
fn ask(store: &mut MemoryStore, calls: &[StoreCall], mut faults: u8, now: Now) -> Vec<StoreAnswer> {
    let mut answers = Vec::new();
    for call in calls {
        faults = faults.rotate_right(1);
        if faults & 1 == 1 {
            answers.push(Err(StoreError::Unavailable));
        } else {
            store.execute(now, &[*call], &mut answers);
        }
    }
    answers
}

fn policy(all: bool) -> Policy {
    let access: &[u8] = if all { b"all : bob eve anonymous : allow" } else { b"whitelist : bob : allow" };
    Policy::parse(Some(b"bob : abcdef\neve : 123456\n"), Some(access), AccessOrder::FirstMatch).0
}

/// `Time` of a signed count.
fn time(number: usize) -> i64 {
    START.saturating_add_unsigned(100 * (number as u64 / 2))
}

fn two_digests(number: usize) -> bool {
    number >= COUNTS / 2
}

/// The digests of signed counts begin with these bytes, and no others do.
const DIGESTS: [u8; 18] = *b"of a signed count ";

fn digest(number: usize, which: usize) -> Digest {
    let mut bytes = [0; 20];
    let last = [number, which].map(|byte| byte.to_le_bytes()[0]);
    bytes.iter_mut().zip(DIGESTS.into_iter().chain(last)).for_each(|(place, byte)| *place = byte);
    Digest::new(bytes)
}

fn names_a_signed_count(datagram: &[u8]) -> bool {
    let digest = digest(0, 0).hex();
    let (beginning, _) = digest.split_at(2 * DIGESTS.len());
    datagram.windows(beginning.len()).any(|part| part.eq_ignore_ascii_case(beginning))
}

/// A signed count.
fn datagram(number: usize, copy: Copied) -> Vec<u8> {
    let op = if number % 4 < 2 { "report" } else { "whitelist" };
    let (user, key) = if number.is_multiple_of(2) { ("bob", "abcdef") } else { ("eve", "123456") };
    let digests: String = (0..=usize::from(two_digests(number)))
        .map(|which| format!("Op-Digest: {}\n", digest(number, which)))
        .collect();
    let time = time(number);
    let text = format!("Op: {op}\n{digests}Thread: {number}\nPV: 2.1\nUser: {user}\nTime: {time}\n");
    let signature = HashedKey::new(user.as_bytes(), key.as_bytes()).sign(HeaderBlock::new(text.as_bytes()), time);
    let signature = String::from_utf8_lossy(&signature);
    let (first, rest) = signature.split_at(20);
    match copy {
        Copied::Exactly => format!("{text}Sig: {signature}\n\n"),
        Copied::UpperCase => format!("{text}SIG: {}\n\n", signature.to_ascii_uppercase()),
        Copied::BlanksBehind => format!("{text}Sig: {signature} \t\n\n"),
        Copied::Folded => format!("{text}Sig:\n {first}\n {rest}\n\n"),
        Copied::SignatureFirst => format!("Sig: {signature}\n{text}\n"),
        Copied::AnotherSignatureBehind => format!("{text}Sig: {signature}\nSig: {rest}{first}\n\n"),
        Copied::Body => format!("{text}Sig: {signature}\n\nany text"),
        Copied::CrLf => format!("{text}Sig: {signature}\n\n").replace('\n', "\r\n"),
    }
    .into_bytes()
}
