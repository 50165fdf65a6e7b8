//! The hash values of keys, as every version of libgdbm computes them.
//!
//! They are a sum of the key's bytes, without a secret: a client can write any number of digests with one and
//! the same value.

use std::ffi::c_char;

use super::format::HASH_BITS;

/// Returns the hash value of a key, a number of [`HASH_BITS`] bits.
pub(super) fn hash(key: &[u8]) -> i64 {
    let length = i32::try_from(key.len()).unwrap_or(i32::MAX);
    let start = length.wrapping_mul(0x238F_13AF);
    // libgdbm shifts by `index * 5 % 24`.
    let shifts = (0..24_u32).cycle().step_by(5);
    let sum = key.iter().zip(shifts).fold(start, |sum, (byte, shift)| {
        let byte = i32::from(c_char::from_ne_bytes([*byte]));
        sum.wrapping_add(byte << shift) & i32::MAX
    });
    (sum.wrapping_mul(1_103_515_243).wrapping_add(12345) & i32::MAX).into()
}

/// Returns how many leading bits two hash values have in common.
pub(super) fn common_bits(one: i64, other: i64) -> i64 {
    let unused = i64::from(i64::BITS) - HASH_BITS;
    i64::from((one ^ other).leading_zeros()) - unused
}

#[cfg(test)]
pub(super) mod tests {
    use pyzord_core::Digest;

    use super::*;

    /// Returns digests with one hash value: each swaps some of 16 characters with those 24 positions later,
    /// which are shifted alike.
    pub(in super::super) fn colliding(count: u16) -> impl Iterator<Item = Digest> {
        (0..count).map(|bits| {
            let mut hex = [b'0'; 40];
            for index in 0..16 {
                let (low, high) = if bits >> index & 1 == 1 { (b'1', b'2') } else { (b'2', b'1') };
                hex[index] = low;
                hex[index + 24] = high;
            }
            Digest::parse(&hex).unwrap()
        })
    }

    /// The values are those that libgdbm 1.23 wrote into the slots of a bucket.
    #[test]
    fn values_are_those_of_libgdbm() {
        let value = hash(&colliding(1).next().unwrap().hex());
        assert!(colliding(300).all(|digest| hash(&digest.hex()) == value));
        assert_eq!(common_bits(value, value), HASH_BITS);
        assert_eq!((common_bits(0, 1), common_bits(0, 1 << 30)), (30, 0));
    }
}
