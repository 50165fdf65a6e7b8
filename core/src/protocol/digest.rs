//! Digests of mails.

use core::fmt;

/// The length of a digest in hex digits.
const HEX_LEN: usize = 40;

/// The SHA-1 digest of a normalised mail, as clients compute it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Returns the digest with these 20 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Parses exactly 40 hex digits of either case; `None` for any other text.
    #[must_use]
    // A request can have some 150 digests: a call for each costs 2 % of its instructions.
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; HEX_LEN] = text.try_into().ok()?;
        let (mut bytes, mut seen) = ([0; 20], 0);
        for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| VALUES.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT));
            seen |= high | low;
            *byte = high << 4 | low;
        }
        // One comparison at the end costs less than one for each digit.
        (seen < NO_DIGIT).then_some(Self(bytes))
    }

    /// Returns the 20 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Returns the 40 hex digits in lower case, as databases store them.
    #[must_use]
    pub fn hex(&self) -> [u8; HEX_LEN] {
        hex(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hex().iter().try_for_each(|&digit| fmt::Write::write_char(f, char::from(digit)))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the lower-case hex digits of a SHA-1 hash.
pub(crate) fn hex(bytes: &[u8; 20]) -> [u8; HEX_LEN] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; HEX_LEN];
    for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 15].map(|nibble| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    }
    text
}

/// The value of a byte that is not a hex digit: larger than that of any digit.
const NO_DIGIT: u8 = 16;

/// The value of each byte as a hex digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let (mut rest, mut byte): (&mut [u8], u8) = (&mut values, 0);
    while let [value, others @ ..] = rest {
        *value = hex_value(byte);
        (rest, byte) = (others, byte.wrapping_add(1));
    }
    values
};

const fn hex_value(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => NO_DIGIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    const HEX: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    #[test]
    fn upper_case_is_read_and_lower_case_written() {
        let digest = Digest::parse(HEX.to_uppercase().as_bytes()).unwrap();
        assert_eq!(digest, Digest::parse(HEX.as_bytes()).unwrap());
        assert_eq!([digest.to_string(), format!("{digest:?}")], [HEX; 2]);
        assert_eq!(digest.as_bytes()[..3], [0xda, 0x39, 0xa3]);
    }

    #[test]
    fn anything_but_40_hex_digits_is_refused() {
        let almost = [&HEX[..39], &[HEX, "0"].concat(), "", &HEX.replace('d', "g"), &HEX.replace('d', " ")];
        for text in almost {
            assert_eq!(Digest::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn each_byte_is_a_digit_or_none_in_either_place() {
        for byte in 0..=u8::MAX {
            let value = char::from(byte).to_digit(16).map(|value| u8::try_from(value).unwrap());
            let mut text = [b'0'; HEX_LEN];
            text[8] = byte;
            assert_eq!(Digest::parse(&text).map(|digest| digest.0[4]), value.map(|value| value << 4));
            text[8..10].copy_from_slice(&[b'0', byte]);
            assert_eq!(Digest::parse(&text).map(|digest| digest.0[4]), value);
        }
    }
}
