//! What a server remembers of earlier requests to protect itself and its counts: how much each network sent, and which
//! signed counts were seen. All of it has a fixed size.

mod buckets;
mod copies;
mod limits;
mod lock;
mod places;
mod table;

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::hash::Hasher as _;
use core::net::IpAddr;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

use crate::ignored::Ignored;
use crate::protocol::digest::Digest;
use crate::store::{StoreAnswer, StoreCall};
use crate::time::Tick;
use buckets::{Buckets, Verdict};
use copies::Copies;
pub(crate) use copies::Seen;
pub use limits::{Limits, Rate};
pub use lock::Lock;
pub(crate) use places::Places;

/// Exceeded limits that are kept for the log between two calls of [`Guard::take_exceeded`]: a flood must not fill the log.
const MOST_REPORTS: usize = 8;

/// The limits of a server, and what it remembers of earlier requests. All workers of a server share one guard.
///
/// The limits are read without the lock. The memory behind the lock `L` is used only for wrong signatures, signed
/// counts, and networks with a rate limit.
#[derive(Debug)]
pub struct Guard<L = RefCell<GuardMemory>> {
    limits: Limits,
    /// Hashes networks with a secret, so that a sender cannot choose networks that share a slot.
    hasher: SipHasher13,
    memory: L,
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
            Limit::Requests => "requests",
            Limit::Failures => "wrong signatures",
        };
        write!(f, " has sent more than {} {what} a second; those beyond are dropped", self.rate.per_second)
    }
}

impl<L: Lock<GuardMemory>> Guard<L> {
    /// Returns a guard that has seen nothing. `secret` is 16 random bytes, so that no sender can choose networks that
    /// push each other out of the memory; the example `udp` shows how to get them.
    #[must_use]
    pub fn new(limits: Limits, secret: [u8; 16]) -> Self {
        let limits = limits.canonical();
        let memory = GuardMemory {
            requests: Buckets::new(limits.requests),
            failures: Buckets::new(limits.failures),
            copies: Copies::new(limits.signed_counts),
            exceeded: Vec::new(),
        };
        Self { limits, hasher: SipHasher13::new_with_key(&secret), memory: L::new(memory) }
    }

    /// Takes the limits that were exceeded since the last call: each network at most once a minute, and a few at most.
    #[must_use]
    pub fn take_exceeded(&self) -> Vec<LimitExceeded> {
        self.memory.with(|memory| core::mem::take(&mut memory.exceeded))
    }

    /// Checks whether a datagram of this sender is read.
    pub(crate) fn admit(&self, peer: Option<IpAddr>, now: Tick) -> Result<(), Ignored> {
        if !self.limits.judge_senders() {
            return Ok(());
        }
        let peer = peer.map(|peer| peer.to_canonical());
        if peer.is_some_and(|peer| !self.limits.serves(peer)) {
            return Err(Ignored::DeniedNetwork);
        }
        self.within(Limit::Requests, peer, now)
    }

    /// Checks whether a wrong signature of this sender is answered.
    pub(crate) fn answer_failure(&self, peer: Option<IpAddr>, now: Tick) -> Result<(), Ignored> {
        self.within(Limit::Failures, peer.map(|peer| peer.to_canonical()), now)
    }

    /// Whether signed counts are remembered.
    pub(crate) const fn remembers(&self) -> bool {
        self.limits.signed_counts > 0
    }

    /// Returns what is known of a count of so many digests with this valid signature.
    pub(crate) fn look(&self, signature: Digest, digests: usize, now: Tick) -> Seen {
        // No request has more digests.
        let digests = u8::try_from(digests).unwrap_or(u8::MAX);
        self.memory.with(|memory| memory.copies.look(signature, digests, now))
    }

    /// Records the store's answers to the counts of a signed request, each with the place of its digest. Returns whether
    /// it is certain that all of its digests are counted.
    pub(crate) fn settle(&self, signature: Digest, answers: impl Iterator<Item = (u8, StoreAnswer)>) -> bool {
        self.memory.with(|memory| memory.copies.settle(signature, answers))
    }

    /// Records what became of calls whose requests were [failed](crate::Asked::fail) with [`StoreError::Unknown`](crate::StoreError::Unknown) while
    /// the store still worked on them: call it once, when the store has answered. Until then, and without this, no copy of
    /// such a request counts.
    pub fn settle_late(&self, calls: &[StoreCall], answers: &[StoreAnswer]) {
        let marked = calls.iter().zip(answers).filter_map(|(call, answer)| Some((call.mark?, *answer)));
        for (mark, answer) in marked {
            self.memory.with(|memory| memory.copies.settle_late(mark, answer));
        }
    }

    fn within(&self, limit: Limit, peer: Option<IpAddr>, now: Tick) -> Result<(), Ignored> {
        let (rate, over) = match limit {
            Limit::Requests => (self.limits.requests, Ignored::TooManyRequests),
            Limit::Failures => (self.limits.failures, Ignored::TooManyFailures),
        };
        let Some(rate) = rate else { return Ok(()) };
        if peer.is_some_and(|peer| !self.limits.limits(peer)) {
            return Ok(());
        }
        let sender = peer.map(|peer| self.limits.network(peer));
        let hash = self.hash(sender);
        let verdict = self.memory.with(|memory| {
            let verdict = memory.buckets(limit).take(hash, sender, now);
            if verdict == (Verdict::Over { report: true }) && memory.exceeded.len() < MOST_REPORTS {
                memory.exceeded.push(LimitExceeded { sender, rate, limit });
            }
            verdict
        });
        if verdict == Verdict::Within { Ok(()) } else { Err(over) }
    }

    fn hash(&self, sender: Sender) -> u64 {
        let mut hasher = self.hasher;
        match sender.map(|network| network.addr()) {
            None => hasher.write_u8(0),
            Some(IpAddr::V4(address)) => hasher.write(&address.octets()),
            Some(IpAddr::V6(address)) => hasher.write(&address.octets()),
        }
        hasher.finish()
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
