//! Times as text, for the input and the output of `pyzorctl`.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pyzord_core::UnixTime;
use thiserror::Error;

/// Microseconds in a second.
const MICROS: u64 = 1_000_000;

/// Returns a time in the system's time zone with its offset, in whole seconds.
pub(crate) fn local(time: UnixTime) -> String {
    match Timestamp::from_second(time.seconds()) {
        Ok(instant) => instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
        // A record can hold a time outside the years that a calendar date has.
        Err(_) => Seconds(time).to_string(),
    }
}

/// A time in Unix seconds, with a fraction if there is one.
#[derive(Debug)]
pub(crate) struct Seconds(pub(crate) UnixTime);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.micros();
        let (sign, size) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
        write!(f, "{sign}{}", size / MICROS)?;
        let fraction = format!("{:06}", size % MICROS);
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            digits => write!(f, ".{digits}"),
        }
    }
}

impl Seconds {
    /// Parses what [`Display`](fmt::Display) writes, without loss.
    pub(crate) fn parse(text: &str) -> Option<UnixTime> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > 6 {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
        // Both parts get the sign before they are added: the lowest number has no positive counterpart.
        let sign = if negative { -1 } else { 1 };
        let micros = (sign * whole).checked_mul(MICROS.cast_signed())?.checked_add(sign * fraction)?;
        Some(UnixTime::from_micros(micros))
    }
}

/// A text is not a time in any of the forms that [`parse`] accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("expected Unix seconds, or a date such as 2026-11-22T20:03:38+01:00 or 2026-11-22T20:03:38")]
pub(crate) struct NotATime;

/// Parses a time of the command line: Unix seconds, a date with an offset, or a date in local time.
pub(crate) fn parse(text: &str) -> Result<UnixTime, NotATime> {
    let date = || text.parse::<Timestamp>().ok().or_else(|| local_date(text));
    let time = || date().map(|date| UnixTime::from_micros(date.as_microsecond()));
    Seconds::parse(text).or_else(time).ok_or(NotATime)
}

fn local_date(text: &str) -> Option<Timestamp> {
    let date: DateTime = text.parse().ok()?;
    date.to_zoned(TimeZone::system()).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let at = UnixTime::from_seconds(1_700_000_000);
        for text in ["1700000000", "1700000000.0", "2023-11-14T22:13:20Z", "2023-11-14 23:13:20+01:00"] {
            assert_eq!(parse(text), Ok(at), "{text}");
        }
        let shown = local(at);
        let (civil, _) = shown.split_at(19);
        assert_eq!(parse(civil), Ok(at), "{civil}");
        for text in ["", "soon", "-", "1.", ".5", "1.1234567", "9223372036855", "+1", "1e9"] {
            assert_eq!(Seconds::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn seconds_are_exact(micros: i64) {
            let time = UnixTime::from_micros(micros);
            prop_assert_eq!(Seconds::parse(&Seconds(time).to_string()), Some(time));
        }
    }
}
