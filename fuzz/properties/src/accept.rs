use std::net::SocketAddr;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{
    ANONYMOUS, Batch, Digest, Ignored, MAX_REQUEST, Now, Operation, Policy, Request, Server, StoreAnswer, StoreCall,
    StoreError, StoreOp, Tick, UnixTime, lines, verify,
};

use crate::one_request::{OneRequest, forgetful_server, only_reply};
use crate::peer::{Datagram, Rules};
use crate::record;

/// IPv4 and UDP headers: what a datagram weighs beside its payload.
const WIRE_OVERHEAD: usize = 28;
/// All that a reply has beside `Thread`.
const REPLY_OVERHEAD: usize = 512;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    rules: Rules,
    now: i64,
    fault: u8,
    datagram: Datagram<'a>,
}

/// A datagram without `Op` is not answered; any other gets the code that the checks give in their order, in a reply
/// that is no request, repeats `Thread`, and weighs at most three times the request. The store is asked what the
/// operation needs. All of this is the same for a request that is split off, and for a peer with an address.
pub fn accept(data: &[u8]) {
    let mut source = Unstructured::new(data);
    let Ok(record) = record::record(&mut source) else { return };
    let Ok(input) = Input::arbitrary_take_rest(source) else { return };
    let (server, datagram) = (&forgetful_server(input.rules.policy()), input.datagram.bytes(input.now));
    let now = UnixTime::from_seconds(input.now);
    let answer = match input.fault {
        0 => Err(StoreError::Unavailable),
        1 => Err(StoreError::Unreadable),
        _ => Ok(record),
    };
    let expected = verdict(server.policy(), &input.rules, &datagram, now);
    let judged = one(server, &datagram, now, answer);
    assert_eq!(judged, split_off(server, &datagram, now, answer));
    let (Some(expected), Ok((_, reply))) = (expected, &judged) else {
        let ignored = judged == Err(Ignored::NotARequest);
        return assert!(expected.is_none() && ignored, "{}", datagram.escape_ascii());
    };
    let code = expected.and_then(|asks| if asks { answer.map(drop).map_err(|_| 500) } else { Ok(()) });
    let code = format!("Code: {}\n", code.err().unwrap_or(200));
    assert!(reply.starts_with(code.as_bytes()), "{code} {}", reply.escape_ascii());
    check_reply(server, &datagram, now, reply);
}

/// What the store was asked for a datagram, and its reply.
type Judged = Result<(Vec<StoreCall>, Vec<u8>), Ignored>;

fn one(server: &Server, datagram: &[u8], now: UnixTime, answer: StoreAnswer) -> Judged {
    let request = OneRequest::accept(server, datagram, now)?;
    let calls = request.calls().to_vec();
    if !calls.is_empty() {
        check_calls(datagram, &calls);
    }
    let (reply, _) = request.resolve(&vec![answer; calls.len()]);
    Ok((calls, reply))
}

