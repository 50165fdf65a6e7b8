//! The random numbers of a run.

use std::time::Duration;

use oorandom::Rand64;

/// Random choices that a seed determines.
#[derive(Debug)]
pub(crate) struct Random(Rand64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rand64::new(u128::from(seed)))
    }

    /// Returns a number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.rand_range(low..high.max(low).saturating_add(1))
    }

    /// Returns an index below `length`; 0 if `length` is 0.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "below `length`, or 0")]
        let index = self.between(0, (length as u64).saturating_sub(1)) as usize;
        index
    }

    /// Returns `true` with this probability.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.between(0, 99) < chance
    }

    /// Returns one of `choices`.
    #[expect(clippy::indexing_slicing, reason = "there is a choice, and the index is below their number")]
    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        const { assert!(N > 0, "there must be a choice") };
        choices[self.index(N)]
    }

    /// Returns a time from `low` to `high` microseconds.
    pub(crate) fn micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low, high))
    }

    /// Returns a time from `low` to `high` milliseconds.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// Returns a number of 1 to `bits` bits; all lengths are equally likely.
    pub(crate) fn magnitude(&mut self, bits: u64) -> u64 {
        let bits = self.between(1, bits);
        self.between(1, (1 << bits) - 1)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
        std::array::from_fn(|_| self.between(0, 255) as u8)
    }
}
