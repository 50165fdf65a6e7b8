//! The settings of a guard.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU32;
use core::time::Duration;

use ipnet::IpNet;

/// A rate: a number per second in the long run, and a number at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    /// Per second.
    pub per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// Returns the rate with a burst of ten seconds.
    #[must_use]
    pub const fn per_second(per_second: NonZeroU32) -> Self {
        let burst = match NonZeroU32::new(per_second.get().saturating_mul(10)) {
            Some(burst) => burst,
            // Ten times a number above 0 is above 0.
            None => per_second,
        };
        Self { per_second, burst }
    }

    /// Returns the time after which one more is allowed.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.get()
    }

    /// Returns the time after which a whole burst is allowed again.
    pub(super) fn refill(self) -> Duration {
        self.interval().saturating_mul(self.burst.get())
    }
}

/// What a [`Guard`](crate::Guard) allows. The default values are those of the server's settings.
///
/// ```
/// use core::num::NonZeroU32;
/// use pyzord_core::{Limits, Rate};
///
/// let mut limits = Limits::default();
/// limits.requests = NonZeroU32::new(100).map(Rate::per_second);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The networks that are served; all if there are none, which is the default. In each list, a network that is mapped
    /// into IPv6, such as `::ffff:192.0.2.0/120`, is an IPv4 network.
    pub allowed: Vec<IpNet>,
    /// Networks that are not served, also within an allowed one; by default none.
    pub denied: Vec<IpNet>,
    /// Networks without a rate limit; by default none.
    pub unlimited: Vec<IpNet>,
    /// The rate of requests of one network; `None`, the default, for no limit. A request costs as much as it has digests,
    /// at least 1, whatever it asks for and whether it is answered. One with more digests than the burst is read if
    /// the network has all of its burst, and keeps later ones waiting until it is paid for.
    pub requests: Option<Rate>,
    /// The rate of answers to wrong signatures of one network; `None` for no limit, by default 5 a second and 50 at
    /// once. Valid requests of the same network are served beyond it, so a forged address locks no client out.
    pub failures: Option<Rate>,
    /// The leading bits of an IPv4 address that make a network, 0 to 32; by default 32.
    pub ipv4_prefix: u8,
    /// The leading bits of an IPv6 address that make a network, 0 to 128; by default 56.
    pub ipv6_prefix: u8,
    /// The number of signed reports and whitelistings that are remembered, in about 110 bytes each; by default 65,536,
    /// and 0 for none. A copy of a remembered one, with the same signature, is not counted again. A signature is valid
    /// for ten minutes; with more signed counts in that time, the account that has most of them loses its oldest.
    pub signed_counts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const FAILURES: NonZeroU32 = NonZeroU32::new(5).unwrap();
        Self {
            allowed: Vec::new(),
            denied: Vec::new(),
            unlimited: Vec::new(),
            requests: None,
            failures: Some(Rate::per_second(FAILURES)),
            ipv4_prefix: 32,
            ipv6_prefix: 56,
            signed_counts: 65_536,
        }
    }
}

impl Limits {
    /// Returns the network of an address, by the prefix length of its family.
    pub(super) fn network(&self, peer: IpAddr) -> IpNet {
        let bits = if peer.is_ipv4() { self.ipv4_prefix } else { self.ipv6_prefix };
        // A prefix that is longer than an address means the whole address.
        IpNet::new(peer, bits).map_or_else(|_| IpNet::from(peer), |network| network.trunc())
    }
}
