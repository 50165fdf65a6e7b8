//! One row of the table: how a record is written, and how it is read back.
//!
//! Dates are local time of the database server, as Python's server writes them; the codec has its zone. Where a
//! change of the clocks repeats an hour, a time in it means the first pass; a time that a change skips is
//! moved forward by the length of the gap.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use mysql::Value;
use pyzord_core::{Digest, Record, Tally, UnixTime};

use super::schema::Schema;
use crate::bug::bug;

/// The columns of a record, in the order of [`Codec::row`].
pub(super) const FIELDS: &str = "digest, r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated";

/// Why a row is not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the key is not a digest of 40 hex digits")]
    Key,
    #[error("the key has digits in upper case, which this table distinguishes from lower case")]
    Case,
    #[error("a count is negative")]
    Count,
    #[error("a date is not in the calendar")]
    Date,
    #[error(
        "a date is too late: the last one that is read is 9999-12-30 22:00:00 UTC; set it to NULL if it means never"
    )]
    Late,
    #[error("the row does not have the columns of a record")]
    Columns,
}

/// Encodes and decodes rows.
#[derive(Clone, Debug)]
pub struct Codec {
    pub zone: TimeZone,
    pub schema: Schema,
}

impl Codec {
    /// Encodes a record as the values of a row.
    pub fn row(&self, digest: Digest, record: &Record) -> [Value; 7] {
        let Record { reports, whitelists } = record;
        [
            key(digest),
            Value::UInt(reports.count.min(self.schema.most_reports)),
            self.optional(reports.entered),
            self.optional(reports.updated),
            Value::UInt(whitelists.count.min(self.schema.most_whitelists)),
            self.optional(whitelists.entered),
            self.optional(whitelists.updated),
        ]
    }

    /// Decodes the values of a row, without its key.
    pub fn record(&self, fields: &[Value]) -> Result<Record, Unreadable> {
        let [r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated] = fields else {
            return Err(Unreadable::Columns);
        };
        let tally = |count, entered, updated| {
            Ok(Tally {
                count: self::count(count)?,
                entered: self.read(entered)?,
                updated: self.read(updated)?,
            })
        };
        Ok(Record {
            reports: tally(r_count, r_entered, r_updated)?,
            whitelists: tally(wl_count, wl_entered, wl_updated)?,
        })
    }

    /// Returns the record as it is read after it was written.
    pub fn rounded(&self, record: &Record) -> Record {
        let [_, fields @ ..] = self.row(Digest::new([0; 20]), record);
        self.record(&fields).unwrap_or_else(|why| {
            bug(format_args!("{record:?} was encoded, and cannot be decoded: {why}"));
            *record
        })
    }

    /// Encodes a date, cut to what the columns have room for: the server would round it, maybe to a second in
    /// the future. Writes a year before 1000 or after 9999 as the nearest.
    pub(super) fn date(&self, date: UnixTime) -> Value {
        let [first, last] = [Timestamp::MIN, Timestamp::MAX].map(|end| end.as_second() * 1_000_000);
        let micros = date.micros().clamp(first, last);
        let cut = micros - micros.rem_euclid(self.schema.unit);
        let instant = Timestamp::from_microsecond(cut).unwrap_or_else(|_| {
            bug(format_args!("{cut} is not a time, though it was clamped"));
            Timestamp::MIN
        });
        let local = self.zone.to_datetime(instant);
        match u16::try_from(local.year()) {
            Ok(year @ 1000..) => Value::Date(
                year,
                local.month().unsigned_abs(),
                local.day().unsigned_abs(),
                local.hour().unsigned_abs(),
                local.minute().unsigned_abs(),
                local.second().unsigned_abs(),
                local.subsec_nanosecond().unsigned_abs() / 1000,
            ),
            _ => Value::Date(1000, 1, 1, 0, 0, 0, 0),
        }
    }

