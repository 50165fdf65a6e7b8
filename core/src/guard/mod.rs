//! What a server remembers of earlier requests to protect itself and its counts: how much each network sent, and which
//! signed counts were seen. All of it has a fixed size.

mod buckets;
mod copies;
mod limits;
mod lists;
mod lock;
mod networks;
mod places;
mod signed_count;
mod table;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::hash::Hasher as _;
use core::mem;
use core::net::IpAddr;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

use crate::ignored::Ignored;
use crate::protocol::digest::Digest;
use crate::store::{StoreAnswer, StoreCall};
use crate::time::Tick;
use buckets::{Buckets, Verdict};
use copies::{Copies, Hashes};
pub use limits::{Limits, Rate};
pub use lock::Lock;
use networks::Networks;
pub(crate) use places::Places;
pub(crate) use signed_count::Seen;

/// Exceeded limits that are kept for the log between two calls of [`Guard::take_exceeded`]: a flood must not fill the log.
const MOST_REPORTS: usize = 8;

/// The limits of a server, and what it remembers of earlier requests. All workers of a server share one guard.
///
/// The limits are read without the lock. The memory behind the lock `L` is used only for wrong signatures, signed
/// counts, and networks with a rate limit.
#[derive(Debug)]
pub struct Guard<L = RefCell<GuardMemory>> {
    limits: Limits,
    allowed: Networks,
    denied: Networks,
    unlimited: Networks,
    /// Hashes networks, signatures and accounts with a secret, so that no sender can choose some that share a slot.
    hasher: SipHasher13,
    memory: Arc<L>,
}

/// What a [`Guard`] remembers of earlier requests; the lock of the embedding program holds it.
#[derive(Clone, Debug)]
pub struct GuardMemory {
    requests: Buckets<Sender>,
    failures: Buckets<Sender>,
    copies: Copies,
    exceeded: Vec<LimitExceeded>,
}

/// A sender to which a limit applies: a network, or all peers whose transport has no addresses.
type Sender = Option<IpNet>;

/// A limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Limit {
    Requests,
    Failures,
}

/// A network has exceeded one of its limits. It is one line of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitExceeded {
    sender: Sender,
    rate: Rate,
    limit: Limit,
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sender {
            Some(network) => write!(f, "{network}")?,
            None => f.write_str("a peer without an address")?,
        }
        let what = match self.limit {
            Limit::Requests => "requests or digests",
            Limit::Failures => "wrong signatures",
        };
        write!(f, " has sent more than {} {what} a second; those beyond are dropped", self.rate.per_second)
    }
}

impl<L: Lock<GuardMemory>> Guard<L> {
    /// Returns a guard that has seen nothing. `secret` is 16 random bytes, so that no sender can choose networks or
    /// signatures that push each other out of the memory; the example `udp` shows how to get them.
    #[must_use]
    pub fn new(limits: Limits, secret: [u8; 16]) -> Self {
        let memory = GuardMemory {
            requests: Buckets::new(limits.requests),
            failures: Buckets::new(limits.failures),
            copies: Copies::new(limits.signed_counts),
            exceeded: Vec::new(),
        };
        Self::with_memory(limits, SipHasher13::new_with_key(&secret), Arc::new(L::new(memory)))
    }

    /// Returns the network of an address for which limits count, by the prefix lengths of the [`Limits`].
    #[must_use]
    pub fn network(&self, peer: IpAddr) -> IpNet {
        self.limits.network(peer.to_canonical())
    }

    /// Takes the limits that were exceeded since the last call: each network at most once a minute, and a few at most.
    #[must_use]
    pub fn take_exceeded(&self) -> Vec<LimitExceeded> {
        self.memory.with(|memory| mem::take(&mut memory.exceeded))
    }

    /// Checks whether a datagram of this sender is read.
    pub(crate) fn admit(&self, peer: Option<IpAddr>, now: Tick) -> Result<(), Ignored> {
        // Most servers serve all networks without a limit.
        if self.limits.requests.is_none() && self.allowed.is_empty() && self.denied.is_empty() {
            return Ok(());
        }
        let peer = peer.map(|peer| peer.to_canonical());
        if peer.is_some_and(|peer| !self.serves(peer)) {
            return Err(Ignored::DeniedNetwork);
        }
        self.within(Limit::Requests, peer, now, Buckets::take)
    }

    /// Checks whether the digests of a request, beyond the first, are within the limit of a sender that was admitted.
    pub(crate) fn admit_digests(
        &self,
        peer: Option<IpAddr>,
        digests: usize,
        now: Tick,
    ) -> Result<(), Ignored> {
        if self.limits.requests.is_none() || digests < 2 {
            return Ok(());
        }
        let more = u32::try_from(digests - 1).unwrap_or(u32::MAX);
        let take =
            |buckets: &mut Buckets<Sender>, hash, sender, now| buckets.take_more(hash, sender, more, now);
        self.within(Limit::Requests, peer.map(|peer| peer.to_canonical()), now, take)
    }

