//! The values of a row of the sqlite engine: counts, and dates in microseconds since 1970.

use pyzord_core::{Record, Tally, UnixTime};

/// The first and the last date that is read, in microseconds: those of the years 1 to 9999.
const DATES: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// A value of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// None.
    Null,
    /// A whole number.
    Integer(i64),
    /// What no column of a record holds: a fraction, a text or bytes.
    Other,
}

/// Why a row is not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// A count is missing, negative, or no number.
    #[error("a count is not a whole number from 0 on")]
    Count,
    /// A date is neither missing nor one of the calendar's.
    #[error("a date is not in microseconds of the years 1 to 9999")]
    Date,
    /// The key is not a digest.
    #[error("the key does not have the 20 bytes of a digest")]
    Key,
}

/// Decodes the values of a row: count, first and last date of the reports, then of the whitelistings.
///
/// # Errors
/// If they are not a record.
pub fn decode(row: [Value; 6]) -> Result<Record, Unreadable> {
    let [r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated] = row;
    Ok(Record {
        reports: tally(r_count, r_entered, r_updated)?,
        whitelists: tally(wl_count, wl_entered, wl_updated)?,
    })
}

/// Encodes a record. What is beyond the range that is read becomes the nearest in it.
#[must_use]
pub fn encode(record: &Record) -> [Option<i64>; 6] {
    let Record { reports, whitelists } = record;
    let count = |tally: &Tally| Some(tally.count.min(Tally::MAX).cast_signed());
    let date = |date: Option<UnixTime>| date.map(|date| date.micros().clamp(*DATES.start(), *DATES.end()));
    [
        count(reports),
        date(reports.entered),
        date(reports.updated),
        count(whitelists),
        date(whitelists.entered),
        date(whitelists.updated),
    ]
}

fn tally(count: Value, entered: Value, updated: Value) -> Result<Tally, Unreadable> {
    let Value::Integer(count @ 0..) = count else { return Err(Unreadable::Count) };
    Ok(Tally { count: count.unsigned_abs(), entered: date(entered)?, updated: date(updated)? })
}

fn date(value: Value) -> Result<Option<UnixTime>, Unreadable> {
    match value {
        Value::Null => Ok(None),
        Value::Integer(micros) if DATES.contains(&micros) => Ok(Some(UnixTime::from_micros(micros))),
        Value::Integer(_) | Value::Other => Err(Unreadable::Date),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_out_of_range_is_not() {
        let [first, last] = [*DATES.start(), *DATES.end()].map(UnixTime::from_micros);
        let reports = Tally { count: Tally::MAX, entered: Some(first), updated: Some(last) };
        let record = Record { reports, whitelists: Tally::default() };
        let row = encode(&record).map(|value| value.map_or(Value::Null, Value::Integer));
        assert_eq!(decode(row), Ok(record));
        let beyond = Record {
            reports: Tally {
                count: u64::MAX,
                entered: Some(UnixTime::from_micros(i64::MIN)),
                updated: Some(UnixTime::from_micros(i64::MAX)),
            },
            ..Record::default()
        };
        assert_eq!(encode(&beyond), encode(&record));
        for (index, value, why) in [
            (0, Value::Null, Unreadable::Count),
            (0, Value::Integer(-1), Unreadable::Count),
            (3, Value::Other, Unreadable::Count),
            (1, Value::Integer(DATES.start() - 1), Unreadable::Date),
            (5, Value::Integer(DATES.end() + 1), Unreadable::Date),
            (4, Value::Other, Unreadable::Date),
        ] {
            let mut row = row;
            row[index] = value;
            assert_eq!(decode(row), Err(why), "{index} {value:?}");
        }
    }
}
