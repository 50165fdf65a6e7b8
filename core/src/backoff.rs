//! Pauses between attempts.

use core::time::Duration;

use crate::time::Tick;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause: a server is back within two seconds of its database.
const LONGEST: Duration = Duration::from_secs(1);

/// Spaces attempts to reach a failed service: after 0.1 s, 0.2 s, 0.4 s and so on, at most 1 s apart.
///
/// Ask [`ready`](Self::ready) before an attempt, and report its result afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backoff {
    failures: u32,
    retry_at: Tick,
}

impl Backoff {
    /// Returns the state without a failure: the first attempt is due at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether an attempt is due at `now`.
    #[must_use]
    pub fn ready(&self, now: Tick) -> bool {
        self.retry_at <= now
    }

    /// Returns when the next attempt is due.
    #[must_use]
    pub const fn ready_at(&self) -> Tick {
        self.retry_at
    }

    /// Records that an attempt, begun at `began`, failed.
    pub fn failed(&mut self, began: Tick) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = began.after(pause);
    }

    /// Records that an attempt succeeded.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Returns the number of failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut backoff = Backoff::new();
        let mut now = Tick::default();
        for expected in [100, 200, 400, 800, 1000, 1000] {
            assert!(backoff.ready(now));
            backoff.failed(now);
            assert!(!backoff.ready(now.after(Duration::from_millis(expected - 1))));
            now = now.after(Duration::from_millis(expected));
        }
        assert_eq!(backoff.failures(), 6);
        backoff.succeeded();
        assert_eq!(backoff, Backoff::new());
    }
}
