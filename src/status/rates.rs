//! What has happened in the last seconds and in the last minute.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyzord_core::Tick;
use pyzord_runtime::{Counts, Details};
use serde::Serialize;

/// The spans that are told.
const SPANS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// The shortest time between two samples, of which there are enough for the longest span.
const PERIOD: Duration = Duration::from_secs(2);
const MOST_SAMPLES: usize = 32;

/// Samples of the counts since the start, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<VecDeque<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Tick,
    counts: RateCounts,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
struct RateCounts {
    received: u64,
    /// Answered with 200.
    done: u64,
    /// Answered with another code.
    refused: u64,
    /// Left without an answer on purpose.
    dropped: u64,
    /// Checks, reports and whitelistings of those answered with 200.
    checks: u64,
    reports: u64,
    whitelists: u64,
}

/// What was counted in the last seconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Rate {
    seconds: f64,
    #[serde(flatten)]
    counts: RateCounts,
}

impl Rates {
    /// Keeps what was counted up to now, unless the last sample is young.
    pub(super) fn sample(&self, now: Tick, counts: &Counts, details: &Details) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|last| now.since(last.at) < PERIOD) {
            return;
        }
        if samples.len() >= MOST_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample { at: now, counts: RateCounts::new(counts, details) });
    }

    /// Returns what was counted in each span, or since the first sample.
    pub(super) fn read(&self, now: Tick, counts: &Counts, details: &Details) -> Vec<Rate> {
        let current = RateCounts::new(counts, details);
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |span: Duration| {
            let old = samples.iter().rev().find(|sample| now.since(sample.at) >= span);
            let Sample { at, counts } = old.or_else(|| samples.front())?;
            let seconds = now.since(*at).as_secs_f64();
            (seconds > 0.0).then(|| Rate { seconds, counts: current.since(counts) })
        };
        SPANS.into_iter().filter_map(of).collect()
    }
}

impl RateCounts {
    fn new(counts: &Counts, details: &Details) -> Self {
        let mut found = Self { received: counts.received, ..Self::default() };
        found.dropped = counts.dropped.iter().map(|(_, count)| count).sum();
        for &(operation, code, count) in &details.requests {
            if code != 200 {
                found.refused += count;
                continue;
            }
            found.done += count;
            match operation {
                "check" => found.checks += count,
                "report" => found.reports += count,
                "whitelist" => found.whitelists += count,
                _ => (),
            }
        }
        found
    }

    /// Returns what came on top of an older sample. Threads count meanwhile, each a bit earlier or later.
    const fn since(&self, old: &Self) -> Self {
        Self {
            received: self.received.saturating_sub(old.received),
            done: self.done.saturating_sub(old.done),
            refused: self.refused.saturating_sub(old.refused),
            dropped: self.dropped.saturating_sub(old.dropped),
            checks: self.checks.saturating_sub(old.checks),
            reports: self.reports.saturating_sub(old.reports),
            whitelists: self.whitelists.saturating_sub(old.whitelists),
        }
    }
}

#[cfg(test)]
mod tests {
    use pyzord_runtime::Counters;

    use super::*;

    fn details(checks: u64, refused: u64) -> Details {
        let mut details = Details::default();
        details.requests = vec![("check", 200, checks), ("report", 401, refused)];
        details
    }

    #[test]
    fn rates_are_of_the_last_seconds_and_the_memory_is_bounded() {
        let (rates, counts) = (Rates::default(), Counters::default().counts());
        let at = |seconds| Tick::new(Duration::from_secs(seconds));
        assert_eq!(rates.read(at(5), &counts, &details(1, 1)), []);
        // One check a second, then a refusal a second for the last ten seconds.
        for second in 0..=1000 {
            rates.sample(at(second), &counts, &details(second.min(990), second.saturating_sub(990)));
        }
        let read = rates.read(at(1001), &counts, &details(990, 11));
        let found: Vec<_> =
            read.iter().map(|rate| (rate.seconds, rate.counts.checks, rate.counts.refused)).collect();
        assert_eq!(found, [(11.0, 0, 11), (61.0, 50, 11)]);
        assert!(rates.0.lock().unwrap().len() <= MOST_SAMPLES);
    }
}
