//! Pauses between the attempts of a statement that another transaction is in the way of.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::Duration;

use crate::wire::Deadline;

/// How often a statement on one row is tried, and one on several, which is split then.
const TRIES_OF_ONE: u32 = 12;
const TRIES_OF_SEVERAL: u32 = 3;
/// The longest first pause. It doubles with each attempt, up to the longest of all.
const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(32);
/// The time that an attempt needs: without it none is begun.
const ATTEMPT: Duration = Duration::from_millis(30);

/// Counts the attempts of a statement, and waits a random time between two of them: two servers that retry at the same
/// moment are in each other's way again.
#[derive(Debug)]
pub(super) struct Pauses {
    tries_left: u32,
    longest: Duration,
}

impl Pauses {
    /// Returns the pauses for a statement on so many rows.
    pub(super) fn for_rows(rows: usize) -> Self {
        let tries = if rows > 1 { TRIES_OF_SEVERAL } else { TRIES_OF_ONE };
        Self { tries_left: tries - 1, longest: FIRST }
    }

    /// Waits before another attempt, or returns false if there is to be none: after so many, or for want of time.
    pub(super) fn again(&mut self, deadline: Option<Deadline>) -> bool {
        let pause = self.longest.mul_f64(share());
        if self.tries_left == 0 || !has_time(deadline, pause) {
            return false;
        }
        self.tries_left -= 1;
        self.longest = (self.longest * 2).min(LONGEST);
        thread::sleep(pause);
        true
    }
}

/// Returns whether there is time for one more attempt after a pause. Without a deadline there is.
pub(super) fn has_time(deadline: Option<Deadline>, pause: Duration) -> bool {
    deadline.is_none_or(|deadline| deadline.left().is_some_and(|left| left >= pause + ATTEMPT))
}

/// Returns a random number from 0 to 1.
fn share() -> f64 {
    // The standard library's one source of random numbers; each state differs.
    f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded_in_number_and_time_and_pauses_differ() {
        let tries = |rows, deadline| {
            let mut pauses = Pauses::for_rows(rows);
            1 + std::iter::from_fn(|| pauses.again(deadline).then_some(())).count()
        };
        assert_eq!((tries(128, None), tries(2, None)), (3, 3));
        assert_eq!(tries(1, None), 12);
        assert_eq!(tries(1, Some(Deadline::after(Duration::from_millis(1)))), 1);
        let shares: Vec<f64> = (0..100).map(|_| share()).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
        assert!(
            shares.iter().any(|share| *share < 0.5) && shares.iter().any(|share| *share > 0.5),
            "{shares:?}"
        );
    }
}
