//! Local time as text: `YYYY-MM-DD HH:MM:SS`, with a fraction of a second or without.
//!
//! Where a change of the clocks repeats an hour, a time in it means the first pass. A time that a change
//! skips is moved forward by the length of the gap.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pyzord_core::UnixTime;

use super::number::{digits, number};

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;
/// The length of a date without a fraction.
const WHOLE: usize = 19;

/// Parses a local time with a fraction of 1 to 6 digits or none.
pub(super) fn parse_local(field: &[u8], zone: &TimeZone) -> Option<UnixTime> {
    let instant = zone.to_ambiguous_timestamp(local(field)?).compatible().ok()?;
    Some(UnixTime::from_micros(instant.as_microsecond()))
}

/// Appends a local time, with a fraction only if it is not zero. Writes a year before 1 or after 9999 as the
/// nearest.
pub(super) fn push_local(date: UnixTime, zone: &TimeZone, out: &mut Vec<u8>) {
    let latest = if date.micros() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let instant = Timestamp::from_microsecond(date.micros()).unwrap_or(latest);
    let local = zone.to_datetime(instant);
    if local.year() < 1 {
        return out.extend_from_slice(b"0001-01-01 00:00:00");
    }
    let (year, micros) =
        (local.year().unsigned_abs(), instant.as_microsecond().rem_euclid(MICROS).unsigned_abs());
    let [[y1, y2], [y3, y4]] = [year / 100, year].map(digits);
    let parts = [local.month(), local.day(), local.hour(), local.minute(), local.second()];
    let [[m1, m2], [d1, d2], [h1, h2], [n1, n2], [s1, s2]] = parts.map(|part| digits(part.unsigned_abs()));
    let [[f1, f2], [f3, f4], [f5, f6]] = [micros / 10_000, micros / 100, micros].map(digits);
    out.extend([y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b' ', h1, h2, b':', n1, n2, b':', s1, s2]);
    // As Python does: it writes no zero fraction, and its reader requires a digit after the point.
    if micros != 0 {
        out.extend([b'.', f1, f2, f3, f4, f5, f6]);
    }
}

/// Parses `YYYY-MM-DD HH:MM:SS` with a fraction of 1 to 6 digits or none.
fn local(field: &[u8]) -> Option<DateTime> {
    let (whole, fraction) = field.split_first_chunk::<WHOLE>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b' ', h1, h2, b':', n1, n2, b':', s1, s2] = *whole
    else {
        return None;
    };
    let year = i16::from(two(y1, y2)?) * 100 + i16::from(two(y3, y4)?);
    let nanos = if fraction.is_empty() { 0 } else { micros(fraction)? * 1000 };
    if year == 0 {
        return None;
    }
    DateTime::new(year, two(m1, m2)?, two(d1, d2)?, two(h1, h2)?, two(n1, n2)?, two(s1, s2)?, nanos).ok()
}

/// Parses a number of two digits.
fn two(tens: u8, ones: u8) -> Option<i8> {
    let [tens, ones] = [tens, ones].map(|digit| digit.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| (tens * 10 + ones).cast_signed())
}

/// Parses `.` and 1 to 6 digits as microseconds.
fn micros(fraction: &[u8]) -> Option<i32> {
    let (b'.', digits @ [_, ..]) = fraction.split_first()? else { return None };
    let missing = u32::try_from(6_usize.checked_sub(digits.len())?).ok()?;
    i32::try_from(number(digits)? * 10_u64.pow(missing)).ok()
}
