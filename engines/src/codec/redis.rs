//! The fields of one record in a redis hash.
//!
//! ```text
//! r_count, wl_count                                  decimal, 0 to 9223372036854775807
//! r_entered, r_updated, wl_entered, wl_updated       Unix time in seconds; 0 is never
//! ```
//!
//! Numbers have no leading zeros, as redis itself increments no others. A missing field is 0.

use pyzord_core::{Record, Tally, UnixTime};

use super::number::number;

/// The names of the fields, in the order of [`decode`] and [`encode`].
pub const FIELDS: [&str; 6] = ["r_count", "r_entered", "r_updated", "wl_count", "wl_entered", "wl_updated"];

/// The largest distance of a date from 1970 in seconds, about 292,000 years; `UnixTime` holds no more.
const FARTHEST: i64 = i64::MAX / 1_000_000;

/// Why fields are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// A count is not a decimal number from 0 to [`Tally::MAX`].
    #[error("a count is not a number from 0 to 9223372036854775807")]
    Count,
    /// A date is not a decimal number of seconds.
    #[error("a date is not a number of seconds since 1970")]
    Date,
}

/// Decodes the values of [`FIELDS`].
///
/// # Errors
/// If a value is not of its form. The caller must then leave the record as it is.
pub fn decode(fields: [Option<&[u8]>; 6]) -> Result<Record, Unreadable> {
    let [r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated] = fields;
    Ok(Record {
        reports: tally(r_count, r_entered, r_updated)?,
        whitelists: tally(wl_count, wl_entered, wl_updated)?,
    })
}

/// Encodes a record as the values of [`FIELDS`]. Cuts dates to their second; the first second of 1970 becomes
/// never.
#[must_use]
pub fn encode(record: &Record) -> [i64; 6] {
    let count = |tally: &Tally| tally.count.min(Tally::MAX).cast_signed();
    // The earliest `UnixTime` is a fraction of a second before the earliest second that `decode` accepts.
    let date = |date: Option<UnixTime>| date.map_or(0, |date| date.seconds().max(-FARTHEST));
    let Record { reports, whitelists } = record;
    [
        count(reports),
        date(reports.entered),
        date(reports.updated),
        count(whitelists),
        date(whitelists.entered),
        date(whitelists.updated),
    ]
}

fn tally(count: Option<&[u8]>, entered: Option<&[u8]>, updated: Option<&[u8]>) -> Result<Tally, Unreadable> {
    Ok(Tally {
        count: count.map_or(Some(0), plain).ok_or(Unreadable::Count)?,
        entered: date(entered)?,
        updated: date(updated)?,
    })
}

fn date(field: Option<&[u8]>) -> Result<Option<UnixTime>, Unreadable> {
    let Some(field) = field else { return Ok(None) };
    let (negative, digits) = field.strip_prefix(b"-").map_or((false, field), |digits| (true, digits));
    let seconds = plain(digits).map(u64::cast_signed).filter(|&seconds| seconds <= FARTHEST);
    let seconds = seconds.ok_or(Unreadable::Date)?;
    let seconds = if negative { -seconds } else { seconds };
    Ok((seconds != 0).then(|| UnixTime::from_seconds(seconds)))
}

/// Parses a number without leading zeros.
fn plain(digits: &[u8]) -> Option<u64> {
    let padded = digits.len() > 1 && digits.first() == Some(&b'0');
    if padded { None } else { number(digits) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Option<UnixTime> {
        Some(UnixTime::from_seconds(seconds))
    }

    fn fields<'a>(text: &'a str) -> [Option<&'a [u8]>; 6] {
        let fields: Vec<Option<&'a [u8]>> =
            text.split(',').map(|field| (field != "-").then_some(field.as_bytes())).collect();
        fields.try_into().unwrap()
    }

    fn written(record: &Record) -> String {
        encode(record).map(|field| field.to_string()).join(",")
    }

    #[test]
    fn every_known_form_is_read() {
        let reports = |count, entered, updated| Record {
            reports: Tally { count, entered, updated },
            ..Record::default()
        };
        let table = [
            ("-,-,-,-,-,-", Record::default()),
            ("0,0,0,0,0,0", Record::default()),
            ("3,1700000000,-,-,-,-", reports(3, at(1_700_000_000), None)),
            ("9223372036854775807,0,1,0,0,0", reports(Tally::MAX, None, at(1))),
            ("1,-5,9223372036854,0,0,0", reports(1, at(-5), at(9_223_372_036_854))),
            (
                "-,-,-,2,0,7",
                Record { whitelists: Tally { count: 2, entered: None, updated: at(7) }, ..Record::default() },
            ),
        ];
        for (text, record) in table {
            assert_eq!(decode(fields(text)), Ok(record), "{text}");
        }
    }

    #[test]
    fn anything_else_is_unreadable() {
        use Unreadable::{Count, Date};
        let table = [
            (",0,0,0,0,0", Count),
            ("-1,0,0,0,0,0", Count),
            ("+1,0,0,0,0,0", Count),
            ("007,0,0,0,0,0", Count),
            ("1 ,0,0,0,0,0", Count),
            ("1.0,0,0,0,0,0", Count),
            ("9223372036854775808,0,0,0,0,0", Count),
            ("0,0,0,99999999999999999999999,0,0", Count),
            ("0,,0,0,0,0", Date),
            ("0,0,None,0,0,0", Date),
            ("0,0,0,0,9223372036855,0", Date),
            ("0,0,0,0,--5,0", Date),
            ("0,0,0,0,0,1700000000.5", Date),
            ("0,0,0,0,0,2023-11-14 22:13:20", Date),
        ];
        for (text, cause) in table {
            assert_eq!(decode(fields(text)), Err(cause), "{text}");
        }
    }

    #[test]
    fn the_first_second_of_1970_is_never_and_fractions_are_lost() {
        let date = |micros| Some(UnixTime::from_micros(micros));
        let record = Record {
            reports: Tally { count: 1, entered: date(999_999), updated: date(1_500_000) },
            whitelists: Tally { count: 1, entered: None, updated: date(-1) },
        };
        assert_eq!(written(&record), "1,0,1,1,0,-1");
    }

    /// The earliest second could be written, and was refused by the reader.
    #[test]
    fn the_earliest_and_the_latest_instant_are_read_back() {
        let [entered, updated] = [i64::MIN, i64::MAX].map(|micros| Some(UnixTime::from_micros(micros)));
        let record = Record { reports: Tally { count: 1, entered, updated }, ..Record::default() };
        let read = decode(fields(&written(&record))).unwrap();
        assert_eq!((read.reports.entered, read.reports.updated), (at(-FARTHEST), at(FARTHEST)));
    }

    fn date() -> impl Strategy<Value = Option<UnixTime>> {
        proptest::option::of((1_i64..1 << 40).prop_map(UnixTime::from_seconds))
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
            prop_assert_eq!(decode(fields(&written(&record))), Ok(record));
        }

        #[test]
        fn no_value_panics(values in proptest::array::uniform6(proptest::option::of("[-0-9x]{0,25}"))) {
            let fields = values.each_ref().map(|value| value.as_deref().map(str::as_bytes));
            if let Ok(record) = decode(fields) {
                prop_assert_eq!(decode(self::fields(&written(&record))), Ok(record));
            }
        }
    }
}
