//! The header `Thread`.

/// The first mark of a request; the Python client's source reserves those from 0 to 1023.
const FIRST: u16 = 1024;

/// A client's mark of a request, 1024 to 65535; the reply repeats it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Thread(u16);

impl Thread {
    /// Makes a mark of random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        let marks = u64::from(u16::MAX - FIRST) + 1;
        Self(u16::try_from(bits % marks).map_or(FIRST, |offset| FIRST.saturating_add(offset)))
    }

    /// Parses the header `Thread`; `None` for a value out of range.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let number: u16 = core::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?;
        (number >= FIRST).then_some(Self(number))
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_in_their_range() {
        let number = |bits| Thread::from_random(bits).number();
        assert_eq!([number(0), number(64_511), number(64_512)], [1024, u16::MAX, 1024]);
        for text in ["0", "1023", "65536", "-1", "x", ""] {
            assert_eq!(Thread::parse(text.as_bytes()), None, "{text}");
        }
    }
}
