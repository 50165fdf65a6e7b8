//! Finds the networks that send most: the space-saving sketch of Metwally, Agrawal and El Abbadi, in sets of eight
//! entries.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use pyzord_core::IpNet;

/// The prefix lengths of a network, as for the limits: one IPv4 address, and what one IPv6 customer usually gets.
const IPV4_PREFIX: u8 = 32;
const IPV6_PREFIX: u8 = 56;
/// Marks of the family in a key, above the bits of the network.
const IPV4: u64 = 1 << 62;
const IPV6: u64 = 1 << 63;

const SETS: usize = 32;
const WAYS: usize = 8;

/// Counts the datagrams of networks in 256 entries. A network without an entry takes over the entry with the smallest
/// count of its set, and the count with it: so no count is too small, and each entry tells by how much it may be too
/// large.
///
/// One thread writes and others read. A client with many addresses can only make the counts less exact.
#[derive(Debug)]
pub(super) struct TopClients {
    /// Hides which networks share a set, so that no client can choose addresses to displace another network.
    secret: u64,
    sets: [[Entry; WAYS]; SETS],
}

#[derive(Debug)]
struct Entry {
    /// 0 while the entry belongs to no network.
    key: AtomicU64,
    count: AtomicU64,
    excess: AtomicU64,
    /// Replies with a code other than 200.
    refused: AtomicU64,
    /// Datagrams that were dropped for a limit or a list.
    dropped: AtomicU64,
}

impl Entry {
    const fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            count: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

/// The count of one network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopClient {
    /// The network: an IPv4 address, or an IPv6 network of 56 bits.
    pub network: IpNet,
    /// The largest number of datagrams that it may have sent.
    pub datagrams: u64,
    /// By how many that number may be too large.
    pub excess: u64,
    /// Replies to it with a code other than 200, since it has had an entry.
    pub refused: u64,
    /// Datagrams from it that were dropped for a limit or a list of networks, since it has had an entry.
    pub dropped: u64,
}

impl TopClients {
    pub(super) fn new() -> Self {
        let sets = [const { [const { Entry::new() }; WAYS] }; SETS];
        // Odd, so that different keys have different products.
        Self { secret: RandomState::new().hash_one(()) | 1, sets }
    }

    /// Counts one datagram.
    pub(super) fn heard(&self, peer: IpAddr) {
        self.entry(peer).count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one reply with a code other than 200.
    pub(super) fn refused(&self, peer: IpAddr) {
        self.entry(peer).refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one datagram that was dropped for a limit or a list.
    pub(super) fn dropped(&self, peer: IpAddr) {
        self.entry(peer).dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the entry of a network, which may take over another one's.
    fn entry(&self, peer: IpAddr) -> &Entry {
        let key = key(peer);
        let set = self.set(key);
        if let Some(entry) = set.iter().find(|entry| entry.key.load(Ordering::Relaxed) == key) {
            return entry;
        }
        let [first, others @ ..] = set;
        // A thread of the pool hears no datagram: its entries have refused requests alone.
        let weight = |entry: &Entry| {
            entry.count.load(Ordering::Relaxed).saturating_add(entry.refused.load(Ordering::Relaxed))
        };
        let least = others
            .iter()
            .fold(first, |least, other| if weight(other) < weight(least) { other } else { least });
        // Belongs to no network while its counts change, so that no reader takes them for those of either network.
        least.key.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        least.excess.store(least.count.load(Ordering::Relaxed), Ordering::Relaxed);
        least.refused.store(0, Ordering::Relaxed);
        least.dropped.store(0, Ordering::Relaxed);
        least.key.store(key, Ordering::Release);
        least
    }

    /// Returns the set that the network of this key belongs to.
    fn set(&self, key: u64) -> &[Entry; WAYS] {
        // The upper bits of a product depend on all bits of a key. One product alone puts neighbouring addresses into few
        // sets for some secrets.
        let product = (key ^ (key >> 32)).wrapping_mul(self.secret);
        let [top, ..] = (product ^ (product >> 32)).wrapping_mul(self.secret).to_be_bytes();
        #[expect(clippy::indexing_slicing, reason = "the remainder is less than the number of sets")]
        &self.sets[usize::from(top) % SETS]
    }

    /// Iterates over the networks that have an entry.
    pub(super) fn all(&self) -> impl Iterator<Item = TopClient> {
        self.sets.iter().flatten().filter_map(|entry| {
            let key = entry.key.load(Ordering::Acquire);
            let [datagrams, excess, refused, dropped] =
                [&entry.count, &entry.excess, &entry.refused, &entry.dropped]
                    .map(|counter| counter.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            // Another network took the entry over in the meantime.
            if entry.key.load(Ordering::Relaxed) != key {
                return None;
            }
            Some(TopClient { network: network(key)?, datagrams, excess, refused, dropped })
        })
    }
}

/// Returns the number of a peer's network: its bits, and a mark of the family in the two highest.
pub(super) fn key(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
        // The upper half of the address without its last byte.
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, ..] = address.octets();
            IPV6 | u64::from_be_bytes([0, a, b, c, d, e, f, g])
        }
    }
}

pub(super) fn network(key: u64) -> Option<IpNet> {
    let (address, prefix) = if key & IPV4 != 0 {
        let [.., a, b, c, d] = key.to_be_bytes();
        (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), IPV4_PREFIX)
    } else if key & IPV6 != 0 {
        let bits = u128::from(key & !IPV6) << 72;
        (IpAddr::V6(Ipv6Addr::from_bits(bits)), IPV6_PREFIX)
    } else {
        return None;
    };
    IpNet::new(address, prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(clients: &TopClients, network: &str) -> Option<TopClient> {
        let network: IpNet = network.parse().unwrap();
        clients.all().find(|client| client.network == network)
    }

    #[test]
    fn networks_are_counted_exactly_while_there_is_room() {
        let clients = TopClients::new();
        for (address, times) in
            [("192.0.2.1", 3), ("192.0.2.2", 2), ("2001:db8:1:2ff::1", 4), ("2001:db8:1:200::9", 1)]
        {
            (0..times).for_each(|_| clients.heard(address.parse().unwrap()));
        }
        clients.heard("::ffff:192.0.2.1".parse().unwrap());
        for (network, datagrams) in [("192.0.2.1/32", 4), ("192.0.2.2/32", 2), ("2001:db8:1:200::/56", 5)] {
            assert_eq!(
                find(&clients, network),
                Some(TopClient {
                    network: network.parse().unwrap(),
                    datagrams,
                    excess: 0,
                    refused: 0,
                    dropped: 0
                })
            );
        }
        assert_eq!(clients.all().count(), 3);
    }

    #[test]
    fn one_that_sends_much_is_found_among_many_and_no_count_is_too_small() {
        let clients = TopClients::new();
        let loud: IpAddr = "203.0.113.7".parse().unwrap();
        for number in 0..100_000_u32 {
            clients.heard(IpAddr::V4(Ipv4Addr::from_bits(number)));
            if number % 10 == 0 {
                clients.heard(loud);
            }
        }
        let found = find(&clients, "203.0.113.7/32").unwrap();
        assert!(found.datagrams >= 10_000 && found.datagrams - found.excess <= 10_000, "{found:?}");
        assert_eq!(clients.all().map(|client| client.datagrams).max(), Some(found.datagrams));
        assert_eq!(clients.all().count(), SETS * WAYS);
        assert_eq!(clients.all().map(|client| client.datagrams).sum::<u64>(), 110_000);
    }
}
