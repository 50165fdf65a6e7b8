//! The digests that a load asks for.

use clap::ValueEnum;
use pyzord_core::Digest;
use sha1::{Digest as _, Sha1};

use crate::random::Random;

/// How often each digest is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Distribution {
    /// All equally often.
    Uniform,
    /// As in mail: the n-th most frequent about 1/n times as often as the first.
    Zipf,
    /// One after another, then again from the first: fills a database.
    Sequence,
}

/// Returns digest number N: the SHA-1 of N in decimal digits, so that `printf 7 | sha1sum`, SQL or a script can compute
/// the same one.
#[must_use]
pub fn numbered(number: u64) -> Digest {
    let mut digits = [0; 20];
    Digest::new(Sha1::digest(decimal(&mut digits, number)).into())
}

/// Writes a number in decimal digits, without leading zeros.
pub(crate) fn decimal(digits: &mut [u8; 20], mut number: u64) -> &[u8] {
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
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
pub(crate) struct DigestSampler {
    distribution: Distribution,
    count: u64,
    /// In a sequence: the next digest, and the length and beginning of this socket's part.
    next: u64,
    part: u64,
    first: u64,
}

impl DigestSampler {
    pub(crate) fn new(distribution: Distribution, count: u64, socket: u64, sockets: u64) -> Self {
        let first = share_before(count, socket, sockets);
        let part = share_before(count, socket + 1, sockets) - first;
        Self { distribution, count, next: 0, part: part.max(1), first }
    }

    pub(crate) fn next(&mut self, random: &mut Random) -> u64 {
        match self.distribution {
            Distribution::Uniform => random.below(self.count),
            Distribution::Zipf => zipf(random.unit(), self.count),
            Distribution::Sequence => {
                let number = self.first + self.next;
                self.next = (self.next + 1) % self.part;
                number
            }
        }
    }
}

/// Returns how much of `total` belongs to the sockets before `socket`, which is at most `sockets`. Shares differ by at
/// most one.
pub(crate) fn share_before(total: u64, socket: u64, sockets: u64) -> u64 {
    debug_assert!(socket <= sockets && sockets > 0);
    #[expect(clippy::cast_possible_truncation, reason = "at most `total`")]
    let share = (u128::from(total) * u128::from(socket) / u128::from(sockets)) as u64;
    share
}

/// The inverse of the distribution P(rank <= k) = ln(k + 1) / ln(n + 1), Zipf's with exponent 1 in its smooth form.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an error of one part in 2^52 does not matter"
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
    fn a_sequence_has_each_digest_once_for_any_number_of_sockets() {
        for sockets in 1..=4 {
            let mut all: Vec<u64> = (0..sockets)
                .flat_map(|socket| {
                    let mut sampler = DigestSampler::new(Distribution::Sequence, 10, socket, sockets);
                    let part = sampler.part;
                    (0..part).map(move |_| sampler.next(&mut Random::new(0))).collect::<Vec<_>>()
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
        let mut sampler = DigestSampler::new(Distribution::Zipf, 1000, 0, 1);
        for _ in 0..1_000_000 {
            drawn[usize::try_from(sampler.next(&mut random)).unwrap()] += 1;
        }
        assert!((drawn[0] - 100_330).abs() < 2000, "{}", drawn[0]);
        assert!((drawn[0] - 10 * drawn[6]).abs() < 110_000 && drawn[999] > 50, "{drawn:?}");
        assert_eq!((zipf(0.0, 1), zipf(0.999_999, 1), zipf(0.5, 0)), (0, 0, 0));
    }
}
