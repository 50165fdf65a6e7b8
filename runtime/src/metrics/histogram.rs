//! Counts values in fixed buckets; one thread writes and others read.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of buckets for durations up to 100 s, in nanoseconds.
pub(super) const DURATION: usize = 910;
/// The number of buckets for batches of up to 1000 datagrams.
pub(super) const SIZE: usize = 190;

/// Counts how often each value occurred, to two decimal digits: the width of a bucket is at most a tenth of its values,
/// and each number of two digits followed by zeros is the end of a bucket.
///
/// The last bucket also counts all larger values.
#[derive(Debug)]
pub(super) struct Histogram<const BUCKETS: usize> {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    pub(super) const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    /// Counts a value that occurred `times` times.
    pub(super) fn record(&self, value: u64, times: u64) {
        #[expect(clippy::indexing_slicing, reason = "no index is beyond that of the last bucket")]
        let bucket = &self.buckets[index(value).min(BUCKETS - 1)];
        bucket.fetch_add(times, Ordering::Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    pub(super) fn add_to(&self, distribution: &mut Distribution) {
        distribution.counts.resize(BUCKETS, 0);
        for (count, bucket) in distribution.counts.iter_mut().zip(&self.buckets) {
            *count += bucket.load(Ordering::Relaxed);
        }
        distribution.sum += self.sum.load(Ordering::Relaxed);
    }
}

/// Returns the bucket of a value. Each value up to 100 has a bucket of its own; above, each pair of leading digits has
/// one.
fn index(value: u64) -> usize {
    // A bucket includes its upper end, as in Prometheus' exposition format.
    let value = value.saturating_sub(1);
    let zeros = value.checked_ilog10().unwrap_or(0).saturating_sub(1);
    // At most 1,800, which fits any `usize`.
    usize::try_from(90 * u64::from(zeros) + value / 10_u64.pow(zeros)).unwrap_or(usize::MAX)
}

/// Returns the largest value of a bucket.
fn upper(index: u32) -> u64 {
    let zeros = index.saturating_sub(10) / 90;
    u64::from(index - 90 * zeros + 1) * 10_u64.pow(zeros)
}

/// The distribution of the values of all threads at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution {
    counts: Vec<u64>,
    sum: u64,
}

impl Distribution {
    /// Returns the number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all values.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Returns how many values were at most `bound`: exact for a number of two digits followed by zeros, otherwise a
    /// little too few.
    #[must_use]
    pub fn at_most(&self, bound: u64) -> u64 {
        self.all().take_while(|(upper, _)| *upper <= bound).map(|(_, count)| count).sum()
    }

    /// Returns the value that the share `numerator` / `denominator` of all values does not exceed, rounded up by at most a
    /// tenth. `None` if there are no values.
    #[must_use]
    pub fn quantile(&self, numerator: u64, denominator: u64) -> Option<u64> {
        let rank = (self.count() * numerator).div_ceil(denominator).max(1);
        let mut seen = 0;
        self.buckets().find_map(|(upper, count)| {
            seen += count;
            (seen >= rank).then_some(upper)
        })
    }

    /// Returns the values that have come since `before`, an earlier moment.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = before.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(earlier).map(|(now, before)| now.saturating_sub(before));
        Self { counts: counts.collect(), sum: self.sum.saturating_sub(before.sum) }
    }

    /// Iterates over the buckets that are not empty: the largest value of each, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.all().filter(|(_, count)| *count > 0)
    }

    fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..).zip(&self.counts).map(|(bucket, count)| (upper(bucket), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(values: impl IntoIterator<Item = u64>) -> Distribution {
        let (histogram, mut distribution) = (Histogram::<DURATION>::new(), Distribution::default());
        values.into_iter().for_each(|value| histogram.record(value, 1));
        histogram.add_to(&mut distribution);
        distribution
    }

    fn bucket_of(value: u64) -> u32 {
        u32::try_from(index(value)).unwrap()
    }

    #[test]
    fn a_bucket_ends_at_its_largest_value() {
        for (value, end) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (99, 99),
            (100, 100),
            (101, 110),
            (110, 110),
            (111, 120),
            (1_000, 1_000),
            (1_001, 1_100),
            (2_500_000, 2_500_000),
            (2_500_001, 2_600_000),
            (100_000_000_000, 100_000_000_000),
        ] {
            assert_eq!(upper(bucket_of(value)), end, "{value}");
        }
    }

    #[test]
    fn every_bucket_begins_behind_the_one_before_it() {
        for bucket in 1..u32::try_from(DURATION).unwrap() {
            assert_eq!((bucket_of(upper(bucket - 1) + 1), bucket_of(upper(bucket))), (bucket, bucket));
            // At most a tenth of the value is lost.
            let width = upper(bucket) - upper(bucket - 1);
            assert!(width == 1 || width * 10 <= upper(bucket), "{bucket}");
        }
        for (buckets, largest) in [(DURATION, 100_000_000_000), (SIZE, 1_000)] {
            assert_eq!(upper(u32::try_from(buckets - 1).unwrap()), largest);
        }
    }

    #[test]
    fn what_is_too_large_is_in_the_last_bucket() {
        let found = distribution([u64::MAX, 100_000_000_001]);
        assert_eq!(found.buckets().collect::<Vec<_>>(), [(100_000_000_000, 2)]);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        assert_eq!(distribution([]).quantile(1, 2), None);
        assert_eq!(distribution([7]).quantile(99, 100), Some(7));
        let found = distribution(1..=100);
        for (numerator, expected) in [(0, 1), (1, 1), (50, 50), (90, 90), (99, 99), (100, 100)] {
            assert_eq!(found.quantile(numerator, 100), Some(expected));
        }
        let wide = distribution((1..=1000).map(|value| value * 1_234));
        for percent in [1, 50, 90, 99, 100] {
            let (exact, found) = (percent * 12_340, wide.quantile(percent, 100).unwrap());
            assert!(exact <= found && found <= exact + exact / 10, "{percent}: {exact}, {found}");
        }
    }

    #[test]
    fn what_came_since_a_moment_is_the_difference() {
        let (before, after) = (distribution([1, 250]), distribution([1, 250, 250, 7_000]));
        assert_eq!(after.since(&before).buckets().collect::<Vec<_>>(), [(250, 1), (7_000, 1)]);
        assert_eq!(after.since(&before).sum(), 7_250);
        assert_eq!((after.since(&Distribution::default()), after.since(&after).count()), (after.clone(), 0));
    }

    #[test]
    fn sums_and_bounds_are_exact() {
        let found = distribution([1, 99, 100, 101, 250, 251]);
        assert_eq!((found.count(), found.sum()), (6, 802));
        for (bound, count) in [(0, 0), (1, 1), (100, 3), (250, 5), (260, 6)] {
            assert_eq!(found.at_most(bound), count, "{bound}");
        }
    }
}
