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
    /// The store answers a trip; two bits for each call and how it ends, over and over.
    Resolve { trip: u8, faults: u8 },
    /// A trip never begins.
    Fail(u8),
    /// A trip fails with no answer. If the store works on it nevertheless, it ends later.
    Doubt { trip: u8, late: Option<u8> },
    /// The store ends its work on a trip that has failed.
    Late { trip: u8, faults: u8 },
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

/// Whatever comes in, and whatever becomes of the batches, each digest of a signed count is counted at most once while
/// the guard remembers it, though calls fail, or have no answer, and may be executed later. Its success means that all of
/// it was counted. Its copies are not answered while it waits for the store; after a failure a copy counts what cannot
/// have been counted, and nothing else. There are no internal errors.
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
    /// It never came in, was refused, or failed, and some of it may be counted.
    #[default]
    New,
    InFlight,
    /// It is lost in flight: it may be counted again never or late.
    Lost,
    /// All of it was counted.
    Counted,
    /// None of it may be counted again, and some of it may not have been counted.
    Unknown,
}

/// What is known of a digest of a signed count.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Occurrence {
    #[default]
    Uncounted,
    Counted,
    Unknown,
}

#[derive(Clone, Copy, Default, Debug)]
struct Known {
    state: State,
    digests: [Occurrence; 2],
    /// Whether a reply said that it was counted.
    acknowledged: bool,
}

impl Known {
    /// Returns the state after an answer.
    fn settled(&self, number: usize) -> State {
        let count = 1 + usize::from(two_digests(number));
        let all = |wanted: fn(Occurrence) -> bool| self.digests.iter().take(count).all(|known| wanted(*known));
        if all(|known| known == Occurrence::Counted) {
            State::Counted
        } else if all(|known| known != Occurrence::Uncounted) {
            State::Unknown
        } else {
            State::New
        }
    }
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

/// Requests that have failed, and the calls of them on which the store works.
struct Late {
    answered: Answered<Sender>,
    calls: Vec<StoreCall>,
}

struct Driver {
    handles: [Handle; 2],
    trips: Vec<Trip>,
    late: Vec<Late>,
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
            late: Vec::new(),
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
            Event::Doubt { trip, late } => {
                if let Some(trip) = self.take_trip(*trip) {
                    self.doubt(trip, *late);
                }
            }
            Event::Late { trip, faults } => self.one_ends_late(*trip, *faults),
            Event::Lose(trip) => {
                let lost = self.take_trip(*trip);
                for number in lost.into_iter().flat_map(|trip| trip.counts) {
                    self.known(number).state = State::Lost;
                }
            }
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
            let known = *self.known(number);
            let asked: Vec<Digest> = self.new_calls(handle);
            let wanted = |which: &usize| !remembers || known.digests.get(*which) == Some(&Occurrence::Uncounted);
            let expected: Vec<Digest> =
                (0..=usize::from(two_digests(number))).filter(wanted).map(|which| digest(number, which)).collect();
            // Without a memory, calls have no marks that tell which are of this request.
            assert!(asked == expected || !remembers, "{number}: {known:?}, {asked:?}");
            let this = self.handle(handle);
            this.counts.push(number);
            self.known(number).state = State::InFlight;
        } else if accepted == Err(Ignored::InFlight) {
            let waits = matches!(state, State::InFlight | State::Lost);
            assert!(waits && remembers, "{number} is not in flight: {state:?}");
        } else if sure && !self.limited {
            // A trip that takes long is taken for lost.
            assert!(accepted.is_ok() && state != State::New, "{number}: {accepted:?}, {state:?}");
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
        self.settles(asked.calls(), &answers);
        let answered = asked.resolve(&self.handle(0).server, &answers);
        self.answer(answered, requests, &counts);
    }

    /// A trip fails with no answer: the store has executed it, never will, or works on it.
    fn doubt(&mut self, Trip { asked, counts }: Trip, late: Option<u8>) {
        let (now, requests) = (self.now(), asked.len());
        let calls = asked.calls().to_vec();
        self.settles(&calls, &vec![Err(StoreError::Unknown); calls.len()]);
        let answered = asked.fail(&self.handle(0).server, StoreError::Unknown);
        self.check(&answered, requests, &counts);
        match late {
            None => self.late.push(Late { answered, calls }),
            Some(faults) => {
                drop(ask(&mut self.store, &calls, faults, now));
                self.spare.push(answered.clear());
            }
        }
    }

