//! How much one network may ask for.

use core::time::Duration;

use ipnet::IpNet;

use super::table::Table;
use crate::time::Tick;

/// So many per second in the long run, and so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    /// Per second; 0 is no limit.
    pub per_second: u32,
    /// At once, after a pause; 0 is ten times `per_second`.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_second: 0, burst: 0 };

    fn burst(self) -> u32 {
        if self.burst == 0 { self.per_second.saturating_mul(10) } else { self.burst }
    }

    /// How long one of them takes to be allowed again.
    fn interval(self) -> Option<Duration> {
        (self.per_second != 0).then(|| Duration::from_secs(1) / self.per_second)
    }
}

/// How many networks are remembered: what a flood from spoofed addresses can fill, some 4 MB.
const NETWORKS: usize = 65_536;

/// A network that is over its limit is named once in so long.
const NOTICE_PERIOD: Duration = Duration::from_secs(60);

/// One network's bucket of tokens, kept as the moment at which it is full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Tick,
    silent_until: Tick,
}

/// The buckets of all networks that asked lately.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    rate: Rate,
    table: Table<IpNet, Bucket>,
}

/// What a bucket says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Within,
    /// Whether it is to be told: not if it was a moment ago.
    Over {
        tell: bool,
    },
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, table: Table::new(NETWORKS) }
    }

    /// Takes one token from the bucket of `network`. A network that was forgotten has a full bucket: what a flood can
    /// drive out are the fullest ones, whose owners lose nothing.
    pub(super) fn take(&mut self, hash: u64, network: IpNet, now: Tick) -> Verdict {
        let Some(interval) = self.rate.interval() else { return Verdict::Within };
        let room = interval.saturating_mul(self.rate.burst());
        let Some(bucket) = self.table.get(hash, network) else {
            let bucket = Bucket { full_at: now.after(interval), silent_until: Tick::default() };
            self.table.insert(hash, network, bucket, |bucket| bucket.full_at);
            return Verdict::Within;
        };
        let full_at = bucket.full_at.max(now).after(interval);
        if full_at.since(now) <= room {
            bucket.full_at = full_at;
            return Verdict::Within;
        }
        let tell = bucket.silent_until <= now;
        if tell {
            bucket.silent_until = now.after(NOTICE_PERIOD);
        }
        Verdict::Over { tell }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 5 };

    fn at(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    fn network(number: u32) -> (u64, IpNet) {
        let address = core::net::Ipv4Addr::from_bits(number);
        (u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15), IpNet::from(core::net::IpAddr::from(address)))
    }

    /// How many of `count` requests at the same moment are within the limit.
    fn within(buckets: &mut Buckets, (hash, network): (u64, IpNet), now: Tick, count: usize) -> usize {
        (0..count).filter(|_| buckets.take(hash, network, now) == Verdict::Within).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut buckets = Buckets::new(RATE);
        let one = network(1);
        assert_eq!(within(&mut buckets, one, at(0), 100), 5);
        assert_eq!(within(&mut buckets, one, at(99), 100), 0);
        assert_eq!(within(&mut buckets, one, at(100), 100), 1);
        assert_eq!(within(&mut buckets, one, at(1_100), 100), 5, "full again, and not fuller");
        assert_eq!(within(&mut buckets, network(2), at(1_100), 100), 5, "others have their own");
        assert_eq!(within(&mut Buckets::new(Rate::UNLIMITED), one, at(0), 1000), 1000);
    }

    #[test]
    fn a_burst_that_is_not_set_is_ten_seconds_of_the_rate() {
        let mut buckets = Buckets::new(Rate { per_second: 3, burst: 0 });
        assert_eq!(within(&mut buckets, network(1), at(0), 100), 30);
        assert_eq!(within(&mut buckets, network(1), at(2_000), 100), 6);
    }

    #[test]
    fn a_network_over_its_limit_is_told_of_once_a_minute() {
        let mut buckets = Buckets::new(Rate { per_second: 1, burst: 1 });
        let (hash, one) = network(1);
        let mut told = 0;
        for tenth in 0..1_500 {
            told += usize::from(buckets.take(hash, one, at(tenth * 100)) == Verdict::Over { tell: true });
        }
        assert_eq!(told, 3, "in 150 seconds");
    }

    /// A flood from more networks than are remembered costs those who keep to their limit nothing.
    #[test]
    fn a_flood_of_networks_does_not_limit_an_honest_one() {
        let mut buckets = Buckets::new(RATE);
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
