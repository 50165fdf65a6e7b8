use std::net::SocketAddr;

use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{
    Batch, MemoryStore, Now, Policy, Step, Store, StoreAnswer, StoreCall, StoreError, Tick, UnixTime, accept,
};

use crate::peer::{Datagram, Rules};

const NOW: i64 = 1_700_000_000;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    rules: Rules,
    /// Datagrams per batch.
    size: u8,
    /// The calls that fail, one bit each, repeated.
    faults: u16,
    datagrams: Vec<Datagram<'a>>,
}

/// A batch gives the same replies and records as its requests one by one, for any failures of the store, and with the
/// requests that ask the store in a separate batch too.
pub fn batch(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let policy = input.rules.policy();
    let datagrams: Vec<Vec<u8>> = input.datagrams.iter().map(|datagram| datagram.bytes(NOW)).collect();
    let mut model = FailingStore::new(input.faults);
    let expected = one_by_one(&policy, &mut model, &datagrams);

    let mut store = FailingStore::new(input.faults);
    let (mut answered, mut batch) = (Vec::new(), Batch::new());
    for some in numbered(&datagrams).chunks(usize::from(input.size).max(1)) {
        for (peer, datagram) in some {
            let _ = batch.accept(&policy, *peer, datagram, now().wall);
        }
        answered.extend(resolve(&mut batch, &mut store));
    }
    assert_eq!(answered, expected);
    assert!(store.records.records().eq(model.records.records()));

    let mut store = FailingStore::new(input.faults);
    let (mut waiting, mut batch) = (Batch::new(), Batch::new());
    for (peer, datagram) in numbered(&datagrams) {
        let _ = batch.accept_apart(Some(&mut waiting), &policy, peer, datagram, now().wall);
    }
    assert!(batch.calls().is_empty());
    let mut answered = resolve(&mut batch, &mut store);
    answered.extend(resolve(&mut waiting, &mut store));
    answered.sort_unstable();
    assert_eq!(answered, expected);
}

type Answered = (SocketAddr, Vec<u8>);

fn now() -> Now {
    Now { wall: UnixTime::from_seconds(NOW), tick: Tick::default() }
}

/// Returns each datagram with its own peer.
fn numbered(datagrams: &[Vec<u8>]) -> Vec<(SocketAddr, &[u8])> {
    let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
    (1..).map(peer).zip(datagrams.iter().map(Vec::as_slice)).collect()
}

fn one_by_one(policy: &Policy, store: &mut FailingStore, datagrams: &[Vec<u8>]) -> Vec<Answered> {
    let mut answered = Vec::new();
    for (peer, datagram) in numbered(datagrams) {
        let reply = match accept(policy, datagram, now().wall) {
            Step::Ignore(_) => continue,
            Step::Reply(reply) => reply,
            Step::Store(pending) => {
                let answers = store.ask(pending.calls());
                pending.resume(&answers)
            }
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        answered.push((peer, out));
    }
    answered
}

fn resolve(batch: &mut Batch, store: &mut FailingStore) -> Vec<Answered> {
    let answers = store.ask(batch.calls());
    batch.resolve(&answers);
    let answered: Vec<Answered> = batch.replies().map(|(peer, reply)| (peer, reply.to_vec())).collect();
    assert_eq!((answered.len(), batch.usage().count()), (batch.len(), batch.len()));
    batch.clear();
    answered
}

/// A store that fails for some calls.
struct FailingStore {
    records: MemoryStore,
    faults: u16,
}

impl FailingStore {
    fn new(faults: u16) -> Self {
        Self { records: MemoryStore::new(), faults }
    }

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
