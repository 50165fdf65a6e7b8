//! Lists of networks, in which an address is found in a few steps.

use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The leading bits of all IPv4 addresses that are mapped into IPv6, `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// The addresses of a list of networks: sorted ranges that do not touch.
///
/// Networks that are mapped into IPv6, such as `::ffff:192.0.2.0/120`, are IPv4 networks: senders are compared by their
/// IPv4 addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        let mut ranges = Self::default();
        for network in networks {
            match canonical(*network) {
                IpNet::V4(v4) => ranges.v4.push((v4.network().to_bits(), v4.broadcast().to_bits())),
                IpNet::V6(v6) => ranges.v6.push((v6.network().to_bits(), v6.broadcast().to_bits())),
            }
        }
        ranges.v4 = merged(ranges.v4);
        ranges.v6 = merged(ranges.v6);
        ranges
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether a network of the list has this address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => find(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => find(&self.v6, v6.to_bits()),
        }
    }
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let prefix = mapped.prefix_len().checked_sub(MAPPED_PREFIX);
    let plain =
        mapped.addr().to_ipv4_mapped().zip(prefix).and_then(|(v4, prefix)| Ipv4Net::new(v4, prefix).ok());
    plain.map_or(network, IpNet::V4)
}

/// Sorts ranges and joins those that overlap. Ranges of networks contain each other, or have no address in common.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut disjoint: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match disjoint.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => disjoint.push((first, last)),
        }
    }
    disjoint.shrink_to_fit();
    disjoint
}

fn find<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let (before, _) = ranges.split_at(ranges.partition_point(|(first, _)| *first <= address));
    before.last().is_some_and(|(_, last)| address <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use core::cmp::Ordering;
    use ipnet::Ipv6Net;
    use proptest::prelude::*;

    /// Networks and addresses that are close to each other.
    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (0_u32..64, 24_u8..=32).prop_map(|(host, bits)| {
            IpNet::V4(Ipv4Net::new(core::net::Ipv4Addr::from_bits(0xc000_0200 | host), bits).unwrap())
        });
        let v6 = (0_u128..64, 120_u8..=128).prop_map(|(host, bits)| {
            IpNet::V6(Ipv6Net::new(core::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | host), bits).unwrap())
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn a_list_contains_what_one_of_its_networks_contains(
            list in proptest::collection::vec(network(), 0..20),
            hosts in proptest::collection::vec(0_u32..80, 20),
        ) {
            let networks = Networks::new(&list);
            prop_assert_eq!(networks.is_empty(), list.is_empty());
            for host in hosts {
                let v4 = core::net::Ipv4Addr::from_bits(0xc000_0200 | host);
                let v6 = core::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(host));
                for address in [IpAddr::V4(v4), IpAddr::V6(v6)] {
                    let expected = list.iter().any(|network| network.contains(&address));
                    prop_assert_eq!(networks.contains(address), expected);
                }
                let mapped = IpAddr::V6(v4.to_ipv6_mapped());
                prop_assert_eq!(networks.contains(mapped), networks.contains(IpAddr::V4(v4)));
            }
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_found() {
        let all: Vec<IpNet> =
            ["0.0.0.0/0", "10.0.0.0/8", "::/0"].iter().map(|text| text.parse().unwrap()).collect();
        let networks = Networks::new(&all);
        for address in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(networks.contains(address.parse().unwrap()), "{address}");
        }
        assert_eq!((networks.v4.len(), networks.v6.len()), (1, 1));
        assert!(!Networks::new(&all[2..]).contains("192.0.2.1".parse().unwrap()), "all of IPv6 is not IPv4");
    }

    /// A number that counts its comparisons.
    #[derive(Clone, Copy)]
    struct Counted<'a>(u32, &'a Cell<u32>);
    impl PartialEq for Counted<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Counted<'_> {}
    impl PartialOrd for Counted<'_> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Counted<'_> {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    /// Each list was read from its start to its end for each datagram.
    #[test]
    fn an_address_is_looked_for_in_a_few_places() {
        let list: Vec<IpNet> =
            (0..200_000_u32).map(|host| IpNet::from(IpAddr::from((host * 20_000).to_be_bytes()))).collect();
        let networks = Networks::new(&list);
        assert_eq!(networks.v4.len(), 200_000);
        let compared = Cell::new(0);
        let ranges: Vec<_> = networks
            .v4
            .iter()
            .map(|(first, last)| (Counted(*first, &compared), Counted(*last, &compared)))
            .collect();
        assert!(find(&ranges, Counted(20_000 * 77_777, &compared)));
        assert!(compared.get() < 40, "{}", compared.get());
    }
}
