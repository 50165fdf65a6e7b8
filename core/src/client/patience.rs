//! How long a server may be silent until it counts as one that does not answer.

use core::time::Duration;

use crate::time::Tick;

/// The patience with a server that answers quickly.
const SHORTEST: Duration = Duration::from_secs(1);

/// The time for a reply after which a server counts as silent: a second, and three times as long as it last took for a
/// slow one. A server that takes two seconds for each reply does not fail and recover with each of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    current: Duration,
    longest: Duration,
}

impl Patience {
    /// Returns the patience for a server that has `timeout` for a reply.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { current: SHORTEST.min(timeout), longest: timeout }
    }

    /// Takes the time of a reply. After slow ones, the patience ends slowly.
    pub(super) fn replied(&mut self, took: Duration) {
        let lasting = self.current.saturating_sub(self.current / 8);
        let wanted = took.saturating_mul(3).max(lasting).max(SHORTEST);
        self.current = wanted.min(self.longest);
    }

    /// Returns when a server is asked with a ping that has not answered what was sent at `sent`.
    pub(super) fn probe_at(self, sent: Tick) -> Tick {
        sent.after(self.current / 2)
    }

    /// Returns when a server counts as silent that has not answered what was sent at `sent`.
    pub(super) fn ends_at(self, sent: Tick) -> Tick {
        sent.after(self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_grows_with_the_time_of_replies_up_to_the_time_out_and_ends_slowly() {
        let mut patience = Patience::new(millis(5000));
        let ends = |patience: Patience| patience.ends_at(Tick::default()).since(Tick::default());
        assert_eq!(ends(patience), millis(1000));
        for (took, expected) in [(20, 1000), (900, 2700), (100, 2362), (4000, 5000), (1, 4375)] {
            patience.replied(millis(took));
            assert_eq!(ends(patience).as_millis(), expected, "{took}");
        }
        (0..50).for_each(|_| patience.replied(millis(1)));
        assert_eq!(ends(patience), millis(1000));
        assert_eq!(ends(Patience::new(millis(200))), millis(200));
    }
}