    /// The store ends its work on one of the trips that have failed.
    fn one_ends_late(&mut self, trip: u8, faults: u8) {
        let at = usize::from(trip).checked_rem(self.late.len());
        if let Some(late) = at.map(|at| self.late.swap_remove(at)) {
            self.ends_late(late, faults);
        }
    }

    /// The store ends its work on a trip that has failed.
    fn ends_late(&mut self, Late { answered, calls }: Late, faults: u8) {
        let now = self.now();
        let answers = ask(&mut self.store, &calls, faults, now);
        answered.settle(&self.handle(0).server, &answers);
        self.spare.push(answered.clear());
        self.settles(&calls, &answers);
        for number in 0..COUNTS {
            let known = *self.known(number);
            if !matches!(known.state, State::InFlight | State::Lost) {
                self.known(number).state = known.settled(number);
            }
        }
    }

    /// Records what became of calls.
    fn settles(&mut self, calls: &[StoreCall], answers: &[StoreAnswer]) {
        for (call, answer) in calls.iter().zip(answers) {
            let named = (0..COUNTS).find_map(|number| {
                let which = (0..2).find(|which| digest(number, *which) == call.digest)?;
                Some((number, which))
            });
            let Some((number, which)) = named else { continue };
            let occurrence = match answer {
                Ok(_) => Occurrence::Counted,
                Err(StoreError::Unknown) => Occurrence::Unknown,
                Err(_) => Occurrence::Uncounted,
            };
            self.known(number).digests.iter_mut().skip(which).take(1).for_each(|known| *known = occurrence);
        }
    }

    /// Returns the digests of the calls of the request that a handle has accepted last.
    fn new_calls(&mut self, handle: u8) -> Vec<Digest> {
        let calls = self.handle(handle).batch.calls();
        let signature = calls.last().and_then(|call| call.mark).map(|mark| mark.signature);
        let own = |call: &&StoreCall| call.mark.map(|mark| mark.signature) == signature;
        let mut digests: Vec<Digest> = calls.iter().rev().take_while(own).map(|call| call.digest).collect();
        digests.reverse();
        digests
    }

    /// Replies go out.
    fn answer(&mut self, answered: Answered<Sender>, requests: usize, counts: &[usize]) {
        self.check(&answered, requests, counts);
        self.spare.push(answered.clear());
    }

    fn check(&mut self, answered: &Answered<Sender>, requests: usize, counts: &[usize]) {
        for number in counts {
            let state = self.known(*number).settled(*number);
            self.known(*number).state = state;
        }
        for usage in answered.usage().filter(|usage| usage.refusal.is_none()) {
            let named = (0..COUNTS).find(|number| usage.digests.first() == Some(&digest(*number, 0)));
            if let Some(number) = named {
                let remembers = self.remembers;
                let known = self.known(number);
                known.acknowledged = true;
                assert!(known.state == State::Counted || !remembers, "{number}: {known:?}");
            }
        }
        assert_eq!((answered.replies().count(), answered.usage().count()), (requests, requests));
        assert_eq!(answered.internal_errors(), 0);
    }

    /// Answers what is left.
    fn finish(&mut self) {
        self.ask(0);
        self.ask(1);
        while let Some(trip) = self.trips.pop() {
            self.resolve(trip, 0);
        }
        while let Some(late) = self.late.pop() {
            self.ends_late(late, 0);
        }
        for (number, known) in self.known.iter().enumerate() {
            for which in 0..=usize::from(two_digests(number)) {
                let total = |(_, record): (Digest, Record)| record.reports.count + record.whitelists.count;
                let record = self.store.records().find(|(known, _)| *known == digest(number, which));
                let stored = record.map_or(0, total);
                assert!(stored <= 1 || !self.remembers, "{number} is counted {stored} times: {known:?}");
                assert!(stored > 0 || !known.acknowledged, "{number} is not counted: {known:?}");
            }
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

/// Answers every call. The store keeps no marks.
fn ask(store: &mut MemoryStore, calls: &[StoreCall], mut faults: u8, now: Now) -> Vec<StoreAnswer> {
    let mut answers = Vec::new();
    for call in calls {
        faults = faults.rotate_right(2);
        let mut execute = || store.execute(now, &[StoreCall { mark: None, ..*call }], &mut answers);
        match faults & 3 {
            0 => execute(),
            1 => answers.push(Err(StoreError::Unavailable)),
            2 => answers.push(Err(StoreError::Unknown)),
            _ => {
                execute();
                answers.pop();
                answers.push(Err(StoreError::Unknown));
            }
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
