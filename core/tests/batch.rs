//! A batch is its requests one by one, whatever they are and however the store fails.

use std::net::SocketAddr;

mod common;

use common::OneRequest;
use proptest::prelude::*;
use pyzord_core::{
    AccessOrder, Asked, Batch, HashedKey, HeaderBlock, MemoryStore, Now, Policy, Refusal, Server, Store,
    StoreAnswer, StoreCall, StoreError, Tick, UnixTime, Usage,
};

const NOW: i64 = 1_700_000_000;

fn now() -> Now {
    Now { wall: UnixTime::from_seconds(NOW), tick: Tick::default() }
}

fn policy() -> Policy {
    let access = b"all : anonymous : allow\nall : bob : allow\nfrobnicate : bob : allow";
    Policy::parse(Some(b"bob : abcdef"), Some(access), AccessOrder::FirstMatch).0
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let op =
        prop::sample::select(vec!["check", "report", "ping", "pong", "info", "whitelist", "frobnicate", ""]);
    let digest = prop_oneof![
        6 => (0..4_u8).prop_map(|digit| digit.to_string().repeat(40)),
        1 => "[0-9a-fx]{39,41}",
    ];
    let user = prop::sample::select(vec!["", "bob", "eve", "anonymous"]);
    let fields = (op, prop::collection::vec(digest, 0..5), 0..70_000_u32, user, any::<bool>());
    let request = fields.prop_map(|(op, digests, thread, user, valid)| {
        let digests: String = digests.iter().map(|digest| format!("Op-Digest: {digest}\n")).collect();
        let text = format!("Op: {op}\n{digests}Thread: {thread}\nPV: 2.1\nUser: {user}\nTime: {NOW}\n");
        let key = HashedKey::new(b"bob", if valid { b"abcdef" } else { b"other." });
        let signature = key.sign(HeaderBlock::new(text.as_bytes()), NOW);
        [text.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat()
    });
    prop_oneof![9 => request, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// A store that fails for some calls.
#[derive(Clone)]
struct Failing<'a> {
    /// What becomes of each call, again from the start after the last.
    errors: &'a [Option<StoreError>],
    asked: usize,
    records: MemoryStore,
}

impl<'a> Failing<'a> {
    fn new(errors: &'a [Option<StoreError>]) -> Self {
        Self { errors, asked: 0, records: MemoryStore::new() }
    }

    fn ask(&mut self, calls: &[StoreCall]) -> Vec<StoreAnswer> {
        let mut answers = Vec::new();
        for call in calls {
            let error = self.errors.get(self.asked % self.errors.len().max(1)).copied().flatten();
            self.asked += 1;
            match error {
                Some(error) => answers.push(Err(error)),
                None => self.records.execute(now(), &[*call], &mut answers),
            }
        }
        answers
    }
}

/// The answer to one request: the reply, its peer, and why the request was refused.
type Answer = (SocketAddr, Vec<u8>, Option<Refusal>);

/// The answers to the datagrams, each judged by a server of its own.
fn one_by_one(store: &mut Failing<'_>, datagrams: &[(SocketAddr, Vec<u8>)]) -> Vec<Answer> {
    let answer = |(peer, datagram): &(SocketAddr, Vec<u8>)| {
        let request = OneRequest::accept(&policy(), datagram, now().wall).ok()?;
        let answers = store.ask(request.calls());
        let (reply, refusal) = request.resolve(&answers);
        Some((*peer, reply, refusal))
    };
    datagrams.iter().filter_map(answer).collect()
}

/// The answers to a batch, and the empty batch.
fn answer(server: &Server, asked: Asked, store: &mut Failing<'_>) -> (Vec<Answer>, Batch) {
    let requests = asked.len();
    let answers = store.ask(asked.calls());
    let answered = asked.resolve(server, &answers);
    assert_eq!([answered.replies().count(), answered.usage().count()], [requests; 2]);
    let answer = |((peer, reply), usage): ((&SocketAddr, &[u8]), Usage<'_, SocketAddr>)| {
        assert_eq!(usage.peer, peer);
        (*peer, reply.to_vec(), usage.refusal)
    };
    let answers = answered.replies().zip(answered.usage()).map(answer).collect();
    assert_eq!(answered.internal_errors(), 0);
    let batch = answered.clear();
    assert!(batch.is_empty() && batch.calls().is_empty());
    (answers, batch)
}

/// What happens to a batch.
#[derive(Clone, Debug)]
enum Event {
    /// A datagram comes in.
    Accept(Vec<u8>),
    /// The batch ends.
    Ask,
    /// The requests that wait for the store are handed over.
    Split,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => request().prop_map(Event::Accept),
        1 => Just(Event::Ask),
        1 => Just(Event::Split),
    ]
}

/// Whether the datagram is answered, and whether the store is asked first.
fn judged(datagram: &[u8]) -> Option<bool> {
    OneRequest::accept(&policy(), datagram, now().wall).ok().map(|request| !request.calls().is_empty())
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// A server that remembers no signed counts: equal requests count each time.
fn forgetful_server() -> Server {
    let mut limits = pyzord_core::Limits::default();
    limits.signed_counts = 0;
    limits.failures = None;
    Server::new(policy(), pyzord_core::Guard::new(limits, [7; 16]))
}

proptest! {
    #[test]
    fn batches_are_their_requests_one_by_one(
        events in prop::collection::vec(event(), 0..40),
        errors in prop::collection::vec(
            prop::option::weighted(0.2, prop::sample::select(vec![StoreError::Unavailable, StoreError::Unreadable])), 1..9),
    ) {
        let mut model = Failing::new(&errors);
        let mut store = model.clone();
        let server = forgetful_server();
        let (mut batch, mut spare) = (Batch::new(), Batch::new());
        // The datagrams of the batch, each with whether it waits for the store.
        let mut batched: Vec<(bool, (SocketAddr, Vec<u8>))> = Vec::new();
        for (event, port) in events.into_iter().chain([Event::Split, Event::Ask]).zip(1000..) {
            match event {
                Event::Accept(datagram) => {
                    let accepted = batch.accept(&server, peer(port), &datagram, now());
                    let judged = judged(&datagram);
                    prop_assert_eq!(accepted.is_ok(), judged.is_some());
                    batched.push((judged == Some(true), (peer(port), datagram)));
                }
                Event::Ask => {
                    let datagrams: Vec<_> = batched.drain(..).map(|(_, datagram)| datagram).collect();
                    let expected = one_by_one(&mut model, &datagrams);
                    let (answers, empty) = answer(&server, batch.ask(), &mut store);
                    prop_assert_eq!(answers, expected);
                    batch = empty;
                }
                Event::Split => {
                    let waiting: Vec<_> = batched.extract_if(.., |(waits, _)| *waits).map(|(_, datagram)| datagram).collect();
                    prop_assert_eq!(batch.waiting(), waiting.len());
                    let (answers, empty) = answer(&server, batch.split(spare), &mut store);
                    prop_assert_eq!(answers, one_by_one(&mut model, &waiting));
                    spare = empty;
                }
            }
        }
        prop_assert_eq!(store.records.records().collect::<Vec<_>>(), model.records.records().collect::<Vec<_>>());
    }

    /// Requests that wait and are joined are answered as if they had come in one batch.
    #[test]
    fn joined_batches_are_one(datagrams in prop::collection::vec(request(), 0..20), split in 0..20_usize) {
        let server = forgetful_server();
        let accept = |datagrams: &[Vec<u8>], ports: std::ops::RangeFrom<u16>| {
            let mut batch = Batch::new();
            for (datagram, port) in datagrams.iter().zip(ports) {
                let _ = batch.accept(&server, peer(port), datagram, now());
            }
            batch
        };
        let answer = |asked: Asked| {
            let mut answers = Vec::new();
            MemoryStore::new().execute(now(), asked.calls(), &mut answers);
            let answered = asked.resolve(&server, &answers);
            let replies: Vec<_> = answered.replies().map(|(peer, reply)| (*peer, reply.to_vec())).collect();
            (replies, answered.usage().map(|usage| usage.to_string()).collect::<Vec<_>>())
        };
        let split = split.min(datagrams.len());
        let (first, second) = datagrams.split_at(split);
        let mut rest = accept(second, 1000 + u16::try_from(split).unwrap()..);
        let mut joined = accept(first, 1000..).split(Batch::new());
        joined.join(&mut rest);
        prop_assert_eq!(rest.waiting(), 0);
        prop_assert_eq!(answer(joined), answer(accept(&datagrams, 1000..).split(Batch::new())));
    }

    /// Requests that are moved to another batch are answered as if they had come in it, and the others as if alone.
    #[test]
    fn a_parted_batch_is_two(
        datagrams in prop::collection::vec(request(), 0..20),
        moves in prop::collection::vec(any::<bool>(), 20),
        before in 0..3_usize,
    ) {
        let server = forgetful_server();
        let accept = |datagrams: &[(u16, &[u8])]| {
            let mut batch = Batch::new();
            for (port, datagram) in datagrams {
                let _ = batch.accept(&server, peer(*port), datagram, now());
            }
            batch.split(Batch::new())
        };
        let answer = |asked: Asked| {
            let peers: Vec<_> = asked.asking().map(|(peer, calls)| (*peer, calls.to_vec())).collect();
            let mut answers = Vec::new();
            MemoryStore::new().execute(now(), asked.calls(), &mut answers);
            let answered = asked.resolve(&server, &answers);
            let replies: Vec<_> = answered.replies().map(|(peer, reply)| (*peer, reply.to_vec())).collect();
            let usage: Vec<_> = answered.usage().map(|usage| usage.to_string()).collect();
            (peers, replies, usage, answered.internal_errors())
        };
        let waiting = (1000..).zip(datagrams.iter().map(Vec::as_slice));
        let waiting: Vec<_> = waiting.filter(|(_, datagram)| judged(datagram) == Some(true)).collect();
        let first = &waiting[..before.min(waiting.len())];
        let (mut kept, mut other) = (accept(&waiting), accept(first));
        let mut coins = moves.iter();
        let moved = kept.part(&mut other, |_| *coins.next().unwrap());
        let part = |goes| {
            let part = waiting.iter().zip(&moves).filter(move |(_, moves)| **moves == goes);
            part.map(|(datagram, _)| *datagram).collect::<Vec<_>>()
        };
        prop_assert_eq!(moved, part(true).len());
        prop_assert_eq!(answer(kept), answer(accept(&part(false))));
        prop_assert_eq!(answer(other), answer(accept(&[first, &part(true)].concat())));
    }

    #[test]
    fn no_reply_outweighs_three_requests_or_is_a_request(datagram in request(), cut in 0..600_usize) {
        let datagram = &datagram[..cut.min(datagram.len())];
        if let Some((_, reply, _)) = one_by_one(&mut Failing::new(&[]), &[(peer(1), datagram.to_vec())]).first() {
            prop_assert!(reply.len() + 28 <= 3 * (datagram.len() + 28));
            prop_assert!(reply.ends_with(b"\n\n"));
            prop_assert_eq!(judged(reply), None);
        }
    }
}

/// A request that the store has not answered must not be taken for a success, nor stay without a reply.
#[test]
fn a_missing_answer_is_an_internal_error_and_refuses_the_request() {
    let resolve = |answers: &[StoreAnswer]| {
        let digest = "0".repeat(40);
        let datagram = format!("Op: report\nOp-Digest: {digest}\nOp-Digest: {digest}\nPV: 2.1\n\n");
        let server = forgetful_server();
        let mut batch = Batch::new();
        batch.accept(&server, peer(9), datagram.as_bytes(), now()).unwrap();
        let answered = batch.ask().resolve(&server, answers);
        (answered.internal_errors(), common::only_reply(&answered), answered.counted().count())
    };
    let unavailable = b"Code: 500\nDiag: Internal Server Error: Database temporarily unavailable.\n";
    let record = Ok(pyzord_core::Record::default());
    for answers in [&[][..], &[record], &[record; 3]] {
        // A debug build panics, so that a test sees the bug.
        let resolved = std::panic::catch_unwind(|| resolve(answers));
        assert_eq!(resolved.is_err(), cfg!(debug_assertions));
        if let Ok((errors, reply, counted)) = resolved {
            let refused = answers.len() < 2;
            assert_eq!((errors, reply.starts_with(unavailable), counted == 0), (1, refused, refused));
        }
    }
}

#[test]
fn a_batch_that_was_not_executed_is_refused() {
    let server = forgetful_server();
    let mut batch = Batch::new();
    let digest = "0".repeat(40);
    for op in ["ping", "check"] {
        let datagram = format!("Op: {op}\nOp-Digest: {digest}\nPV: 2.1\n\n");
        batch.accept(&server, peer(9), datagram.as_bytes(), now()).unwrap();
    }
    let answered = batch.ask().fail(&server, StoreError::Unavailable);
    let codes: Vec<&[u8]> = answered.replies().map(|(_, reply)| &reply[..9]).collect();
    assert_eq!(codes, [b"Code: 200", b"Code: 500"]);
}
