//! The operations of a load.

use std::str::FromStr;

use anyhow::{Context as _, ensure};
use pyzord_core::Operation;

use crate::random::Random;

/// Operations and their relative frequencies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mix {
    parts: Vec<(Operation, u64)>,
    total: u64,
}

impl Mix {
    /// Returns a mix of one operation.
    #[must_use]
    pub fn only(operation: Operation) -> Self {
        Self { parts: vec![(operation, 1)], total: 1 }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> Operation {
        let mut left = random.below(self.total);
        for (operation, weight) in &self.parts {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *operation,
            }
        }
        unreachable!("a random number below the sum of all weights")
    }
}

/// Parses `check=80,report=15,pong`; a name without a weight has weight 1.
impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let part = |part: &str| {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let name = name.trim();
            let unknown = || {
                let names = Operation::ALL.map(Operation::name).join(", ");
                format!("unknown operation `{name}`; use one of {names}")
            };
            let operation = Operation::parse(name.as_bytes()).with_context(unknown)?;
            let weight: u32 = weight.trim().parse().with_context(|| format!("`{weight}` is not a weight"))?;
            Ok::<_, anyhow::Error>((operation, u64::from(weight)))
        };
        let parts: Vec<_> = text.split(',').map(part).collect::<Result<_, _>>()?;
        let total = parts.iter().map(|(_, weight)| weight).sum();
        ensure!(total != 0, "all weights are 0");
        Ok(Self { parts, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept() {
        let mix: Mix = "check=80, report=15,whitelist=5,ping=0".parse().unwrap();
        let (mut random, mut drawn) = (Random::new(1), [0_i32; 6]);
        for _ in 0..100_000 {
            let operation = mix.draw(&mut random);
            drawn[Operation::ALL.iter().position(|other| *other == operation).unwrap()] += 1;
        }
        for (found, expected) in drawn.into_iter().zip([80_000, 15_000, 0, 0, 0, 5_000]) {
            assert!((found - expected).abs() < 1000 && (expected > 0 || found == 0), "{drawn:?}");
        }
    }

    #[test]
    fn a_name_without_a_weight_has_weight_one() {
        assert_eq!("pong,info".parse::<Mix>().unwrap(), "pong=1,info=1".parse().unwrap());
        assert_eq!("ping".parse::<Mix>().unwrap(), Mix::only(Operation::Ping));
    }

    #[test]
    fn an_invalid_mix_is_refused() {
        for text in
            ["", "chek", "check=", "check=-1", "check=x", "check=0,ping=0", "check,,ping", "check=1=2"]
        {
            assert!(text.parse::<Mix>().is_err(), "{text:?}");
        }
    }
}
