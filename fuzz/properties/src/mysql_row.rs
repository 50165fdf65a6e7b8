use arbitrary::{Arbitrary, Result, Unstructured};
use mysql::Value;
use pyzord_core::{Digest, Record, Tally, UnixTime};
use pyzord_engines::mysql::Schema;
use pyzord_engines::mysql::row::Codec;

use crate::record;

#[derive(Arbitrary, Debug)]
enum Cell {
    Null,
    Bytes(Vec<u8>),
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    Date(u16, u8, u8, u8, u8, u8, u32),
    Time(bool, u32, u8, u8, u8, u32),
}

/// A row is read back within the ranges of its columns: counts up to the largest, dates truncated and never rounded
/// up. A readable row is written in a form that stays the same. A key is a digest if a look-up finds it.
pub fn mysql_row(data: &[u8]) {
    let _ = check(Unstructured::new(data));
}

fn check(mut input: Unstructured<'_>) -> Result<()> {
    let schema = Schema {
        most_reports: input.arbitrary::<u64>()? & Tally::MAX,
        most_whitelists: input.arbitrary::<u64>()? & Tally::MAX,
        unit: 10_i64.pow(input.int_in_range(0..=6)?),
        any_case: input.arbitrary()?,
    };
    let codec = Codec { zone: record::zone(&mut input)?, schema };
    let record = record::record(&mut input)?;
    let rounded = codec.rounded(&record);
    assert_eq!(rounded.reports.count, record.reports.count.min(schema.most_reports));
    assert_eq!(rounded.whitelists.count, record.whitelists.count.min(schema.most_whitelists));
    for (before, after) in record::dates(&record).into_iter().zip(record::dates(&rounded)) {
        assert_eq!(before.is_some(), after.is_some());
        let earliest = UnixTime::from_seconds(-30_000_000_000);
        assert!(before < Some(earliest) || after <= before, "{after:?} {before:?}");
    }
    stays(&codec, &rounded);
    let cells = [(); 6].map(|()| input.arbitrary().unwrap_or(Cell::Null).value());
    if let Ok(record) = codec.record(&cells) {
        stays(&codec, &codec.rounded(&record));
    }
    check_key(&codec, input.take_rest());
    Ok(())
}

/// A truncated date stays the same.
fn stays(codec: &Codec, rounded: &Record) {
    let row = codec.row(Digest::new([1; 20]), rounded);
    let (_, fields) = row.split_first().unwrap_or((&Value::NULL, &[]));
    assert_eq!(codec.record(fields), Ok(*rounded));
    assert_eq!(codec.rounded(rounded), *rounded);
}

fn check_key(codec: &Codec, key: &[u8]) {
    if let Ok(digest) = codec.digest(key) {
        assert!(digest.hex().eq_ignore_ascii_case(key));
        assert!(codec.schema.any_case || digest.hex() == key);
    }
}

impl Cell {
    fn value(self) -> Value {
        match self {
            Self::Null => Value::NULL,
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Int(number) => Value::Int(number),
            Self::UInt(number) => Value::UInt(number),
            Self::Float(number) => Value::Float(number),
            Self::Double(number) => Value::Double(number),
            Self::Date(year, month, day, hour, minute, second, micros) => {
                Value::Date(year, month, day, hour, minute, second, micros)
            }
            Self::Time(negative, days, hours, minutes, seconds, micros) => {
                Value::Time(negative, days, hours, minutes, seconds, micros)
            }
        }
    }
}
