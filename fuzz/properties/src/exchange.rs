use std::net::SocketAddr;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::client::{Credentials, Message, Reply, Thread};
use pyzord_core::{
    Origin,
    ANONYMOUS, AccessOrder, BadSignature, Batch, Digest, MAX_REQUEST, MemoryStore, Now, Operation, Policy, Refusal,
    Request, Server, Store, StoreAnswer, StoreError, Tick, UnixTime, lines,
};

use crate::email::signed_text;
use crate::one_request::{OneRequest, forgetful_server, only_reply};

const PEER: &str = "192.0.2.1:4000";

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    operation: u8,
    digests: Vec<[u8; 20]>,
    thread: u64,
    forwarded: Option<u64>,
    user: &'a str,
    key: &'a str,
    /// Microseconds since 1970, of the client.
    time: i64,
    /// How far the server's clock is from the client's, in sixteenths of a second.
    skew: i16,
    /// Whether the store has no answer.
    broken: bool,
    at: usize,
    byte: u8,
}

/// A request as our client writes it is what our server reads, and the server's reply is what our client reads. A
/// signed one with a byte changed has a wrong signature, or is unchanged in meaning.
pub fn exchange(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let digests: Vec<Digest> = input.digests.iter().copied().map(Digest::new).collect();
    let operation = Operation::ALL.into_iter().cycle().nth(usize::from(input.operation % 6)).expect("a cycle");
    let thread = Thread::from_random(input.thread);
    let message = Message { operation, digests: &digests, thread, forwarded: input.forwarded.map(Origin::from_random) };
    let (user, key) = (word(input.user, "anonymous"), word(input.key, "0"));
    let credentials = Credentials::new(user.as_bytes(), key.as_bytes());
    let time = UnixTime::from_micros(input.time);
    let mut datagram = b"what was there".to_vec();
    message.write(&credentials, time, &mut datagram);
    let mut datagram = datagram.strip_prefix(b"what was there").expect("the buffer is appended to").to_vec();

    let now = UnixTime::from_micros(input.time.saturating_add(i64::from(input.skew) * 62_500));
    let server = &forgetful_server(policy(&user, &key));
    let expected = refusal(&message, credentials.are_anonymous(), datagram.len(), time, now);
    let (answer, counted) = serve(server, &datagram, now, input.broken);
    let reply = Reply::parse(&answer).expect("a reply to a client has what it insists on");
    let asked = expected.is_ok() && operation.store_op().is_some();
    let expected = if input.broken && asked { Err(Refusal::Store(StoreError::Unavailable)) } else { expected };
    assert_eq!(reply.code, expected.map_or_else(Refusal::code, |()| 200), "{}", datagram.escape_ascii());
    assert_eq!(lines(reply.diag).collect::<Vec<_>>(), [expected.map_or_else(Refusal::diag, |()| "OK").as_bytes()]);
    assert_eq!(reply.thread, thread);
    let counts = matches!(operation, Operation::Check | Operation::Info | Operation::Pong);
    let number = if operation == Operation::Pong { 9_223_372_036_854_775_807 } else { 0 };
    assert_eq!(reply.counts, (expected.is_ok() && counts).then_some((number, 0)));
    let listed = operation == Operation::Whitelist;
    let told = expected.is_ok() && input.forwarded.is_none() && (listed || operation == Operation::Report);
    let digests = digests.iter().map(|digest| (*digest, listed));
    assert_eq!(counted, digests.take(if told { usize::MAX } else { 0 }).collect::<Vec<_>>());

    if !credentials.are_anonymous() {
        change(&mut datagram, &input, server, now);
    }
}

/// A byte is changed on the way.
fn change(datagram: &mut [u8], input: &Input<'_>, server: &Server, now: UnixTime) {
    let before = signed_text(datagram);
    let user = Request::parse(datagram).map(|request| request.user.to_vec());
    let at = input.at % datagram.len();
    if let Some(byte) = datagram.get_mut(at) {
        *byte = input.byte;
    }
    let Ok(request) = OneRequest::accept(server, datagram, now) else { return };
    let refusal = request.refusal();
    let taken = Request::parse(datagram).map(|request| request.user.to_vec());
    if taken == user && !matches!(refusal, Some(Refusal::Signature(_) | Refusal::TooLong)) {
        assert_eq!(signed_text(datagram), before, "{}", datagram.escape_ascii());
    } else if taken.is_some_and(|taken| taken != ANONYMOUS) {
        assert!(matches!(refusal, Some(Refusal::Signature(_) | Refusal::TooLong)), "{refusal:?}");
    }
}

/// A text that the files of a client and of a server can name, or `instead`.
fn word(text: &str, instead: &str) -> String {
    let word: String = text.chars().filter(|letter| !letter.is_control() && !matches!(letter, ':' | ',')).collect();
    let word = word.trim_end().trim_start_matches(|letter: char| letter == '#' || letter.is_whitespace());
    if word.is_empty() { instead.to_owned() } else { word.to_owned() }
}

fn policy(user: &str, key: &str) -> Policy {
    let access = b"all : all anonymous : allow";
    Policy::parse(Some(format!("{user} : {key}").as_bytes()), Some(access), AccessOrder::FirstMatch).0
}

/// What the server says to a request that is as it was written: nothing, but for its clock, size and digests.
fn refusal(
    message: &Message<'_>,
    anonymous: bool,
    length: usize,
    time: UnixTime,
    now: UnixTime,
) -> Result<(), Refusal> {
    let apart = i128::from(now.micros()).abs_diff(i128::from(time.seconds()) * 1_000_000);
    if length > MAX_REQUEST {
        Err(Refusal::TooLong)
    } else if !anonymous && apart > 300_000_000 {
        Err(Refusal::Signature(BadSignature::Timestamp))
    } else if message.digests.is_empty() && message.operation.store_op().is_some() {
        Err(Refusal::NoDigest)
    } else {
        Ok(())
    }
}

/// The server's reply, and the digests that it would send on, with whether they were whitelisted.
fn serve(server: &Server, datagram: &[u8], now: UnixTime, broken: bool) -> (Vec<u8>, Vec<(Digest, bool)>) {
    let mut batch = Batch::new();
    let (peer, now): (SocketAddr, _) = (PEER.parse().expect("an address"), Now { wall: now, tick: Tick::default() });
    batch.accept(server, peer, datagram, now).expect("a client's request has an answer");
    let asked = batch.ask();
    let mut answers: Vec<StoreAnswer> = Vec::new();
    match asked.calls() {
        calls if broken => answers.extend(calls.iter().map(|_| Err(StoreError::Unavailable))),
        calls => MemoryStore::new().execute(now, calls, &mut answers),
    }
    let answered = asked.resolve(server, &answers);
    let counted = answered.counted().map(|counted| (counted.digest, counted.whitelisted)).collect();
    (only_reply(&answered), counted)
}
