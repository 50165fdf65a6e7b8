//! The random choices of a cut.

use oorandom::Rand64;

/// Random choices that a seed determines.
#[derive(Debug)]
pub struct Random(Rand64);

impl Random {
    /// Returns the choices of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rand64::new(u128::from(seed)))
    }

    /// Returns an index below `length`; 0 if `length` is 0.
    pub fn index(&mut self, length: usize) -> usize {
        if length == 0 {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below `length`")]
        let index = self.0.rand_range(0..length as u64) as usize;
        index
    }

    /// Returns `true` with this probability.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.index(100) < chance
    }

    /// Returns one of `choices`.
    #[expect(clippy::indexing_slicing, reason = "there is a choice, and the index is below their number")]
    pub fn pick<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        const { assert!(N > 0, "there must be a choice") };
        choices[self.index(N)]
    }
}
