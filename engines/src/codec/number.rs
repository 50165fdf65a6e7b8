//! Numbers as decimal text.

use pyzord_core::Tally;

/// Parses a decimal number from 0 to [`Tally::MAX`].
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let value = digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    (!digits.is_empty() && value <= Tally::MAX).then_some(value)
}

/// Appends a number without leading zeros.
pub(crate) fn push_number(mut value: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(last_digit(value));
        value /= 10;
        if value == 0 {
            break;
        }
    }
    let (_, digits) = out.split_at_mut(start);
    digits.reverse();
}

/// Returns the last two digits of a number.
pub(crate) fn digits(value: impl Into<u64>) -> [u8; 2] {
    let value = value.into();
    [last_digit(value / 10), last_digit(value)]
}

fn last_digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}