    /// Checks whether a wrong signature of this sender is answered.
    pub(crate) fn answer_failure(&self, peer: Option<IpAddr>, now: Tick) -> Result<(), Ignored> {
        self.within(Limit::Failures, peer.map(|peer| peer.to_canonical()), now, Buckets::take)
    }

    /// Whether signed counts are remembered.
    pub(crate) const fn remembers(&self) -> bool {
        self.limits.signed_counts > 0
    }

    /// Returns what is known of a count of so many digests that this account has signed. The signature is valid.
    pub(crate) fn look(&self, account: &[u8], signature: Digest, digests: usize, now: Tick) -> Seen {
        // No request has more digests.
        let digests = u8::try_from(digests).unwrap_or(u8::MAX);
        let hashes = Hashes { signature: self.hash(signature.as_bytes()), account: self.hash(account) };
        self.memory.with(|memory| memory.copies.look(signature, hashes, digests, now))
    }

    /// Records the store's answers to the counts of a signed request, each with the place of its digest. Returns whether
    /// it is certain that all of its digests are counted.
    pub(crate) fn settle(&self, signature: Digest, answers: impl Iterator<Item = (u8, StoreAnswer)>) -> bool {
        let hash = self.hash(signature.as_bytes());
        self.memory.with(|memory| memory.copies.settle(signature, hash, answers))
    }

    /// Records what became of calls whose requests were failed with [`StoreError::Unknown`](crate::StoreError::Unknown)
    /// while the store still worked on them.
    pub(crate) fn settle_late(&self, calls: &[StoreCall], answers: &[StoreAnswer]) {
        let marked = calls.iter().zip(answers).filter_map(|(call, answer)| Some((call.mark?, *answer)));
        for (mark, answer) in marked {
            let hash = self.hash(mark.signature.as_bytes());
            self.memory.with(|memory| memory.copies.settle_late(mark, hash, answer));
        }
    }

    fn within(
        &self,
        limit: Limit,
        peer: Option<IpAddr>,
        now: Tick,
        take: impl FnOnce(&mut Buckets<Sender>, u64, Sender, Tick) -> Verdict,
    ) -> Result<(), Ignored> {
        let Some(rate) = self.limits.rate(limit) else { return Ok(()) };
        if peer.is_some_and(|peer| self.unlimited.contains(peer)) {
            return Ok(());
        }
        let sender = peer.map(|peer| self.limits.network(peer));
        let hash = match sender.map(|network| network.addr()) {
            None => self.hash(&[]),
            Some(IpAddr::V4(address)) => self.hash(&address.octets()),
            Some(IpAddr::V6(address)) => self.hash(&address.octets()),
        };
        let verdict = self.memory.with(|memory| {
            let verdict = take(memory.buckets(limit), hash, sender, now);
            if verdict == (Verdict::Over { report: true }) && memory.exceeded.len() < MOST_REPORTS {
                memory.exceeded.push(LimitExceeded { sender, rate, limit });
            }
            verdict
        });
        match (verdict, limit) {
            (Verdict::Within, _) => Ok(()),
            (Verdict::Over { .. }, Limit::Requests) => Err(Ignored::TooManyRequests),
            (Verdict::Over { .. }, Limit::Failures) => Err(Ignored::TooManyFailures),
        }
    }

    fn serves(&self, peer: IpAddr) -> bool {
        (self.allowed.is_empty() || self.allowed.contains(peer)) && !self.denied.contains(peer)
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(bytes);
        hasher.finish()
    }
}

impl<L: Lock<GuardMemory>> Guard<L> {
    /// Returns a guard with other limits that shares the memory of this one. No signed count is forgotten: their number is
    /// part of the memory, and stays. A rate that has changed begins anew: a network that has used up a slow rate must
    /// not wait for it under a faster one.
    pub(crate) fn with_limits(&self, limits: Limits) -> Self {
        let limits = Limits { signed_counts: self.limits.signed_counts, ..limits };
        for limit in [Limit::Requests, Limit::Failures] {
            if self.limits.rate(limit) != limits.rate(limit) {
                let fresh = Buckets::new(limits.rate(limit));
                // The old ones are freed here, where no request waits for the lock.
                drop(self.memory.with(|memory| mem::replace(memory.buckets(limit), fresh)));
            }
        }
        Self::with_memory(limits, self.hasher, Arc::clone(&self.memory))
    }
}

impl<L> Guard<L> {
    fn with_memory(limits: Limits, hasher: SipHasher13, memory: Arc<L>) -> Self {
        Self {
            allowed: Networks::new(&limits.allowed),
            denied: Networks::new(&limits.denied),
            unlimited: Networks::new(&limits.unlimited),
            limits,
            hasher,
            memory,
        }
    }
}

impl Limits {
    const fn rate(&self, limit: Limit) -> Option<Rate> {
        match limit {
            Limit::Requests => self.requests,
            Limit::Failures => self.failures,
        }
    }
}

impl GuardMemory {
    fn buckets(&mut self, limit: Limit) -> &mut Buckets<Sender> {
        match limit {
            Limit::Requests => &mut self.requests,
            Limit::Failures => &mut self.failures,
        }
    }
}
