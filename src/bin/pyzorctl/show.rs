//! Records and times as people and as machines read them.

use std::fmt;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pyzord_core::{Digest, Record, Tally, UnixTime};

/// Microseconds in a second.
const MICROS: u64 = 1_000_000;

/// Writes what is stored for a digest, for people.
pub(crate) fn record(out: &mut dyn Write, digest: Digest, record: &Record) -> io::Result<()> {
    writeln!(out, "{digest}")?;
    if *record == Record::default() {
        return writeln!(out, "  no record");
    }
    writeln!(out, "  reports: {}", Counted(record.reports))?;
    writeln!(out, "  whitelistings: {}", Counted(record.whitelists))
}

/// Both counts in a few words.
pub(crate) fn counts(record: &Record) -> String {
    format!("{} reports, {} whitelistings", record.reports.count, record.whitelists.count)
}

/// A count with its dates.
struct Counted(Tally);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { count, entered, updated } = self.0;
        write!(f, "{count}")?;
        for (word, date) in [("first", entered), ("last", updated)] {
            if let Some(date) = date {
                write!(f, ", {word} {}", local(date))?;
            }
        }
        Ok(())
    }
}

/// A time with the offset of the system's time zone, in whole seconds.
pub(crate) fn local(time: UnixTime) -> String {
    match Timestamp::from_second(time.seconds()) {
        Ok(instant) => instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
        Err(_) => Seconds(time).to_string(),
    }
}

/// Unix seconds, with the fraction there is.
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
    /// Reads what is written above, exactly.
    pub(crate) fn parse(text: &str) -> Option<UnixTime> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > 6 {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
        // Negative from the start, since the lowest number has no positive counterpart.
        let sign = if negative { -1 } else { 1 };
        let micros = (sign * whole).checked_mul(MICROS.cast_signed())?.checked_add(sign * fraction)?;
        Some(UnixTime::from_micros(micros))
    }
}

/// A time on the command line: Unix seconds, a date with an offset, or a date in local time.
pub(crate) fn parse_time(text: &str) -> Result<UnixTime, String> {
    let local = || {
        let date: DateTime = text.parse().ok()?;
        date.to_zoned(TimeZone::system()).ok().map(|date| date.timestamp())
    };
    let instant = || text.parse::<Timestamp>().ok().or_else(local);
    let micros = || instant().map(|instant| UnixTime::from_micros(instant.as_microsecond()));
    let expected =
        "expected Unix seconds, or a date such as 2026-11-22T20:03:38+01:00 or 2026-11-22T20:03:38";
    Seconds::parse(text).or_else(micros).ok_or_else(|| expected.to_owned())
}

/// A JSON string.
pub(crate) struct Json<'a>(pub(crate) &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// A JSON value that may be absent.
pub(crate) struct OrNull<T>(pub(crate) Option<T>);

impl<T: fmt::Display> fmt::Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let at = UnixTime::from_seconds(1_700_000_000);
        for text in ["1700000000", "1700000000.0", "2023-11-14T22:13:20Z", "2023-11-14 23:13:20+01:00"] {
            assert_eq!(parse_time(text), Ok(at), "{text}");
        }
        let shown = local(at);
        let (civil, _) = shown.split_at(19);
        assert_eq!(parse_time(civil), Ok(at), "{civil}");
        for text in ["", "soon", "-", "1.", ".5", "1.1234567", "9223372036855", "+1", "1e9"] {
            assert_eq!(Seconds::parse(text), None, "{text}");
        }
    }

    #[test]
    fn strings_are_json() {
        assert_eq!(Json("a\"\\\n\u{1}é").to_string(), r#""a\"\\\u000a\u0001é""#);
    }

    proptest! {
        #[test]
        fn seconds_are_exact(micros: i64) {
            let time = UnixTime::from_micros(micros);
            prop_assert_eq!(Seconds::parse(&Seconds(time).to_string()), Some(time));
        }
    }
}
