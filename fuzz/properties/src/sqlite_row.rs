use arbitrary::{Arbitrary, Result, Unstructured};
use pyzord_core::{Tally, UnixTime};
use pyzord_engines::codec::sqlite::{Value, decode, encode};

use crate::record;

/// The years 1 to 9999, in microseconds since 1970.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

#[derive(Arbitrary, Debug)]
enum Cell {
    Null,
    Any(i64),
    Small(i8),
    /// A distance to the first or the last date.
    First(i8),
    Last(i8),
    Other,
}

/// A row of any values is refused, or is a record that is written back as the same row. A record is read back as it is,
/// within the range of counts and dates.
pub fn sqlite_row(data: &[u8]) {
    let _ = check(Unstructured::new(data));
}

fn check(mut input: Unstructured<'_>) -> Result<()> {
    let record = record::record(&mut input)?;
    let written = encode(&record);
    let date = |date: UnixTime| UnixTime::from_micros(date.micros().clamp(*YEARS.start(), *YEARS.end()));
    let expected = record::with_dates(&record, |day| Some(date(day)));
    assert_eq!(decode(written.map(stored)), Ok(expected));
    let row: [Value; 6] = [(); 6].map(|()| input.arbitrary().unwrap_or(Cell::Null).value());
    let is_count = |value: Value| matches!(value, Value::Integer(0..));
    let is_date = |value: Value| match value {
        Value::Null => true,
        Value::Integer(micros) => YEARS.contains(&micros),
        Value::Other => false,
    };
    let [r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated] = row;
    let is_record = [r_count, wl_count].into_iter().all(is_count)
        && [r_entered, r_updated, wl_entered, wl_updated].into_iter().all(is_date);
    match decode(row) {
        Ok(record) => {
            assert!(is_record && record.reports.count <= Tally::MAX, "{row:?}");
            assert_eq!(encode(&record).map(stored), row);
        }
        Err(_) => assert!(!is_record, "{row:?}"),
    }
    Ok(())
}

fn stored(value: Option<i64>) -> Value {
    value.map_or(Value::Null, Value::Integer)
}

impl Cell {
    fn value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Any(number) => Value::Integer(number),
            Self::Small(number) => Value::Integer(number.into()),
            Self::First(distance) => Value::Integer(YEARS.start() + i64::from(distance)),
            Self::Last(distance) => Value::Integer(YEARS.end() + i64::from(distance)),
            Self::Other => Value::Other,
        }
    }
}