    fn optional(&self, date: Option<UnixTime>) -> Value {
        date.map_or(Value::NULL, |date| self.date(date))
    }

    pub(super) fn read(&self, value: &Value) -> Result<Option<UnixTime>, Unreadable> {
        let (year, [month, day, hour, minute, second], micros) = match *value {
            Value::NULL | Value::Date(0, 0, 0, ..) => return Ok(None),
            Value::Date(y, m, d, h, min, s, micros) => (y, [m, d, h, min, s], micros),
            _ => return Err(Unreadable::Date),
        };
        let small = |part: u8| i8::try_from(part).map_err(|_| Unreadable::Date);
        let year = i16::try_from(year).map_err(|_| Unreadable::Date)?;
        let nanos = i32::try_from(u64::from(micros) * 1000).map_err(|_| Unreadable::Date)?;
        let local = DateTime::new(
            year,
            small(month)?,
            small(day)?,
            small(hour)?,
            small(minute)?,
            small(second)?,
            nanos,
        );
        let local = self.zone.to_ambiguous_timestamp(local.map_err(|_| Unreadable::Date)?);
        // Every other date of four digits is within the range of instants.
        let instant = local.compatible().map_err(|_| Unreadable::Late)?;
        Ok(Some(UnixTime::from_micros(instant.as_microsecond())))
    }

    /// Parses a key as a digest, if a look-up of the digest finds this key.
    pub fn digest(&self, key: &[u8]) -> Result<Digest, Unreadable> {
        let digest = Digest::parse(key).ok_or(Unreadable::Key)?;
        if self.schema.any_case || digest.hex() == key { Ok(digest) } else { Err(Unreadable::Case) }
    }
}

/// Encodes a digest as the key of its row.
pub(super) fn key(digest: Digest) -> Value {
    Value::Bytes(digest.hex().to_vec())
}

/// Returns the text of a key. The schema has checked that the column holds text.
pub(super) fn text(key: &Value) -> &[u8] {
    if let Value::Bytes(bytes) = key {
        return bytes;
    }
    bug(format_args!("a key is not text"));
    &[]
}

/// Splits a row of [`FIELDS`] into the text of its key and the values of its record.
pub(super) fn split(values: &[Value]) -> (&[u8], &[Value]) {
    if let [key, fields @ ..] = values {
        return (text(key), fields);
    }
    bug(format_args!("a row has no columns"));
    (&[], &[])
}

