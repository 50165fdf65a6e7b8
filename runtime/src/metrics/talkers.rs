//! Which networks send most: the space-saving sketch of Metwally, Agrawal and El Abbadi, in sets of a few places.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use pyzord_core::IpNet;

/// Leading bits that make a network, as for the limits: one IPv4 address, and what one IPv6 customer is given.
const IPV4_PREFIX: u8 = 32;
const IPV6_PREFIX: u8 = 56;
/// Tells the families apart in a key, above the bits of the network.
const IPV4: u64 = 1 << 62;
const IPV6: u64 = 1 << 63;

const SETS: usize = 32;
const WAYS: usize = 8;

/// Counts the datagrams of networks in 256 places. A network that finds no place takes that of the one with the
/// smallest count, and its count with it: so no count is too small, and each says by how much it may be too large.
///
/// One thread writes and others read. Whoever sends from many addresses can only blur the picture.
#[derive(Debug)]
pub(super) struct Talkers {
    /// Nobody outside knows which networks share a set.
    secret: u64,
    places: [[Place; WAYS]; SETS],
}

#[derive(Debug)]
struct Place {
    /// 0 is nobody's.
    key: AtomicU64,
    count: AtomicU64,
    excess: AtomicU64,
}

impl Place {
    const fn new() -> Self {
        Self { key: AtomicU64::new(0), count: AtomicU64::new(0), excess: AtomicU64::new(0) }
    }
}

/// What is known of one network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Talker {
    /// The network: an IPv4 address, or an IPv6 network of 56 bits.
    pub network: IpNet,
    /// The datagrams it sent, at most.
    pub datagrams: u64,
    /// By how many that may be too much.
    pub excess: u64,
}

impl Talkers {
    pub(super) fn new() -> Self {
        let places = [const { [const { Place::new() }; WAYS] }; SETS];
        // Odd, so that multiplying loses nothing.
        Self { secret: RandomState::new().hash_one(()) | 1, places }
    }

    /// Counts one datagram.
    pub(super) fn count(&self, peer: IpAddr) {
        let key = key(peer);
        // The upper bits of a product depend on all bits of the key.
        let mixed = (key ^ (key >> 32)).wrapping_mul(self.secret);
        let set = usize::try_from(mixed >> 32).unwrap_or(0) % SETS;
        let Some(places) = self.places.get(set) else { return };
        if let Some(place) = places.iter().find(|place| place.key.load(Ordering::Relaxed) == key) {
            place.count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(least) = places.iter().min_by_key(|place| place.count.load(Ordering::Relaxed)) else {
            return;
        };
        let count = least.count.load(Ordering::Relaxed);
        // Nobody's while its counts change hands.
        least.key.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        least.excess.store(count, Ordering::Relaxed);
        least.count.store(count + 1, Ordering::Relaxed);
        least.key.store(key, Ordering::Release);
    }

    /// All networks that have a place.
    pub(super) fn all(&self) -> impl Iterator<Item = Talker> {
        self.places.iter().flatten().filter_map(|place| {
            let key = place.key.load(Ordering::Acquire);
            let (datagrams, excess) =
                (place.count.load(Ordering::Relaxed), place.excess.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            let unchanged = place.key.load(Ordering::Relaxed) == key;
            unchanged.then_some(())?;
            Some(Talker { network: network(key)?, datagrams, excess })
        })
    }
}

fn key(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
        // The upper half of the address without its last byte.
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, ..] = address.octets();
            IPV6 | u64::from_be_bytes([0, a, b, c, d, e, f, g])
        }
    }
}

fn network(key: u64) -> Option<IpNet> {
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

    fn find(talkers: &Talkers, network: &str) -> Option<Talker> {
        let network: IpNet = network.parse().unwrap();
        talkers.all().find(|talker| talker.network == network)
    }

    #[test]
    fn networks_are_counted_exactly_while_there_is_room() {
        let talkers = Talkers::new();
        for (address, times) in
            [("192.0.2.1", 3), ("192.0.2.2", 2), ("2001:db8:1:2ff::1", 4), ("2001:db8:1:200::9", 1)]
        {
            (0..times).for_each(|_| talkers.count(address.parse().unwrap()));
        }
        talkers.count("::ffff:192.0.2.1".parse().unwrap());
        for (network, datagrams) in [("192.0.2.1/32", 4), ("192.0.2.2/32", 2), ("2001:db8:1:200::/56", 5)] {
            assert_eq!(
                find(&talkers, network),
                Some(Talker { network: network.parse().unwrap(), datagrams, excess: 0 })
            );
        }
        assert_eq!(talkers.all().count(), 3);
    }

    #[test]
    fn one_that_sends_much_is_found_among_many_and_no_count_is_too_small() {
        let talkers = Talkers::new();
        let loud: IpAddr = "203.0.113.7".parse().unwrap();
        for number in 0..100_000_u32 {
            talkers.count(IpAddr::V4(Ipv4Addr::from_bits(number)));
            if number % 10 == 0 {
                talkers.count(loud);
            }
        }
        let found = find(&talkers, "203.0.113.7/32").unwrap();
        assert!(found.datagrams >= 10_000 && found.datagrams - found.excess <= 10_000, "{found:?}");
        assert_eq!(talkers.all().map(|talker| talker.datagrams).max(), Some(found.datagrams));
        assert_eq!(talkers.all().count(), SETS * WAYS);
        assert_eq!(talkers.all().map(|talker| talker.datagrams).sum::<u64>(), 110_000);
    }
}
