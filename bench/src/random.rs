//! A seeded generator of random numbers: the same seed gives the same load.

use oorandom::Rand64;

/// Random numbers that a seed determines.
#[derive(Clone, Debug)]
pub(crate) struct Random(Rand64);

impl Random {
    /// Returns the sequence of a seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rand64::new(u128::from(seed)))
    }

    /// Returns a number below `limit`, or 0 if `limit` is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.0.rand_range(0..limit) }
    }

    /// Returns a number in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.rand_float()
    }
}
