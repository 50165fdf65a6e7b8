//! Random numbers that a seed determines.

use std::env;

/// The seed and the number of cases of a run.
pub(crate) struct Size {
    pub(crate) seed: u64,
    pub(crate) cases: usize,
}

impl Size {
    /// Returns the seed and the number of cases from the environment; by default seed 1 and `cases`. Prints both, so
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

/// `SplitMix64`: ten lines, which keep the meaning of a seed.
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

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Returns `true` with this probability.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// Returns one of `from`.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
