//! Which digests a load asks for.

use clap::ValueEnum;
use pyzord_core::Digest;
use sha1::{Digest as _, Sha1};

use crate::random::Random;

/// How digests are drawn from those there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Draw {
    /// Each as often as any other.
    Uniform,
    /// As mail has them: the n-th most frequent about 1/n times as often as the first.
    Zipf,
    /// One after another, each once, and again from the first: to fill a database.
    Sequence,
}

/// The digest with a number: SHA-1 of the number in decimal digits, so that `printf 7 | sha1sum`, SQL or a script
/// find the same one.
#[must_use]
pub fn numbered(number: u64) -> Digest {
    let mut digits = [0; 20];
    Digest::new(Sha1::digest(decimal(&mut digits, number)).into())
}

/// The digits of a number, without zeros before it.
pub(crate) fn decimal(digits: &mut [u8; 20], mut number: u64) -> &[u8] {
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    digits.split_at(digits.len() - length).1
}

/// Draws the numbers of digests for one of several sockets.
#[derive(Clone, Debug)]
pub(crate) struct Drawer {
    draw: Draw,
    count: u64,
    /// The next of a sequence, the part of this socket, and where that begins.
    next: u64,
    part: u64,
    first: u64,
}

impl Drawer {
    pub(crate) fn new(draw: Draw, count: u64, socket: u64, sockets: u64) -> Self {
        let first = share_before(count, socket, sockets);
        let part = share_before(count, socket + 1, sockets) - first;
        Self { draw, count, next: 0, part: part.max(1), first }
    }

    pub(crate) fn next(&mut self, random: &mut Random) -> u64 {
        match self.draw {
            Draw::Uniform => random.below(self.count),
            Draw::Zipf => zipf(random.unit(), self.count),
            Draw::Sequence => {
                let number = self.first + self.next;
                self.next = (self.next + 1) % self.part;
                number
            }
        }
    }
}

/// How much of `total` belongs to those before the `index`-th of `of`: shares differ by one at most.
pub(crate) fn share_before(total: u64, index: u64, of: u64) -> u64 {
    u64::try_from(u128::from(total) * u128::from(index) / u128::from(of.max(1))).unwrap_or(total)
}

/// The inverse of the distribution P(rank <= k) = ln(k + 1) / ln(n + 1), Zipf's with exponent 1 in its smooth form.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank that is off by one part in 2^52 is as good"
)]
fn zipf(unit: f64, count: u64) -> u64 {
    let rank = (count as f64 + 1.0).powf(unit) as u64;
    rank.clamp(1, count.max(1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_digest_is_the_hash_of_its_number() {
        // printf 7 | sha1sum
        assert_eq!(numbered(7).to_string(), "902ba3cda1883801594b6e1b452790cc53948fda");
        let mut digits = [0; 20];
        for number in [0, 9, 10, 65_535, u64::MAX] {
            assert_eq!(decimal(&mut digits, number), number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_sequence_has_each_digest_once_whatever_the_number_of_sockets() {
        for sockets in 1..=4 {
            let mut all: Vec<u64> = (0..sockets)
                .flat_map(|socket| {
                    let mut drawer = Drawer::new(Draw::Sequence, 10, socket, sockets);
                    let part = drawer.part;
                    (0..part).map(move |_| drawer.next(&mut Random::new(0))).collect::<Vec<_>>()
                })
                .collect();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>(), "{sockets} sockets");
        }
    }

    /// The first of n ranks has ln 2 / ln(n + 1) of all draws, and all ranks occur.
    #[test]
    fn zipf_favours_the_first_ranks() {
        let (mut random, mut drawn) = (Random::new(3), vec![0_i32; 1000]);
        let mut drawer = Drawer::new(Draw::Zipf, 1000, 0, 1);
        for _ in 0..1_000_000 {
            drawn[usize::try_from(drawer.next(&mut random)).unwrap()] += 1;
        }
        assert!((drawn[0] - 100_330).abs() < 2000, "{}", drawn[0]);
        assert!((drawn[0] - 10 * drawn[6]).abs() < 110_000 && drawn[999] > 50, "{drawn:?}");
        assert_eq!((zipf(0.0, 1), zipf(0.999_999, 1), zipf(0.5, 0)), (0, 0, 0));
    }
}
