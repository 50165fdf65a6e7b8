use std::net::SocketAddr;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{
    Asked, Batch, MemoryStore, Now, Server, Store, StoreAnswer, StoreCall, StoreError, Tick, UnixTime,
};

use crate::one_request::{OneRequest, forgetful_server};
use crate::peer::{Datagram, Rules};

const NOW: i64 = 1_700_000_000;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    rules: Rules,
    /// After how many datagrams a batch ends.
    size: u8,
    /// Which calls fail, one bit each, over and over.
    faults: u16,
    datagrams: Vec<Datagram<'a>>,
}

/// A batch answers and stores what its requests do in batches of one, however the store fails. The same holds when the
/// requests that wait for the store are split off, in one batch or in several that are joined.
pub fn batch(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let server = &forgetful_server(input.rules.policy());
    let datagrams: Vec<Vec<u8>> = input.datagrams.iter().map(|datagram| datagram.bytes(NOW)).collect();
    let datagrams = numbered(&datagrams);
    let size = usize::from(input.size).max(1);
    let mut model = Failing::new(input.faults);
    let expected = one_by_one(server, &mut model, &datagrams);
    let (ready, waiting): (Vec<Judged>, Vec<Judged>) = expected.iter().cloned().partition(|judged| !judged.waits);

    for way in [in_batches, split_off, joined] {
        let mut store = Failing::new(input.faults);
        let (first, rest) = way(server, &mut store, &datagrams, size);
        if rest.is_empty() {
            let batches = expected.chunk_by(|one, other| one.number / size == other.number / size);
            let in_order = batches.flat_map(|batch| {
                let set = |waits| batch.iter().filter(move |judged| judged.waits == waits);
                set(false).chain(set(true)).map(Judged::answer)
            });
            assert_eq!(first, in_order.collect::<Vec<_>>());
        } else {
            assert_eq!(first, ready.iter().map(Judged::answer).collect::<Vec<_>>());
            assert_eq!(rest, waiting.iter().map(Judged::answer).collect::<Vec<_>>());
        }
        assert!(store.records.records().eq(model.records.records()));
    }
}

type Numbered<'a> = (SocketAddr, &'a [u8]);
type Answer = (SocketAddr, Vec<u8>);

/// A request in a batch of one.
#[derive(Clone, Debug)]
struct Judged {
    /// The number of its datagram, from 0.
    number: usize,
    /// Whether it waits for the store.
    waits: bool,
    peer: SocketAddr,
    reply: Vec<u8>,
}

impl Judged {
    fn answer(&self) -> Answer {
        (self.peer, self.reply.clone())
    }
}

fn now() -> Now {
    Now { wall: UnixTime::from_seconds(NOW), tick: Tick::default() }
}

/// Each datagram with a peer of its own.
fn numbered(datagrams: &[Vec<u8>]) -> Vec<Numbered<'_>> {
    let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
    (1..).map(peer).zip(datagrams.iter().map(Vec::as_slice)).collect()
}

fn one_by_one(server: &Server, store: &mut Failing, datagrams: &[Numbered<'_>]) -> Vec<Judged> {
    let judge = |(number, (peer, datagram)): (usize, &Numbered<'_>)| {
        let request = OneRequest::accept(server, datagram, now().wall).ok()?;
        let waits = !request.calls().is_empty();
        let answers = store.ask(request.calls());
        Some(Judged { number, waits, peer: *peer, reply: request.resolve(&answers).0 })
    };
    datagrams.iter().enumerate().filter_map(judge).collect()
}

/// All requests, in batches of `size` datagrams.
fn in_batches(
    server: &Server,
    store: &mut Failing,
    datagrams: &[Numbered<'_>],
    size: usize,
) -> (Vec<Answer>, Vec<Answer>) {
    let (mut answers, mut batch) = (Vec::new(), Batch::new());
    for some in datagrams.chunks(size) {
        accept(server, &mut batch, some);
        batch = answer(server, batch.ask(), store, &mut answers);
    }
    (answers, Vec::new())
}

/// The requests that need no store, and those that were split off, all in one batch.
fn split_off(
    server: &Server,
    store: &mut Failing,
    datagrams: &[Numbered<'_>],
    _size: usize,
) -> (Vec<Answer>, Vec<Answer>) {
    let mut batch = Batch::new();
    accept(server, &mut batch, datagrams);
    let waiting = batch.split(Batch::new());
    assert!(batch.calls().is_empty() && batch.waiting() == 0);
    let (mut ready, mut rest) = (Vec::new(), Vec::new());
    answer(server, batch.ask(), store, &mut ready);
    answer(server, waiting, store, &mut rest);
    (ready, rest)
}

/// The requests that need no store, and those of batches of `size` datagrams that were joined.
fn joined(
    server: &Server,
    store: &mut Failing,
    datagrams: &[Numbered<'_>],
    size: usize,
) -> (Vec<Answer>, Vec<Answer>) {
    let (mut batch, mut waiting) = (Batch::new(), Batch::new().ask());
    let (mut ready, mut rest) = (Vec::new(), Vec::new());
    for some in datagrams.chunks(size) {
        accept(server, &mut batch, some);
        let (before, joining) = (waiting.len(), batch.waiting());
        waiting.join(&mut batch);
        assert_eq!((batch.waiting(), waiting.len()), (0, before + joining));
        assert!(batch.calls().is_empty());
        batch = answer(server, batch.ask(), store, &mut ready);
    }
    answer(server, waiting, store, &mut rest);
    (ready, rest)
}

fn accept(server: &Server, batch: &mut Batch, datagrams: &[Numbered<'_>]) {
    for (peer, datagram) in datagrams {
        let before = (batch.len(), batch.calls().len());
        match batch.accept(server, *peer, datagram, now()) {
            Ok(()) => assert_eq!(batch.len(), before.0 + 1),
            Err(_) => assert_eq!((batch.len(), batch.calls().len()), before, "the batch has changed"),
        }
    }
}

/// Adds the answers to a batch to `answers`, and returns its buffers.
fn answer(server: &Server, asked: Asked, store: &mut Failing, answers: &mut Vec<Answer>) -> Batch {
    let requests = asked.len();
    let stored = store.ask(asked.calls());
    let answered = asked.resolve(server, &stored);
    assert_eq!((answered.replies().count(), answered.usage().count()), (requests, requests));
    answers.extend(answered.replies().map(|(peer, reply)| (*peer, reply.to_vec())));
    assert!(answered.replies().map(|(peer, _)| peer).eq(answered.usage().map(|usage| usage.peer)));
    assert_eq!(answered.internal_errors(), 0);
    let batch = answered.clear();
    assert!(batch.is_empty() && batch.calls().is_empty());
    batch
}

/// A store that fails for some calls.
struct Failing {
    records: MemoryStore,
    faults: u16,
}

impl Failing {
    fn new(faults: u16) -> Self {
        Self { records: MemoryStore::new(), faults }
    }

    /// Answers every call.
    fn ask(&mut self, calls: &[StoreCall]) -> Vec<StoreAnswer> {
        let mut answers = Vec::new();
        for call in calls {
            self.faults = self.faults.rotate_right(1);
            if self.faults & 1 == 1 {
                answers.push(Err(StoreError::Unavailable));
            } else {
                self.records.execute(now(), &[*call], &mut answers);
            }
        }
        answers
    }
}
