//! What the server remembers of earlier requests, to protect itself and its counts: how much each network asked for,
//! and which signed counts it has seen. All of it is bounded.

mod limits;
mod replays;
mod table;

use alloc::vec::Vec;
use core::fmt;
use core::hash::Hasher as _;
use core::net::IpAddr;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

use crate::accept::Reason;
use crate::digest::Digest;
use crate::time::Tick;
pub use limits::Rate;
use limits::{Buckets, Verdict};
use replays::Replays;
pub use replays::Seen;

/// Networks over their limit that are named between two looks at the [notices](Guard::notices): a flood must not fill
/// the log.
const MOST_NOTICES: usize = 8;

/// What a [`Guard`] guards against. The default is that of the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Only these networks are served; all, when there are none.
    pub allowed: Vec<IpNet>,
    /// These networks are not served, not even those that are allowed.
    pub denied: Vec<IpNet>,
    /// These networks have no limit.
    pub unlimited: Vec<IpNet>,
    /// All requests of one network.
    pub requests: Rate,
    /// Answers to requests of one network whose signature is wrong. Valid requests of the same network are served
    /// beyond it, so nobody can shut others out by forging their address.
    pub failures: Rate,
    /// How many leading bits of an IPv4 address make a network, 0 to 32.
    pub ipv4_prefix: u8,
    /// How many leading bits of an IPv6 address make a network, 0 to 128.
    pub ipv6_prefix: u8,
    /// How many signed counts are remembered, so that a copy is not counted again; 0 for none. A signature is valid for
    /// ten minutes: with more counts in that time the oldest are forgotten. Each takes some 40 bytes.
    pub replays: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            denied: Vec::new(),
            unlimited: Vec::new(),
            requests: Rate::UNLIMITED,
            failures: Rate { per_second: 5, burst: 0 },
            ipv4_prefix: 32,
            ipv6_prefix: 56,
            replays: 65_536,
        }
    }
}

/// What judging a datagram may ask of the past. `()` remembers nothing and serves everybody.
pub trait Memory {
    /// Whether a datagram from this address is looked at.
    ///
    /// # Errors
    /// Why it is not.
    fn admit(&mut self, _peer: IpAddr, _now: Tick) -> Result<(), Reason> {
        Ok(())
    }

    /// Whether a wrong signature from this address is answered.
    ///
    /// # Errors
    /// Why it is not.
    fn answer_failure(&mut self, _peer: IpAddr, _now: Tick) -> Result<(), Reason> {
        Ok(())
    }

    /// What is known of a count with this valid signature.
    fn look(&mut self, _signature: Digest, _now: Tick) -> Seen {
        Seen::Never
    }

    /// Takes note of whether it was counted.
    fn settle(&mut self, _signature: Digest, _counted: bool) {}
}

impl Memory for () {}

/// A network went over one of its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    network: IpNet,
    rate: Rate,
    what: &'static str,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, rate, what } = self;
        write!(
            f,
            "{network} has sent more than {} {what} a second; those beyond are dropped",
            rate.per_second
        )
    }
}

/// The memory of one server.
#[derive(Clone, Debug)]
pub struct Guard {
    limits: Limits,
    /// Hashes networks, so that nobody outside knows which of them share a place.
    hasher: SipHasher13,
    requests: Buckets,
    failures: Buckets,
    replays: Replays,
    notices: Vec<Notice>,
}

impl Guard {
    /// A guard that has seen nothing yet. `secret` is 16 random bytes.
    #[must_use]
    pub fn new(limits: Limits, secret: [u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(&secret),
            requests: Buckets::new(limits.requests),
            failures: Buckets::new(limits.failures),
            replays: Replays::new(limits.replays),
            notices: Vec::new(),
            limits,
        }
    }

    /// The networks that went over a limit, each at most once a minute, and since the last call no more than a few.
    pub fn notices(&mut self) -> impl Iterator<Item = Notice> {
        self.notices.drain(..)
    }

    fn bucket(&self, peer: IpAddr) -> (u64, IpNet) {
        let bits = if peer.is_ipv4() { self.limits.ipv4_prefix } else { self.limits.ipv6_prefix };
        let network = IpNet::new(peer, bits).map_or_else(|_| IpNet::from(peer), |network| network.trunc());
        let mut hasher = self.hasher;
        match network.addr() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        (hasher.finish(), network)
    }

    fn take(&mut self, peer: IpAddr, now: Tick, kind: Kind) -> Result<(), Reason> {
        let (hash, network) = self.bucket(peer);
        let (buckets, rate, what, reason) = match kind {
            Kind::Request => (&mut self.requests, self.limits.requests, "requests", Reason::TooManyRequests),
            Kind::Failure => {
                (&mut self.failures, self.limits.failures, "wrong signatures", Reason::TooManyFailures)
            }
        };
        match buckets.take(hash, network, now) {
            Verdict::Within => Ok(()),
            Verdict::Over { tell } => {
                if tell && self.notices.len() < MOST_NOTICES {
                    self.notices.push(Notice { network, rate, what });
                }
                Err(reason)
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    Failure,
}

impl Limits {
    /// Whether a datagram has to be judged by its sender at all: most servers serve everybody.
    #[must_use]
    pub const fn judge_peers(&self) -> bool {
        self.requests.per_second != 0 || !self.allowed.is_empty() || !self.denied.is_empty()
    }

    fn serves(&self, peer: IpAddr) -> bool {
        let contains = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&peer));
        (self.allowed.is_empty() || contains(&self.allowed)) && !contains(&self.denied)
    }

    fn limits(&self, peer: IpAddr) -> bool {
        !self.unlimited.iter().any(|network| network.contains(&peer))
    }
}

impl Memory for Guard {
    fn admit(&mut self, peer: IpAddr, now: Tick) -> Result<(), Reason> {
        if !self.limits.serves(peer) {
            return Err(Reason::DeniedNetwork);
        }
        if self.limits.limits(peer) { self.take(peer, now, Kind::Request) } else { Ok(()) }
    }

    fn answer_failure(&mut self, peer: IpAddr, now: Tick) -> Result<(), Reason> {
        if self.limits.limits(peer) { self.take(peer, now, Kind::Failure) } else { Ok(()) }
    }

    fn look(&mut self, signature: Digest, now: Tick) -> Seen {
        if self.limits.replays == 0 { Seen::Never } else { self.replays.look(signature, now) }
    }

    fn settle(&mut self, signature: Digest, counted: bool) {
        self.replays.settle(signature, counted);
    }
}
