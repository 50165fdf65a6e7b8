//! Decimal numbers as bytes. Each reply has several, and `core::fmt` costs more.

/// The length of the longest number, `-9223372036854775808`.
const LEN: usize = 20;

/// A number in decimal digits.
pub(crate) struct Decimal {
    digits: [u8; LEN],
    start: usize,
}

impl Decimal {
    /// Returns the digits, behind `-` for a negative number.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

impl From<u64> for Decimal {
    fn from(mut number: u64) -> Self {
        let mut digits = [b'0'; LEN];
        let mut start = LEN;
        for (index, digit) in digits.iter_mut().enumerate().rev() {
            start = index;
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Self { digits, start }
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        let mut decimal = Self::from(number.unsigned_abs());
        // The 19 digits of an i64 leave room for the sign.
        if number < 0
            && let Some(sign) = decimal.digits.get_mut(decimal.start.saturating_sub(1))
        {
            *sign = b'-';
            decimal.start -= 1;
        }
        decimal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn writes_what_the_standard_library_writes() {
        for number in [0, 1, 9, 10, 99, 100, 2_139_062_143, u64::MAX - 1, u64::MAX] {
            assert_eq!(Decimal::from(number).as_bytes(), number.to_string().as_bytes());
        }
        for number in [0, -1, 7, -10, i64::MIN, i64::MAX] {
            assert_eq!(Decimal::from(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
