//! Input that looks random and is the same for the same seed.

use std::env;

/// The seed and the number of cases that a run is asked for.
pub(crate) struct Size {
    pub(crate) seed: u64,
    pub(crate) cases: usize,
}

impl Size {
    /// What the environment says, or a fixed seed and as many cases as `make test` has time for. It is printed, so
    /// that a failed run can be repeated.
    pub(crate) fn of_run(cases: usize) -> Self {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("PYZORD_DIFFERENTIAL_SEED").unwrap_or(1);
        let cases =
            number("PYZORD_DIFFERENTIAL_CASES").map_or(cases, |cases| usize::try_from(cases).unwrap());
        println!("PYZORD_DIFFERENTIAL_SEED={seed} PYZORD_DIFFERENTIAL_CASES={cases}");
        Self { seed, cases }
    }
}

/// A generator of numbers: `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from 0 to `limit`, which is not reached.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
