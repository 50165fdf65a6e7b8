//! Finds the networks that report without an account, and those whose signatures prove nothing, in a table of a fixed
//! size.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use pyzord_core::{ANONYMOUS, BadSignature, Escaped, IpNet, Operation, Refusal, Usage};

use super::top_clients::{key, network};
use crate::datagrams::Path;

/// The networks that are known at once. Those with fewer events make room.
const ENTRIES: usize = 32;
/// The part of a name that is kept, in words of eight bytes: more than [`Escaped`] shows, so that a cut name is marked.
const WORDS: usize = 9;
/// The lowest bit of a suspicion in a key. The bits of a network are below, the marks of its family above.
const SUSPICION: u32 = 58;

/// What a network is noticed for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suspicion {
    /// It reports digests without an account.
    AnonymousReports,
    /// Its signatures prove nothing, for this reason.
    BadSignature(BadSignature),
}

/// What was counted of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Suspect {
    /// The network: an IPv4 address, or an IPv6 network of 56 bits.
    pub network: IpNet,
    /// What it is noticed for.
    pub suspicion: Suspicion,
    /// The last user, as the usage log has it. Nothing proves that this user sent the requests.
    pub user: String,
    /// Digests reported, or requests refused, at least.
    pub count: u64,
}

/// Counts the events of networks by suspicion. A new pair takes over the entry with the smallest count, and tells only what
/// came since.
///
/// One thread writes and others read.
#[derive(Debug)]
pub(super) struct Suspects([Entry; ENTRIES]);

#[derive(Debug)]
struct Entry {
    /// 0 while the entry belongs to no network.
    key: AtomicU64,
    name: [AtomicU64; WORDS],
    count: AtomicU64,
    excess: AtomicU64,
}

impl Suspects {
    pub(super) const fn new() -> Self {
        Self([const { Entry::new() }; ENTRIES])
    }

    /// Counts a request, if it is one to be noticed.
    pub(super) fn judge(&self, usage: &Usage<'_, Path>) {
        let peer = usage.peer.peer.ip();
        match usage.refusal {
            None if usage.op == Operation::Report.name().as_bytes() && usage.user == ANONYMOUS => {
                self.count(peer, Suspicion::AnonymousReports, usage.user, usage.digests.len() as u64);
            }
            Some(Refusal::Signature(why)) => self.count(peer, Suspicion::BadSignature(why), usage.user, 1),
            _ => (),
        }
    }

    fn count(&self, peer: IpAddr, suspicion: Suspicion, user: &[u8], times: u64) {
        let key = key(peer) | suspicion.bits() << SUSPICION;
        let Self(entries) = self;
        if let Some(entry) = entries.iter().find(|entry| entry.key.load(Ordering::Relaxed) == key) {
            entry.count.fetch_add(times, Ordering::Relaxed);
            if !entry.is_named(user) {
                entry.change(key, |entry| entry.set_name(user));
            }
            return;
        }
        let Some(least) = entries.iter().min_by_key(|entry| entry.count.load(Ordering::Relaxed)) else {
            return;
        };
        least.change(key, |entry| {
            entry.set_name(user);
            let count = entry.count.load(Ordering::Relaxed);
            entry.excess.store(count, Ordering::Relaxed);
            entry.count.store(count + times, Ordering::Relaxed);
        });
    }

    /// Iterates over the networks that have an entry.
    pub(super) fn all(&self) -> impl Iterator<Item = Suspect> {
        let Self(entries) = self;
        entries.iter().filter_map(Entry::read)
    }
}

