//! Local time as text: `YYYY-MM-DD HH:MM:SS`, with a fraction of a second or without.
//!
//! In the hour that a change of the clocks repeats, the first pass is meant; a time that a change skipped is moved
//! on by as much.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pyzord_core::UnixTime;

use super::number::{number, push_digits};

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

/// Reads a local time, with a fraction of 1 to 6 digits or none.
pub(super) fn parse_local(field: &[u8], zone: &TimeZone) -> Option<UnixTime> {
    let instant = zone.to_ambiguous_timestamp(local(field)?).compatible().ok()?;
    Some(UnixTime::from_micros(instant.as_microsecond()))
}

/// Writes a local time, with a fraction only where there is one. Years beyond 1 to 9999 are written as the nearest.
pub(super) fn push_local(date: UnixTime, zone: &TimeZone, out: &mut Vec<u8>) {
    let latest = if date.micros() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let instant = Timestamp::from_microsecond(date.micros()).unwrap_or(latest);
    let local = zone.to_datetime(instant);
    if local.year() < 1 {
        return out.extend_from_slice(b"0001-01-01 00:00:00");
    }
    push_digits::<4>(local.year().unsigned_abs().into(), out);
    let parts = [(b'-', local.month()), (b'-', local.day()), (b' ', local.hour()), (b':', local.minute())];
    for (mark, part) in parts.into_iter().chain([(b':', local.second())]) {
        out.push(mark);
        push_digits::<2>(part.unsigned_abs().into(), out);
    }
    // Python writes no fraction when there is none, and its reader asks for a digit after the point.
    let micros = instant.as_microsecond().rem_euclid(MICROS).unsigned_abs();
    if micros != 0 {
        out.push(b'.');
        push_digits::<6>(micros, out);
    }
}

/// `YYYY-MM-DD HH:MM:SS`, and a fraction of 1 to 6 digits or none.
fn local(field: &[u8]) -> Option<DateTime> {
    let (whole, fraction) = field.split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b' ', h1, h2, b':', n1, n2, b':', s1, s2] = *whole
    else {
        return None;
    };
    let two = |tens, ones| number(&[tens, ones]).and_then(|value| i8::try_from(value).ok());
    let year = i16::try_from(number(&[y1, y2, y3, y4])?).ok().filter(|year| *year > 0)?;
    let nanos = if fraction.is_empty() { 0 } else { micros(fraction)? * 1000 };
    DateTime::new(year, two(m1, m2)?, two(d1, d2)?, two(h1, h2)?, two(n1, n2)?, two(s1, s2)?, nanos).ok()
}

/// The microseconds in `.` and 1 to 6 digits.
fn micros(fraction: &[u8]) -> Option<i32> {
    let (b'.', digits @ [_, ..]) = fraction.split_first()? else { return None };
    let missing = u32::try_from(6_usize.checked_sub(digits.len())?).ok()?;
    i32::try_from(number(digits)? * 10_u64.pow(missing)).ok()
}
