//! Token buckets, one per network.

use core::time::Duration;

use super::limits::Rate;
use super::table::Table;
use crate::time::Tick;

/// The number of networks that are remembered, about 4 MB: all that a flood from spoofed addresses can fill.
const NETWORKS: usize = 65_536;

/// A network over its limit is reported at most once in this time.
const REPORT_PERIOD: Duration = Duration::from_secs(60);

/// The token bucket of one network, kept as the moment at which it is full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Tick,
    silent_until: Tick,
}

/// The token buckets of the networks that sent lately; `N` is a network.
#[derive(Clone, Debug)]
pub(super) struct Buckets<N> {
    rate: Option<Rate>,
    table: Table<N, Bucket>,
}

/// Whether a request is within a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Within,
    /// `report` is false if the network was reported less than [`REPORT_PERIOD`] ago.
    Over {
        report: bool,
    },
}

impl<N: Copy + Eq> Buckets<N> {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, table: Table::new(NETWORKS) }
    }

    /// Takes one token from the bucket of `network`.
    ///
    /// A network that was forgotten has a full bucket. A flood of networks drives out the fullest buckets, whose
    /// networks lose nothing.
    pub(super) fn take(&mut self, hash: u64, network: N, now: Tick) -> Verdict {
        let Some(rate) = self.rate else { return Verdict::Within };
        let Some(bucket) = self.table.get(hash, network) else {
            let bucket = Bucket { full_at: now.after(rate.interval()), silent_until: Tick::default() };
            self.table.insert(hash, network, bucket, |bucket| bucket.full_at);
            return Verdict::Within;
        };
        let full_at = bucket.full_at.max(now).after(rate.interval());
        bucket.take_if(full_at.since(now) <= rate.refill(), full_at, now)
    }

    /// Takes `tokens` more for a request that has taken one. If they are missing, none is taken.
    ///
    /// A request that costs more than a burst is within the limit if the bucket was full before it; the next one has to
    /// wait until all of it is paid for.
    pub(super) fn take_more(&mut self, hash: u64, network: N, tokens: u32, now: Tick) -> Verdict {
        let Some(rate) = self.rate else { return Verdict::Within };
        // A bucket that was forgotten since its first token was full.
        let Some(bucket) = self.table.get(hash, network) else { return Verdict::Within };
        let was_full = bucket.full_at.since(now) <= rate.interval();
        let full_at = bucket.full_at.max(now).after(rate.interval().saturating_mul(tokens));
        bucket.take_if(was_full || full_at.since(now) <= rate.refill(), full_at, now)
    }
}

impl Bucket {
    /// Makes the bucket full at `full_at` if that is within the limit.
    fn take_if(&mut self, within: bool, full_at: Tick, now: Tick) -> Verdict {
        if within {
            self.full_at = full_at;
            return Verdict::Within;
        }
        let report = self.silent_until <= now;
        if report {
            self.silent_until = now.after(REPORT_PERIOD);
        }
        Verdict::Over { report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use core::num::NonZeroU32;
    use ipnet::IpNet;

    fn rate(per_second: u32, burst: u32) -> Option<Rate> {
        Some(Rate { per_second: NonZeroU32::new(per_second)?, burst: NonZeroU32::new(burst)? })
    }

    fn at(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    fn network(number: u32) -> (u64, IpNet) {
        let address = core::net::Ipv4Addr::from_bits(number);
        (u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15), IpNet::from(core::net::IpAddr::from(address)))
    }

    /// How many of `count` requests at the same moment are within the limit.
    fn within(buckets: &mut Buckets<IpNet>, (hash, network): (u64, IpNet), now: Tick, count: usize) -> usize {
        (0..count).filter(|_| buckets.take(hash, network, now) == Verdict::Within).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut buckets = Buckets::new(rate(10, 5));
        let one = network(1);
        assert_eq!(within(&mut buckets, one, at(0), 100), 5);
        assert_eq!(within(&mut buckets, one, at(99), 100), 0);
        assert_eq!(within(&mut buckets, one, at(100), 100), 1);
        assert_eq!(within(&mut buckets, one, at(1_100), 100), 5, "full again, and not fuller");
        assert_eq!(within(&mut buckets, network(2), at(1_100), 100), 5, "each network has its own");
        assert_eq!(within(&mut Buckets::new(None), one, at(0), 1000), 1000);
    }

    /// One request of 156 digests was charged as one of a single digest.
    #[test]
    fn each_digest_costs_a_token() {
        let mut buckets = Buckets::new(rate(10, 50));
        let (hash, one) = network(1);
        let mut ask = |digests: u32, now| {
            buckets.take(hash, one, now) == Verdict::Within
                && buckets.take_more(hash, one, digests - 1, now) == Verdict::Within
        };
        assert_eq!((0..10).filter(|_| ask(10, at(0))).count(), 5);
        assert!(!ask(10, at(900)), "of the ten, it has taken one");
        assert!(ask(8, at(900)) && !ask(1, at(900)));
        // One that costs more than a burst is served when the bucket is full, and paid for to the end.
        assert!(!ask(156, at(5_800)));
        assert!(ask(156, at(6_000)));
        assert!(!ask(1, at(16_600)));
        assert!(ask(1, at(16_700)));
    }

    /// A client that sends nothing but large requests gets the rate, and is not locked out.
    #[test]
    fn the_rate_holds_for_requests_that_cost_more_than_a_burst() {
        let mut buckets = Buckets::new(rate(10, 5));
        let (hash, one) = network(1);
        let served = (0..3600_u64).filter(|second| {
            buckets.take(hash, one, at(second * 1000)) == Verdict::Within
                && buckets.take_more(hash, one, 155, at(second * 1000)) == Verdict::Within
        });
        let digests = served.count() * 156;
        assert!((32_000..=36_160).contains(&digests), "{digests}");
    }

    #[test]
    fn a_burst_that_is_not_set_is_ten_seconds_of_the_rate() {
        let mut buckets = Buckets::new(NonZeroU32::new(3).map(Rate::per_second));
        assert_eq!(within(&mut buckets, network(1), at(0), 100), 30);
        assert_eq!(within(&mut buckets, network(1), at(2_000), 100), 6);
    }

    #[test]
    fn a_network_over_its_limit_is_reported_once_a_minute() {
        let mut buckets = Buckets::new(rate(1, 1));
        let (hash, one) = network(1);
        let mut reported = 0;
        for tenth in 0..1_500 {
            reported +=
                usize::from(buckets.take(hash, one, at(tenth * 100)) == Verdict::Over { report: true });
        }
        assert_eq!(reported, 3, "in 150 seconds");
    }

    /// A flood from more networks than are remembered costs networks within their limit nothing.
    #[test]
    fn a_flood_of_networks_does_not_limit_an_honest_one() {
        let mut buckets = Buckets::new(rate(10, 5));
        let honest = network(u32::MAX);
        let mut served = 0;
        for second in 0..20_u32 {
            for number in 0..100_000 {
                within(&mut buckets, network(number), at(u64::from(second) * 1000), 1);
            }
            served += within(&mut buckets, honest, at(u64::from(second) * 1000 + 500), 5);
        }
        assert_eq!(served, 100);
    }
}
