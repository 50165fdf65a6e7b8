//! A batch is its requests one by one, whatever they are and however the store fails.

use std::net::SocketAddr;

use proptest::prelude::*;
use pyzord_core::{
    AccessOrder, Batch, HashedKey, HeaderBlock, MemoryStore, Now, Policy, Step, Store, StoreAnswer,
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

/// A store that has no answer for some calls, and sometimes too few answers.
struct Failing<'a>(&'a [Option<StoreError>], MemoryStore, usize);

impl Failing<'_> {
    fn ask(&mut self, calls: &[StoreCall]) -> Vec<StoreAnswer> {
        let mut answers = Vec::new();
        for call in calls {
            let error = self.0.get(self.2 % self.0.len().max(1)).copied().flatten();
            self.2 += 1;
            match error {
                Some(error) => answers.push(Err(error)),
                None => self.1.execute(now(), &[*call], &mut answers),
            }
        }
        answers
    }
}

fn one_by_one(store: &mut Failing<'_>, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let policy = policy();
    let answer = |datagram: &Vec<u8>| {
        let reply = match accept(&policy, datagram, now().wall) {
            Step::Ignore(_) => return None,
            Step::Reply(reply) => reply,
            Step::Store(pending) => {
                let answers = store.ask(pending.calls());
                pending.resume(&answers)
            }
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        Some(out)
    };
    datagrams.iter().filter_map(answer).collect()
}

proptest! {
    #[test]
    fn a_batch_is_its_requests_one_by_one(
        datagrams in prop::collection::vec(request(), 0..20),
        split in 1..20_usize,
        errors in prop::collection::vec(
            prop::option::weighted(0.2, prop::sample::select(vec![StoreError::Unavailable, StoreError::Unreadable])), 1..9),
    ) {
        let mut model = Failing(&errors, MemoryStore::new(), 0);
        let expected = one_by_one(&mut model, &datagrams);
        let mut store = Failing(&errors, MemoryStore::new(), 0);
        let mut batch = Batch::new();
        let mut replies = Vec::new();
        for chunk in datagrams.chunks(split) {
            for (datagram, port) in chunk.iter().zip(1000..) {
                let _ = batch.accept(&policy(), SocketAddr::from(([192, 0, 2, 1], port)), datagram, now().wall);
            }
            let answers = store.ask(batch.calls());
            batch.resolve(&answers);
            prop_assert_eq!(batch.replies().count(), batch.len());
            prop_assert_eq!(batch.usage().count(), batch.len());
            replies.extend(batch.replies().map(|(_, reply)| reply.to_vec()));
            batch.clear();
        }
        prop_assert_eq!(replies, expected);
        prop_assert_eq!(store.1.records().collect::<Vec<_>>(), model.1.records().collect::<Vec<_>>());
    }

    #[test]
    fn no_reply_outweighs_three_requests_or_is_a_request(datagram in request(), cut in 0..600_usize) {
        let datagram = &datagram[..cut.min(datagram.len())];
        if let Some(reply) = one_by_one(&mut Failing(&[], MemoryStore::new(), 0), &[datagram.to_vec()]).first() {
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
