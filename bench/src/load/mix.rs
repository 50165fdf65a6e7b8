//! Which operations a load is made of.

use std::str::FromStr;

use pyzord_core::Operation;

use crate::random::Random;

/// Operations and how often each of them is asked for, relative to the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mix {
    parts: Vec<(Operation, u64)>,
    total: u64,
}

impl Mix {
    /// One operation and no other.
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
        Operation::Ping
    }
}

/// Reads `check=80,report=15,pong`; a name alone weighs 1.
impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let name = name.trim();
            let unknown = || {
                let names = Operation::ALL.map(Operation::name).join(", ");
                format!("there is no operation `{name}`; there are {names}")
            };
            let operation = Operation::parse(name.as_bytes()).ok_or_else(unknown)?;
            let weight: u32 = weight.trim().parse().map_err(|_| format!("`{weight}` is no weight"))?;
            Ok((operation, u64::from(weight)))
        };
        let parts: Vec<_> = text.split(',').map(part).collect::<Result<_, String>>()?;
        let total = parts.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return Err("all weights are 0".to_owned());
        }
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
    fn a_name_alone_weighs_one() {
        assert_eq!("pong,info".parse::<Mix>(), "pong=1,info=1".parse());
        assert_eq!("ping".parse(), Ok(Mix::only(Operation::Ping)));
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for text in
            ["", "chek", "check=", "check=-1", "check=x", "check=0,ping=0", "check,,ping", "check=1=2"]
        {
            assert!(text.parse::<Mix>().is_err(), "{text:?}");
        }
    }
}
