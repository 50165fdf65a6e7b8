//! Whether the store does what requests ask it for: the last real outcomes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyzord_core::{StoreAnswer, StoreCall, StoreError, StoreOp, Tick};

/// The outcomes of reads and of counts. While all is well nothing is written, so that threads share no line of cache.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    reads: Failing,
    counts: Failing,
}

/// Calls that fail without one that succeeds.
#[derive(Debug, Default)]
struct Failing {
    /// When the first of them failed, in nanoseconds from 1; 0 if the last call has succeeded.
    since: AtomicU64,
    /// When the last one failed.
    latest: AtomicU64,
}

/// Calls of one kind that fail, and none that succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailingCalls {
    /// When the first of them failed.
    pub since: Tick,
    /// When the last one failed.
    pub latest: Tick,
}

impl Outcomes {
    /// Records the answers to calls.
    pub(crate) fn executed(&self, calls: &[StoreCall], answers: &[StoreAnswer], now: impl FnOnce() -> Tick) {
        let failed = answers.iter().any(is_failure);
        if failed || self.reads.is_failing() || self.counts.is_failing() {
            self.record(calls, answers, now());
        }
    }

    /// Returns the reads that fail.
    pub(crate) fn failing_reads(&self) -> Option<FailingCalls> {
        self.reads.now()
    }

    /// Returns the counts that fail.
    pub(crate) fn failing_counts(&self) -> Option<FailingCalls> {
        self.counts.now()
    }

    #[cold]
    fn record(&self, calls: &[StoreCall], answers: &[StoreAnswer], now: Tick) {
        for (call, answer) in calls.iter().zip(answers) {
            let kind = if call.op == StoreOp::Read { &self.reads } else { &self.counts };
            if is_failure(answer) { kind.failed(now) } else { kind.succeeded() }
        }
    }
}

impl Failing {
    fn is_failing(&self) -> bool {
        self.since.load(Ordering::Relaxed) > 0
    }

    fn failed(&self, now: Tick) {
        let nanos = u64::try_from(now.since(Tick::default()).as_nanos()).unwrap_or(u64::MAX - 1) + 1;
        self.latest.store(nanos, Ordering::Relaxed);
        // An error means that the calls fail already.
        let _ = self.since.compare_exchange(0, nanos, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn succeeded(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    fn now(&self) -> Option<FailingCalls> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        let latest = self.latest.load(Ordering::Relaxed).saturating_sub(1).max(since);
        let tick = |nanos| Tick::new(Duration::from_nanos(nanos));
        Some(FailingCalls { since: tick(since), latest: tick(latest) })
    }
}

/// Whether an answer tells of a store that does not work. An unreadable record, or a digest without a place, says nothing
/// of the others, and what was counted before is answered by a store that works.
fn is_failure(answer: &StoreAnswer) -> bool {
    use StoreError::{AlreadyCounted, NoPlace, Unreadable};
    matches!(answer, Err(error) if !matches!(error, Unreadable | NoPlace | AlreadyCounted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{Digest, Record};

    fn call(op: StoreOp) -> StoreCall {
        StoreCall::new(Digest::new([1; 20]), op)
    }

    #[test]
    fn counts_that_fail_are_known_until_one_succeeds() {
        let outcomes = Outcomes::default();
        let (read, count) = (call(StoreOp::Read), call(StoreOp::Report));
        let at = |seconds| Tick::new(Duration::from_secs(seconds));
        let good = Ok(Record::default());
        outcomes.executed(&[read, count], &[good, good], || panic!("the clock is read for a failure alone"));
        for second in [5, 6] {
            outcomes.executed(&[read, count], &[good, Err(StoreError::Unavailable)], || at(second));
        }
        assert_eq!(outcomes.failing_reads(), None);
        assert_eq!(outcomes.failing_counts(), Some(FailingCalls { since: at(5), latest: at(6) }));
        for error in [StoreError::Unreadable, StoreError::NoPlace, StoreError::AlreadyCounted] {
            outcomes.executed(&[count], &[Err(error)], || at(7));
            assert_eq!(outcomes.failing_counts(), None, "the store works");
            for failure in [StoreError::Unknown, StoreError::Unsettled] {
                outcomes.executed(&[count], &[Err(failure)], || at(7));
                assert!(outcomes.failing_counts().is_some(), "{failure:?}");
            }
        }
        outcomes.executed(&[count], &[good], || at(7));
        outcomes.executed(&[read], &[Err(StoreError::Unavailable)], || at(8));
        assert_eq!(outcomes.failing_reads(), Some(FailingCalls { since: at(8), latest: at(8) }));
        outcomes.executed(&[count], &[good], || at(9));
        assert!(outcomes.failing_reads().is_some(), "a count is no read");
        outcomes.executed(&[read], &[good], || at(10));
        assert_eq!((outcomes.failing_reads(), outcomes.failing_counts()), (None, None));
    }
}
