//! Random numbers that a seed determines.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::Duration;

/// A linear congruential generator.
pub(crate) struct Random(u64);

impl Random {
    /// Creates a generator with the seed from the environment, or with a new seed. Prints the seed.
    pub(crate) fn new() -> Self {
        let seed = std::env::var("PYZORD_CRASH_SEED").map(|seed| seed.parse().unwrap());
        let seed = seed.unwrap_or_else(|_| RandomState::new().hash_one(0));
        println!("PYZORD_CRASH_SEED={seed}");
        Self(seed)
    }

    /// Creates a generator for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self(u64::from(self.below(u32::MAX)))
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(limit)).unwrap()
    }

    /// Sleeps for a random time of at most `most`, which varies the moment of a kill.
    pub(crate) fn pause(&mut self, most: Duration) {
        let micros = u32::try_from(most.as_micros()).unwrap_or(u32::MAX).max(1);
        thread::sleep(Duration::from_micros(self.below(micros).into()));
    }
}