fn split_off(server: &Server, datagram: &[u8], now: UnixTime, answer: StoreAnswer) -> Judged {
    let mut batch = Batch::new();
    let peer = SocketAddr::from(([192, 0, 2, 1], 9));
    batch.accept(server, peer, datagram, Now { wall: now, tick: Tick::default() })?;
    let waiting = batch.split(Batch::new());
    let calls = waiting.calls().to_vec();
    assert_eq!((batch.len(), waiting.len()), if calls.is_empty() { (1, 0) } else { (0, 1) });
    let asked = if calls.is_empty() { batch.ask() } else { waiting };
    let answered = asked.resolve(server, &vec![answer; calls.len()]);
    for usage in answered.usage() {
        let line = usage.to_string();
        let most = 1024 + 44 * usage.digests.len();
        assert!(line.len() <= most && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    }
    Ok((calls, only_reply(&answered)))
}

/// The first digest is read, or all are counted, each as often as it stands there.
fn check_calls(datagram: &[u8], calls: &[StoreCall]) {
    let request = Request::parse(datagram).expect("only requests ask the store");
    let count = if matches!(request.op, b"report" | b"whitelist") { usize::MAX } else { 1 };
    let asked: Vec<Digest> = calls.iter().map(|call| call.digest).collect();
    let named: Vec<Digest> = request.digests().take(count).filter_map(Digest::parse).collect();
    assert_eq!(asked, named);
    let op = match request.op {
        b"report" => StoreOp::Report,
        b"whitelist" => StoreOp::Whitelist,
        _ => StoreOp::Read,
    };
    assert!(calls.iter().all(|call| call.op == op));
}

fn check_reply(server: &Server, datagram: &[u8], now: UnixTime, reply: &[u8]) {
    assert!(reply.len() + WIRE_OVERHEAD <= 3 * (datagram.len() + WIRE_OVERHEAD), "{}", reply.len());
    assert!(reply.len() <= MAX_REQUEST + REPLY_OVERHEAD, "{}", reply.len());
    assert!(reply.ends_with(b"\n\n") && !reply.starts_with(b"Thread"));
    assert!(OneRequest::accept(server, reply, now).is_err(), "a reply is a request");
    let readable = datagram.get(..MAX_REQUEST).unwrap_or(datagram);
    // Of a datagram that is too long, only whole lines are read.
    if let (Some(request), true) = (Request::parse(readable), datagram.len() <= MAX_REQUEST) {
        let thread = request.thread.map(|thread| lines(thread).collect::<Vec<_>>().join(&b'\n'));
        let echo = thread.map_or_else(Vec::new, |thread| [b"Thread: ", &thread[..], b"\n"].concat());
        let echo = [b"\nPV: 2.1\n", &echo[..]].concat();
        let at = reply.windows(echo.len()).position(|window| window == echo);
        assert!(at.is_some(), "{}", reply.escape_ascii());
    }
}

/// Size, signature, version, access rule, known operation, digests: whether the store is asked, or the code of the
/// refusal. `None` when there is no request.
fn verdict(policy: &Policy, rules: &Rules, datagram: &[u8], now: UnixTime) -> Option<Result<bool, u16>> {
    if let Some(readable) = datagram.get(..=MAX_REQUEST).and_then(|cut| cut.get(..MAX_REQUEST)) {
        let end = readable.iter().rposition(|byte| *byte == b'\n')?;
        return Request::parse(readable.get(..end)?).map(|_| Err(400));
    }
    let request = Request::parse(datagram)?;
    Some(checks(policy, rules, &request, now))
}

fn checks(policy: &Policy, rules: &Rules, request: &Request<'_>, now: UnixTime) -> Result<bool, u16> {
    if request.user != ANONYMOUS {
        let key: &[u8] = match request.user {
            b"bob" => b"abcdef",
            b"eve" => b"123456",
            _ => return Err(401),
        };
        let key = pyzord_core::HashedKey::new(request.user, key);
        verify(request, &key, now).map_err(|_| 401_u16)?;
    }
    let version = std::str::from_utf8(request.version.ok_or(400_u16)?).map_err(|_| 400_u16)?;
    let version: f64 = version.trim_matches(is_blank).parse().map_err(|_| 400_u16)?;
    if !version.is_finite() {
        return Err(400);
    }
    if version.floor() != 2.0 {
        return Err(505);
    }
    let Some(operation) = Operation::parse(request.op) else {
        return Err(if request.op == b"frobnicate" && rules.grant_frobnicate(request.user) { 501 } else { 403 });
    };
    if !policy.allows(request.user, operation) {
        return Err(403);
    }
    let digests = request.digests().map(Digest::parse).collect::<Option<Vec<_>>>().ok_or(400_u16)?;
    if operation.store_op().is_some() && digests.is_empty() { Err(400) } else { Ok(operation.store_op().is_some()) }
}

fn is_blank(letter: char) -> bool {
    letter.is_ascii_whitespace()
}
