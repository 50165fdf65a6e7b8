//! The mark by which a server recognizes what it has forwarded itself.

/// Identifies one run of a server in the header `Forwarded` of what it forwards. Other servers only note that there is
/// such a header; the server that gets its own origin back forwards to itself, whatever name or address it used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Origin([u8; 16]);

impl Origin {
    /// Returns the origin of random bits, in the form of the header: 16 hex digits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        let mut digits = [0; 16];
        for (digits, byte) in digits.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
            let nibbles = [byte >> 4, byte & 15];
            let digit = |nibble| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            digits.copy_from_slice(&nibbles.map(digit));
        }
        Self(digits)
    }

    /// Returns the value of the header.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_sixteen_hex_digits() {
        for (bits, expected) in [(0, b"0000000000000000"), (0x0123_4567_89ab_cdef, b"0123456789abcdef")] {
            assert_eq!(Origin::from_random(bits).as_bytes(), expected);
        }
    }
}
