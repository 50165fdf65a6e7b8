//! A batch is its requests one by one, whatever they are and however the store fails.

use std::net::SocketAddr;

use proptest::prelude::*;
use pyzord_core::{
    AccessOrder, Batch, HashedKey, HeaderBlock, MemoryStore, Now, Policy, Refusal, Step, Store, StoreAnswer,
    StoreCall, StoreError, Tick, UnixTime, accept,
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

/// A store that fails for some calls, and leaves out the last answers of a long trip.
#[derive(Clone)]
struct Failing<'a> {
    /// What becomes of each call, again from the start after the last.
    errors: &'a [Option<StoreError>],
    asked: usize,
    longest: usize,
    records: MemoryStore,
}

impl<'a> Failing<'a> {
    fn new(errors: &'a [Option<StoreError>], longest: usize) -> Self {
        Self { errors, asked: 0, longest, records: MemoryStore::new() }
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
        answers.truncate(self.longest);
        answers
    }
}

/// What one request comes to: the reply to whom, and why it was refused.
type Answer = (SocketAddr, Vec<u8>, Option<Refusal>);

/// The answers to the datagrams, each judged alone. The store's trip is theirs together: of its answers, each takes
/// what is left for it.
fn one_by_one(store: &mut Failing<'_>, datagrams: &[(SocketAddr, Vec<u8>)]) -> Vec<Answer> {
    let policy = policy();
    let steps = datagrams.iter().map(|(peer, datagram)| (*peer, accept(&policy, datagram, now().wall)));
    let steps: Vec<_> = steps.collect();
    let trip: Vec<StoreCall> = steps.iter().flat_map(|(_, step)| calls(step)).copied().collect();
    let trip = store.ask(&trip);
    let mut rest = &trip[..];
    let answer = |(peer, step)| {
        let own;
        (own, rest) = rest.split_at(calls(&step).len().min(rest.len()));
        let reply = match step {
            Step::Ignore(_) => return None,
            Step::Reply(reply) => reply,
            Step::Store(pending) => pending.resume(own),
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        Some((peer, out, reply.refusal()))
    };
    steps.into_iter().filter_map(answer).collect()
}

fn calls(step: &Step) -> &[StoreCall] {
    match step {
        Step::Store(pending) => pending.calls(),
        _ => &[],
    }
}

/// The answers of a batch, which is empty behind it.
fn flush(batch: &mut Batch, store: &mut Failing<'_>) -> Vec<Answer> {
    let answers = store.ask(batch.calls());
    batch.resolve(&answers);
    assert_eq!(batch.is_empty(), batch.replies().next().is_none());
    assert_eq!([batch.replies().count(), batch.usage().count()], [batch.len(); 2]);
    let answer = |((peer, reply), usage): ((_, &[u8]), pyzord_core::Usage<'_>)| {
        assert_eq!(usage.peer, peer);
        (peer, reply.to_vec(), usage.refusal)
    };
    let answers = batch.replies().zip(batch.usage()).map(answer).collect();
    batch.clear();
    assert!(batch.is_empty() && batch.calls().is_empty());
    answers
}

/// What happens to a pair of batches.
#[derive(Clone, Debug)]
enum Event {
    /// A datagram comes in, for whichever batch it belongs to.
    Apart(Vec<u8>),
    /// A datagram comes in, for the first batch.
    Together(Vec<u8>),
    Flush,
    FlushWaiting,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => request().prop_map(Event::Apart),
        4 => request().prop_map(Event::Together),
        1 => Just(Event::Flush),
        1 => Just(Event::FlushWaiting),
    ]
}

fn is_request(datagram: &[u8]) -> bool {
    !matches!(accept(&policy(), datagram, now().wall), Step::Ignore(_))
}

fn asks_store(datagram: &[u8]) -> bool {
    matches!(accept(&policy(), datagram, now().wall), Step::Store(_))
}

