//! What large requests mention, as hashes of their sender and each of their digests.
//!
//! Two requests of one sender that mention the same digest keep their order. The digests of a large request are read for
//! this before it is judged: its sender may be forged, so that only the same address may have to wait for it. Clients
//! choose digests, so that hashes have a secret; equal ones of different digests cost a wait and nothing else.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use pyzord_core::{Digest, IpNet, Request, StoreCall};

/// Counters of senders: eight for each large request that can wait.
const SENDERS: usize = 1024;
/// Bits in which a batch is looked for.
const BITS: usize = 4096;

/// The sender of a request and its digests.
#[derive(Clone, Default, Debug)]
pub(crate) struct Mentions {
    pub(crate) sender: u64,
    pub(crate) digests: Vec<u64>,
}

/// The senders of large requests that are not yet done: workers look here without a lock.
#[derive(Debug)]
pub(crate) struct Senders {
    hasher: RandomState,
    total: AtomicU32,
    /// By hash: some senders share a counter.
    counts: [AtomicU32; SENDERS],
}

impl Senders {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            total: AtomicU32::new(0),
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Whether no sender has a large request.
    pub(crate) fn is_empty(&self) -> bool {
        self.total.load(Ordering::Acquire) == 0
    }

    /// Whether this sender may have a large request.
    pub(crate) fn may_have(&self, sender: u64) -> bool {
        self.count(sender).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    /// Adds a large request. Only one thread at a time adds or removes.
    pub(crate) fn add(&self, sender: u64) {
        for count in self.count(sender).into_iter().chain([&self.total]) {
            count.fetch_add(1, Ordering::Release);
        }
    }

    /// Removes a large request that was added.
    pub(crate) fn remove(&self, sender: u64) {
        for count in self.count(sender).into_iter().chain([&self.total]) {
            count.fetch_sub(1, Ordering::Release);
        }
    }

    /// Returns the hash of a sender.
    pub(crate) fn hash(&self, sender: IpNet) -> u64 {
        self.hasher.hash_one(sender)
    }

    /// Reads what a datagram mentions.
    pub(crate) fn read(&self, sender: u64, datagram: &[u8], mentions: &mut Mentions) {
        mentions.sender = sender;
        mentions.digests.clear();
        let Some(request) = Request::parse(datagram) else { return };
        let digests = request.digests().filter_map(Digest::parse);
        mentions.digests.extend(digests.map(|digest| self.mention(sender, &digest)));
    }

    /// Whether one of these calls may be about a digest that is mentioned, if they have the same sender.
    pub(crate) fn may_share(&self, mentions: &Mentions, calls: &[StoreCall]) -> bool {
        if calls.is_empty() || mentions.digests.is_empty() {
            return false;
        }
        let mut bits = [false; BITS];
        let bit = |mention| place(mention, BITS);
        mentions
            .digests
            .iter()
            .for_each(|mention| bits.get_mut(bit(*mention)).into_iter().for_each(|bit| *bit = true));
        let is_mentioned =
            |call: &StoreCall| bits.get(bit(self.mention(mentions.sender, &call.digest))) == Some(&true);
        calls.iter().any(is_mentioned)
    }

    fn mention(&self, sender: u64, digest: &Digest) -> u64 {
        self.hasher.hash_one((sender, digest))
    }

    fn count(&self, sender: u64) -> Option<&AtomicU32> {
        self.counts.get(place(sender, SENDERS))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "any part of a hash is a hash")]
const fn place(hash: u64, places: usize) -> usize {
    hash as usize % places
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::StoreOp;

    const DIGEST: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    fn mentions(senders: &Senders, sender: &str, datagram: &str) -> Mentions {
        let mut mentions = Mentions::default();
        senders.read(senders.hash(sender.parse().unwrap()), datagram.as_bytes(), &mut mentions);
        mentions
    }

    #[test]
    fn a_digest_is_known_in_either_case_and_for_its_sender_alone() {
        let senders = Senders::new();
        let request = |digest: &str| format!("Op: check\nop-digest: {digest}\nOp-Digest: bad\n\n");
        let one = mentions(&senders, "192.0.2.1/32", &request(DIGEST));
        assert_eq!(one.digests.len(), 1);
        assert_eq!(one.digests, mentions(&senders, "192.0.2.1/32", &request(&DIGEST.to_uppercase())).digests);
        assert_ne!(one.digests, mentions(&senders, "192.0.2.2/32", &request(DIGEST)).digests);
        assert!(mentions(&senders, "192.0.2.1/32", "no request").digests.is_empty());
        let call = |digest| StoreCall::new(digest, StoreOp::Read);
        let known = call(Digest::parse(DIGEST.as_bytes()).unwrap());
        let others: Vec<_> = (0..9).map(|number| call(Digest::new([number; 20]))).collect();
        assert!(senders.may_share(&one, &[&others[..], &[known]].concat()));
        assert!((0..9).filter(|index| senders.may_share(&one, &others[*index..=*index])).count() < 5);
        assert!(!senders.may_share(&one, &[]));
    }

    #[test]
    fn a_sender_is_known_until_all_its_requests_are_removed() {
        let senders = Senders::new();
        assert!(senders.is_empty() && !senders.may_have(7));
        senders.add(7);
        senders.add(7);
        senders.remove(7);
        assert!(!senders.is_empty() && senders.may_have(7) && !senders.may_have(8));
        senders.remove(7);
        assert!(senders.is_empty() && !senders.may_have(7));
    }
}
