//! The text of one record in redis, as the first Pyzor servers wrote it.
//!
//! ```text
//! value = tally "," tally                    reports, then whitelistings
//! tally = count "," date "," date            how often, when first, when last
//! date  = "" / YYYY-MM-DD HH:MM:SS           local time; empty is never
//! ```
//!
//! A local date does not name its time zone: the caller does.

use jiff::tz::TimeZone;
use pyzord_core::{Record, Tally, UnixTime};

use super::date::{parse_local, push_local};
use super::number::{number, push_number};

/// The length of a date.
const DATE_LEN: usize = 19;

/// Why a value is not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It does not have six fields.
    #[error("it has not 6 fields")]
    Fields,
    /// A count is not a decimal number from 0 to [`Tally::MAX`].
    #[error("a count is not a number from 0 to 9223372036854775807")]
    Count,
    /// A date is not of the form `YYYY-MM-DD HH:MM:SS`, or is not in the calendar.
    #[error("a date is not of the form YYYY-MM-DD HH:MM:SS")]
    Date,
}

/// Decodes a stored value.
///
/// # Errors
/// If the value is not a record. The caller must then leave it as it is.
pub fn decode(value: &[u8], zone: &TimeZone) -> Result<Record, Unreadable> {
    let mut fields = value.split(|&byte| byte == b',');
    let mut next = || fields.next().ok_or(Unreadable::Fields);
    let (reports, whitelists) = ([next()?, next()?, next()?], [next()?, next()?, next()?]);
    if next().is_ok() {
        return Err(Unreadable::Fields);
    }
    Ok(Record { reports: tally(reports, zone)?, whitelists: tally(whitelists, zone)? })
}

/// Encodes a record into `out`, whose content is replaced. Cuts dates to their second, and writes a year
/// before 1 or after 9999 as the nearest.
pub fn encode(record: &Record, zone: &TimeZone, out: &mut Vec<u8>) {
    out.clear();
    for (index, tally) in [&record.reports, &record.whitelists].into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_number(tally.count.min(Tally::MAX), out);
        for date in [tally.entered, tally.updated] {
            out.push(b',');
            if let Some(date) = date {
                push_date(date, zone, out);
            }
        }
    }
}

/// Appends a date, cut to its second.
pub fn push_date(date: UnixTime, zone: &TimeZone, out: &mut Vec<u8>) {
    let end = out.len() + DATE_LEN;
    push_local(date, zone, out);
    out.truncate(end);
}

fn tally([count, entered, updated]: [&[u8]; 3], zone: &TimeZone) -> Result<Tally, Unreadable> {
    Ok(Tally {
        count: number(count).ok_or(Unreadable::Count)?,
        entered: date(entered, zone)?,
        updated: date(updated, zone)?,
    })
}

fn date(field: &[u8], zone: &TimeZone) -> Result<Option<UnixTime>, Unreadable> {
    match field.len() {
        0 => Ok(None),
        DATE_LEN => parse_local(field, zone).map(Some).ok_or(Unreadable::Date),
        _ => Err(Unreadable::Date),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(record: &Record, zone: &TimeZone) -> String {
        let mut out = b"what was there".to_vec();
        encode(record, zone, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn at(seconds: i64) -> Option<UnixTime> {
        Some(UnixTime::from_seconds(seconds))
    }

    #[test]
    fn records_are_written_as_python_writes_them() {
        let reports = Tally { count: 3, entered: at(1_700_000_000), updated: at(1_700_000_001) };
        let whitelists = Tally { count: Tally::MAX, entered: None, updated: at(0) };
        let table = [
            ("UTC", Record::default(), "0,,,0,,"),
            (
                "UTC",
                Record { reports, whitelists },
                "3,2023-11-14 22:13:20,2023-11-14 22:13:21,9223372036854775807,,1970-01-01 00:00:00",
            ),
            (
                "America/St_Johns",
                Record { reports, whitelists: Tally::default() },
                "3,2023-11-14 18:43:20,2023-11-14 18:43:21,0,,",
            ),
        ];
        for (zone, record, expected) in table {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(text(&record, &zone), expected);
            assert_eq!(decode(expected.as_bytes(), &zone), Ok(record), "{expected}");
        }
    }

    #[test]
    fn anything_else_is_unreadable() {
        use Unreadable::{Count, Date, Fields};
        let table: &[(&[u8], Unreadable)] = &[
            (b"", Fields),
            (b"0,,,0,", Fields),
            (b"0,,,0,,,", Fields),
            (b"1,0,,,0,,", Fields),
            (b",,,0,,", Count),
            (b"-1,,,0,,", Count),
            (b"0,,,9223372036854775808,,", Count),
            (b"0,None,,0,,", Date),
            (b"0,1700000000,,0,,", Date),
            (b"0,2023-02-29 00:00:00,,0,,", Date),
            (b"0,2023-11-14 22:13:20.5,,0,,", Date),
            (b"0,,,0,,2023-11-14T22:13:20", Date),
            (b"0,,,0,,\xff", Date),
        ];
        for (value, cause) in table {
            assert_eq!(decode(value, &TimeZone::UTC), Err(*cause), "{}", value.escape_ascii());
        }
    }

    fn date() -> impl Strategy<Value = Option<UnixTime>> {
        proptest::option::of((-1_i64 << 34..1 << 36).prop_map(UnixTime::from_seconds))
    }

    fn tallies() -> impl Strategy<Value = Tally> {
        (0..=Tally::MAX, date(), date()).prop_map(|(count, entered, updated)| Tally {
            count,
            entered,
            updated,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(reports in tallies(), whitelists in tallies()) {
            let record = Record { reports, whitelists };
            prop_assert_eq!(decode(text(&record, &TimeZone::UTC).as_bytes(), &TimeZone::UTC), Ok(record));
        }

        #[test]
        fn no_value_panics(value in proptest::collection::vec(any::<u8>(), 0..80), near in "[0-9,: -]{0,100}") {
            for value in [&value[..], near.as_bytes()] {
                if let Ok(record) = decode(value, &TimeZone::UTC) {
                    prop_assert_eq!(decode(text(&record, &TimeZone::UTC).as_bytes(), &TimeZone::UTC), Ok(record));
                }
            }
        }
    }
}