proptest! {
    #[test]
    fn batches_are_their_requests_one_by_one(
        events in prop::collection::vec(event(), 0..40),
        errors in prop::collection::vec(
            prop::option::weighted(0.2, prop::sample::select(vec![StoreError::Unavailable, StoreError::Unreadable])), 1..9),
        longest in prop_oneof![3 => Just(usize::MAX), 1 => 0..30_usize],
    ) {
        let mut model = Failing::new(&errors, longest);
        let mut store = model.clone();
        let (mut batch, mut waiting) = (Batch::new(), Batch::new());
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (event, port) in events.into_iter().chain([Event::Flush, Event::FlushWaiting]).zip(1000..) {
            let peer = SocketAddr::from(([192, 0, 2, 1], port));
            match event {
                Event::Apart(datagram) => {
                    let accepted =
                        batch.accept_apart(Some(&mut waiting), &policy(), peer, &datagram, now().wall);
                    prop_assert_eq!(accepted.is_ok(), is_request(&datagram));
                    if asks_store(&datagram) { &mut second } else { &mut first }.push((peer, datagram));
                }
                Event::Together(datagram) => {
                    let accepted = batch.accept(&policy(), peer, &datagram, now().wall);
                    prop_assert_eq!(accepted.is_ok(), is_request(&datagram));
                    first.push((peer, datagram));
                }
                Event::Flush => {
                    prop_assert_eq!(flush(&mut batch, &mut store), one_by_one(&mut model, &first));
                    first.clear();
                }
                Event::FlushWaiting => {
                    prop_assert_eq!(flush(&mut waiting, &mut store), one_by_one(&mut model, &second));
                    second.clear();
                }
            }
        }
        prop_assert_eq!(store.records.records().collect::<Vec<_>>(), model.records.records().collect::<Vec<_>>());
    }

    /// Requests that were judged apart and then wait together are answered as if they had come together.
    #[test]
    fn joined_batches_are_one(datagrams in prop::collection::vec(request(), 0..20), split in 0..20_usize) {
        let accept = |datagrams: &[Vec<u8>], ports: std::ops::RangeFrom<u16>| {
            let mut batch = Batch::new();
            for (datagram, port) in datagrams.iter().zip(ports) {
                let _ = batch.accept(&policy(), SocketAddr::from(([192, 0, 2, 1], port)), datagram, now().wall);
            }
            batch
        };
        let answer = |batch: &mut Batch| {
            let mut answers = Vec::new();
            MemoryStore::new().execute(now(), batch.calls(), &mut answers);
            batch.resolve(&answers);
            let replies: Vec<_> = batch.replies().map(|(peer, reply)| (peer, reply.to_vec())).collect();
            (replies, batch.usage().map(|usage| usage.to_string()).collect::<Vec<_>>())
        };
        let split = split.min(datagrams.len());
        let (first, second) = datagrams.split_at(split);
        let (mut joined, mut rest) = (accept(first, 1000..), accept(second, 1000 + u16::try_from(split).unwrap()..));
        joined.append(&mut rest);
        prop_assert!(rest.is_empty() && rest.calls().is_empty());
        prop_assert_eq!(answer(&mut joined), answer(&mut accept(&datagrams, 1000..)));
    }

    #[test]
    fn no_reply_outweighs_three_requests_or_is_a_request(datagram in request(), cut in 0..600_usize) {
        let datagram = &datagram[..cut.min(datagram.len())];
        let mut store = Failing::new(&[], usize::MAX);
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        if let Some((_, reply, _)) = one_by_one(&mut store, &[(peer, datagram.to_vec())]).first() {
            prop_assert!(reply.len() + 28 <= 3 * (datagram.len() + 28));
            prop_assert!(reply.ends_with(b"\n\n"));
            prop_assert!(matches!(accept(&policy(), reply, now().wall), Step::Ignore(_)));
        }
    }
}

#[test]
fn answers_that_a_store_left_out_count_as_unavailable() {
    let mut batch = Batch::new();
    let digest = "0".repeat(40);
    let datagram = format!("Op: check\nOp-Digest: {digest}\nPV: 2.1\n\n");
    batch.accept(&policy(), "192.0.2.1:9".parse().unwrap(), datagram.as_bytes(), now().wall).unwrap();
    batch.resolve(&[]);
    let (_, reply) = batch.replies().next().unwrap();
    assert!(
        reply.starts_with(b"Code: 500\nDiag: Internal Server Error: Database temporarily unavailable.\n")
    );
}