impl Entry {
    const fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            name: [const { AtomicU64::new(0) }; WORDS],
            count: AtomicU64::new(0),
            excess: AtomicU64::new(0),
        }
    }

    /// Changes an entry that belongs to no network meanwhile, so that no reader takes a mixture for either.
    fn change(&self, key: u64, change: impl FnOnce(&Self)) {
        self.key.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        change(self);
        self.key.store(key, Ordering::Release);
    }

    fn is_named(&self, user: &[u8]) -> bool {
        self.name.iter().zip(words(user)).all(|(kept, word)| kept.load(Ordering::Relaxed) == word)
    }

    fn set_name(&self, user: &[u8]) {
        self.name.iter().zip(words(user)).for_each(|(kept, word)| kept.store(word, Ordering::Relaxed));
    }

    fn read(&self) -> Option<Suspect> {
        let key = self.key.load(Ordering::Acquire);
        let name: Vec<u8> =
            self.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let (count, excess) = (self.count.load(Ordering::Relaxed), self.excess.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if self.key.load(Ordering::Relaxed) != key {
            return None;
        }
        let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(Suspect {
            network: network(key & !(0b11 << SUSPICION))?,
            suspicion: Suspicion::of_bits(key >> SUSPICION & 0b11),
            user: Escaped(name.get(..end).unwrap_or_default()).to_string(),
            count: count.saturating_sub(excess),
        })
    }
}

impl Suspicion {
    const fn bits(self) -> u64 {
        match self {
            Self::AnonymousReports => 0,
            Self::BadSignature(BadSignature::UnknownUser) => 1,
            Self::BadSignature(BadSignature::Timestamp) => 2,
            Self::BadSignature(_) => 3,
        }
    }

    const fn of_bits(bits: u64) -> Self {
        match bits {
            0 => Self::AnonymousReports,
            1 => Self::BadSignature(BadSignature::UnknownUser),
            2 => Self::BadSignature(BadSignature::Timestamp),
            _ => Self::BadSignature(BadSignature::Invalid),
        }
    }
}

/// Returns a name as words, zeros behind it.
fn words(name: &[u8]) -> impl Iterator<Item = u64> {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(word)
    };
    let kept = name.get(..8 * WORDS).unwrap_or(name);
    kept.chunks(8).map(word).chain(std::iter::repeat(0)).take(WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use BadSignature::{Invalid, Timestamp, UnknownUser};

    fn found(suspects: &Suspects) -> Vec<(String, Suspicion, String, u64)> {
        let row = |one: Suspect| (one.network.to_string(), one.suspicion, one.user, one.count);
        let mut rows: Vec<_> = suspects.all().map(row).collect();
        rows.sort_by_key(|row| row.3);
        rows
    }

    #[test]
    fn networks_are_told_apart_by_what_they_are_noticed_for() {
        let suspects = Suspects::new();
        assert_eq!(found(&suspects), []);
        let bad = Suspicion::BadSignature;
        let long = "x".repeat(90);
        for (peer, suspicion, user, times) in [
            ("192.0.2.7", bad(Invalid), "alice", 1),
            ("192.0.2.7", bad(Invalid), "bob", 1),
            ("192.0.2.7", bad(Timestamp), "bob", 3),
            ("192.0.2.7", Suspicion::AnonymousReports, "anonymous", 4),
            ("2001:db8::1", bad(UnknownUser), &long, 5),
        ] {
            suspects.count(peer.parse().unwrap(), suspicion, user.as_bytes(), times);
        }
        let row =
            |network: &str, suspicion, user: &str, count| (network.into(), suspicion, user.into(), count);
        assert_eq!(
            found(&suspects),
            [
                row("192.0.2.7/32", bad(Invalid), "bob", 2),
                row("192.0.2.7/32", bad(Timestamp), "bob", 3),
                row("192.0.2.7/32", Suspicion::AnonymousReports, "anonymous", 4),
                row("2001:db8::/56", bad(UnknownUser), &format!("{}...", &long[..64]), 5),
            ]
        );
    }

    #[test]
    fn many_networks_hide_no_busy_one_and_no_count_is_too_large() {
        let suspects = Suspects::new();
        let busy: IpAddr = "203.0.113.7".parse().unwrap();
        for number in 0..10_000_u32 {
            let other = IpAddr::from(number.to_be_bytes());
            suspects.count(other, Suspicion::AnonymousReports, b"anonymous", 1);
            suspects.count(busy, Suspicion::AnonymousReports, b"anonymous", 1);
        }
        let all = found(&suspects);
        let (network, .., count) = all.last().unwrap();
        assert!(network == "203.0.113.7/32" && (9_000..=10_000).contains(count), "{all:?}");
        assert!(all.len() == ENTRIES && all.iter().rev().skip(1).all(|(.., count)| *count <= 1));
    }
}