/// Decodes a count; one that is larger than the replies have room for is the largest that they have.
fn count(value: &Value) -> Result<u64, Unreadable> {
    match *value {
        Value::NULL => Ok(0),
        Value::UInt(count) => Ok(count.min(Tally::MAX)),
        Value::Int(count) => u64::try_from(count).map_err(|_| Unreadable::Count),
        _ => Err(Unreadable::Count),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codec(zone: &str, unit: i64) -> Codec {
        Codec { zone: TimeZone::get(zone).unwrap(), schema: Schema { unit, ..Schema::default() } }
    }

    fn date(date: (u16, u8, u8, u8, u8, u8, u32)) -> Value {
        Value::Date(date.0, date.1, date.2, date.3, date.4, date.5, date.6)
    }

    #[test]
    fn dates_are_local_and_cut_never_rounded_up() {
        let table = [
            ("UTC", 1_000_000, 1_700_000_000_999_999, (2023, 11, 14, 22, 13, 20, 0)),
            ("UTC", 1, 1_700_000_000_999_999, (2023, 11, 14, 22, 13, 20, 999_999)),
            ("UTC", 1000, 1_700_000_000_999_999, (2023, 11, 14, 22, 13, 20, 999_000)),
            ("UTC", 1_000_000, -1, (1969, 12, 31, 23, 59, 59, 0)),
            ("Europe/Berlin", 1_000_000, 1_700_000_000_000_000, (2023, 11, 14, 23, 13, 20, 0)),
            ("UTC", 1_000_000, i64::MIN + 1_000_000, (1000, 1, 1, 0, 0, 0, 0)),
        ];
        for (zone, unit, micros, expected) in table {
            assert_eq!(
                codec(zone, unit).date(UnixTime::from_micros(micros)),
                date(expected),
                "{zone} {micros}"
            );
        }
        let Value::Date(9999, ..) = codec("UTC", 1).date(UnixTime::from_micros(i64::MAX)) else { panic!() };
    }

    #[test]
    fn every_form_of_a_value_is_read_or_refused() {
        let codec = codec("UTC", 1);
        let row =
            |count: Value, date: Value| [count, date, Value::NULL, Value::NULL, Value::NULL, Value::NULL];
        let day = date((2023, 11, 14, 22, 13, 20, 5));
        let at = UnixTime::from_micros(1_700_000_000_000_005);
        let table = [
            (row(Value::NULL, Value::NULL), Ok((0, None))),
            (row(Value::Int(7), day.clone()), Ok((7, Some(at)))),
            (row(Value::UInt(u64::MAX), date((0, 0, 0, 0, 0, 0, 0))), Ok((Tally::MAX, None))),
            (row(Value::Int(-1), Value::NULL), Err(Unreadable::Count)),
            (row(Value::Double(1.0), Value::NULL), Err(Unreadable::Count)),
            (row(Value::NULL, date((2023, 0, 0, 0, 0, 0, 0))), Err(Unreadable::Date)),
            (row(Value::NULL, date((9999, 12, 31, 0, 0, 0, 0))), Err(Unreadable::Late)),
            (row(Value::NULL, date((2023, 2, 29, 0, 0, 0, 0))), Err(Unreadable::Date)),
            (row(Value::NULL, date((2023, 2, 28, 0, 0, 0, u32::MAX))), Err(Unreadable::Date)),
            (row(Value::NULL, Value::Bytes(b"2023-11-14".to_vec())), Err(Unreadable::Date)),
        ];
        for (fields, expected) in table {
            let read = codec.record(&fields).map(|record| (record.reports.count, record.reports.entered));
            assert_eq!(read, expected, "{fields:?}");
        }
        assert!(codec.record(&[day]).is_err());
    }

    #[test]
    fn a_key_is_a_digest_when_a_look_up_would_find_it() {
        let (mut codec, hex) = (codec("UTC", 1), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        let upper = hex.to_uppercase();
        assert_eq!(codec.digest(upper.as_bytes()).unwrap().to_string(), hex);
        codec.schema.any_case = false;
        assert_eq!(codec.digest(upper.as_bytes()), Err(Unreadable::Case));
        assert_eq!(codec.digest(hex.as_bytes()).unwrap().to_string(), hex);
        assert_eq!(codec.digest(b"public"), Err(Unreadable::Key));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            zone in proptest::sample::select(&["UTC", "Europe/Berlin", "Australia/Lord_Howe"][..]),
            unit in proptest::sample::select(&[1, 1000, 1_000_000][..]),
            counts in any::<(u64, u64)>(),
            dates in any::<[Option<i64>; 4]>(),
        ) {
            let codec = codec(zone, unit);
            let [r_entered, r_updated, wl_entered, wl_updated] = dates.map(|date| date.map(UnixTime::from_micros));
            let record = Record {
                reports: Tally { count: counts.0, entered: r_entered, updated: r_updated },
                whitelists: Tally { count: counts.1, entered: wl_entered, updated: wl_updated },
            };
            let rounded = codec.rounded(&record);
            prop_assert_eq!(rounded.reports.count, counts.0.min(codec.schema.most_reports));
            let first = codec.row(Digest::new([1; 20]), &record);
            prop_assert_eq!(codec.record(&first[1..]), Ok(rounded));
            prop_assert_eq!(codec.row(Digest::new([1; 20]), &rounded), first);
        }
    }
}
