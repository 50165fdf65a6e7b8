//! The text of one record in a gdbm file.
//!
//! ```text
//! value   = v1 / v0
//! v1      = "1" "," tally "," tally          reports, then whitelistings
//! v0      = tally                            reports only, as the first Pyzor servers wrote them
//! tally   = count "," date "," date          how often, when first, when last
//! date    = "None" / "-1" / seconds / local
//! seconds = 1*DIGIT                          Unix time; 0 is never, and -1 in files of pyzor 0.3 to 0.5
//! local   = YYYY-MM-DD HH:MM:SS [ "." 1*6DIGIT ]
//! ```
//!
//! [`decode`] reads all of these; [`encode`] writes v1 with local dates. A local date does not name its time
//! zone: the caller does. Where a change of the clocks repeats an hour, a time in it means the first pass; a
//! time that a change skips is moved forward by the length of the gap.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pyzord_core::{Record, Tally, UnixTime};

use super::date;
use super::number::{number, push_number};

/// Why a value is not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It has neither the three fields of v0 nor the seven of v1.
    #[error("it has neither 3 nor 7 fields")]
    Fields,
    /// It has seven fields, but its version is not 1.
    #[error("its version is not 1")]
    Version,
    /// A count is not a decimal number from 0 to [`Tally::MAX`].
    #[error("a count is not a number from 0 to 9223372036854775807")]
    Count,
    /// A date has none of the known forms, or is not in the calendar.
    #[error("a date is not of a known form")]
    Date,
}

/// Decodes a stored value.
///
/// # Errors
/// If the value is not a record. The caller must then leave it as it is.
pub fn decode(value: &[u8], zone: &TimeZone) -> Result<Record, Unreadable> {
    let mut fields = value.split(|&byte| byte == b',');
    let mut next = || fields.next().ok_or(Unreadable::Fields);
    let (first, second, third) = (next()?, next()?, next()?);
    let Ok(fourth) = next() else {
        return Ok(Record { reports: tally([first, second, third], zone)?, ..Record::default() });
    };
    let rest = [next()?, next()?, next()?];
    if next().is_ok() {
        return Err(Unreadable::Fields);
    }
    if first != b"1" {
        return Err(Unreadable::Version);
    }
    Ok(Record { reports: tally([second, third, fourth], zone)?, whitelists: tally(rest, zone)? })
}

/// Encodes a record into `out`, whose content is replaced. Writes a year before 1 or after 9999 as the
/// nearest.
pub fn encode(record: &Record, zone: &TimeZone, out: &mut Vec<u8>) {
    out.clear();
    out.push(b'1');
    for tally in [&record.reports, &record.whitelists] {
        out.push(b',');
        push_number(tally.count.min(Tally::MAX), out);
        for date in [tally.entered, tally.updated] {
            out.push(b',');
            push_date(date, zone, out);
        }
    }
}

/// Returns the length of the v1 value with local dates that `bytes` begin with, as [`encode`] and Python write
/// it: a fraction of a second has six digits. `None` if there is none.
#[cfg(feature = "gdbm")]
pub(crate) fn written_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.strip_prefix(b"1")?;
    for _ in 0..2 {
        rest = rest.strip_prefix(b",")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = rest.get(digits..).filter(|_| (1..=19).contains(&digits))?;
        for _ in 0..2 {
            rest = strip_date(rest.strip_prefix(b",")?)?;
        }
    }
    Some(bytes.len() - rest.len())
}

/// Replaces the digits of the counts of a v1 value by zeros; it keeps its length.
#[cfg(feature = "gdbm")]
pub(crate) fn clear_counts(value: &mut [u8]) {
    for field in value.split_mut(|byte| *byte == b',').skip(1).step_by(3) {
        field.fill(b'0');
    }
}

#[cfg(feature = "gdbm")]
fn strip_date(bytes: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = bytes.strip_prefix(b"None") {
        return Some(rest);
    }
    let strip = |bytes: &[u8], form: &[u8]| -> Option<usize> {
        let matches =
            |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
        (bytes.len() >= form.len() && bytes.iter().zip(form).all(matches)).then_some(form.len())
    };
    let whole = strip(bytes, b"0000-00-00 00:00:00")?;
    let rest = bytes.get(whole..)?;
    rest.get(strip(rest, b".000000").unwrap_or(0)..)
}

fn tally([count, entered, updated]: [&[u8]; 3], zone: &TimeZone) -> Result<Tally, Unreadable> {
    Ok(Tally {
        count: number(count).ok_or(Unreadable::Count)?,
        entered: date(entered, zone)?,
        updated: date(updated, zone)?,
    })
}

/// Parses a date; `None` is never.
fn date(field: &[u8], zone: &TimeZone) -> Result<Option<UnixTime>, Unreadable> {
    if field == b"None" || field == b"-1" {
        return Ok(None);
    }
    let date = match number(field) {
        Some(0) => return Ok(None),
        Some(seconds) => Timestamp::from_second(seconds.cast_signed())
            .map(|instant| UnixTime::from_micros(instant.as_microsecond()))
            .map_err(|_| Unreadable::Date)?,
        None => date::parse_local(field, zone).ok_or(Unreadable::Date)?,
    };
    Ok(Some(date))
}

fn push_date(date: Option<UnixTime>, zone: &TimeZone, out: &mut Vec<u8>) {
    let Some(date) = date else { return out.extend_from_slice(b"None") };
    date::push_local(date, zone, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Microseconds in a second.
    const MICROS: i64 = 1_000_000;

    const ZONES: [&str; 6] =
        ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kathmandu"];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn text(record: &Record, zone: &TimeZone) -> String {
        let mut out = b"what was there".to_vec();
        encode(record, zone, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn at(micros: i64) -> Option<UnixTime> {
        Some(UnixTime::from_micros(micros))
    }

    fn reports(count: u64, entered: Option<UnixTime>, updated: Option<UnixTime>) -> Record {
        Record { reports: Tally { count, entered, updated }, ..Record::default() }
    }

    #[test]
    fn every_known_form_is_read() {
        let day = 1_700_000_000_000_000; // 2023-11-14 22:13:20 UTC
        let table: &[(&str, Record)] = &[
            ("1,0,None,None,0,None,None", Record::default()),
            ("1,3,2023-11-14 22:13:20,None,0,None,None", reports(3, at(day), None)),
            ("1,3,2023-11-14 22:13:20.000001,None,0,None,None", reports(3, at(day + 1), None)),
            (
                "1,3,2023-11-14 22:13:20.5,2023-11-14 22:13:20.25,0,None,None",
                reports(3, at(day + 500_000), at(day + 250_000)),
            ),
            ("1,3,1700000000,0,0,None,0", reports(3, at(day), None)),
            ("1,9223372036854775807,None,None,0,None,None", reports(Tally::MAX, None, None)),
            ("1,3,1700000000,1700000000,0,-1,-1", reports(3, at(day), at(day))),
            ("1,0,-1,-1,0,-1,-1", Record::default()),
            ("3,-1,1700000000", reports(3, None, at(day))),
            ("3,1700000000,1700000001", reports(3, at(day), at(day + MICROS))),
            ("3,0,0", reports(3, None, None)),
            ("3,None,2023-11-14 22:13:20", reports(3, None, at(day))),
            ("1,0,1969-12-31 23:59:59.999999,None,0,None,None", reports(0, at(-1), None)),
            ("1,0,2024-02-29 00:00:00,None,0,None,None", reports(0, at(1_709_164_800_000_000), None)),
            ("1,007,None,None,0,None,None", reports(7, None, None)),
        ];
        for (value, record) in table {
            assert_eq!(decode(value.as_bytes(), &TimeZone::UTC), Ok(*record), "{value}");
        }
    }

    #[test]
    fn anything_else_is_unreadable() {
        use Unreadable::{Count, Date, Fields, Version};
        let table: &[(&[u8], Unreadable)] = &[
            (b"", Fields),
            (b"1", Fields),
            (b"1,2,3,4", Fields),
            (b"1,0,None,None,0,None", Fields),
            (b"1,0,None,None,0,None,None,", Fields),
            (b"2,0,None,None,0,None,None", Version),
            (b",0,None,None,0,None,None", Version),
            (b"1,,None,None,0,None,None", Count),
            (b"1,-1,None,None,0,None,None", Count),
            (b"1,+1,None,None,0,None,None", Count),
            (b"1,9223372036854775808,None,None,0,None,None", Count),
            (b"1,99999999999999999999999,None,None,0,None,None", Count),
            (b"1, 1,None,None,0,None,None", Count),
            (b"\xff,0,0", Count),
            (b"None,0,0", Count),
            (b"1,0,none,None,0,None,None", Date),
            (b"1,0,,None,0,None,None", Date),
            (b"1,0,-5,None,0,None,None", Date),
            (b"1,0,-10,None,0,None,None", Date),
            (b"1,0,-01,None,0,None,None", Date),
            (b"1,0,9223372036854775807,None,0,None,None", Date),
            (b"1,0,2023-02-29 00:00:00,None,0,None,None", Date),
            (b"1,0,2023-13-01 00:00:00,None,0,None,None", Date),
            (b"1,0,0000-01-01 00:00:00,None,0,None,None", Date),
            (b"1,0,2023-01-01 24:00:00,None,0,None,None", Date),
            (b"1,0,2023-01-01 00:00:60,None,0,None,None", Date),
            (b"1,0,2023-01-01 00:00:00.,None,0,None,None", Date),
            (b"1,0,2023-01-01 00:00:00.1234567,None,0,None,None", Date),
            (b"1,0,2023-01-01 00:00:00 ,None,0,None,None", Date),
            (b"1,0,2023-01-01T00:00:00,None,0,None,None", Date),
            (b"1,0,2023-01-01,None,0,None,None", Date),
            (b"1,0,2023-01-01 00:00:0\xd9,None,0,None,None", Date),
            (b"\0\0\0", Fields),
        ];
        for (value, cause) in table {
            assert_eq!(decode(value, &TimeZone::UTC), Err(*cause), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn dates_are_written_as_python_writes_them() {
        let table = [
            ("UTC", 0, "1970-01-01 00:00:00"),
            ("UTC", 1, "1970-01-01 00:00:00.000001"),
            ("UTC", -1, "1969-12-31 23:59:59.999999"),
            ("Europe/Berlin", 1_700_000_000_500_000, "2023-11-14 23:13:20.500000"),
            ("America/St_Johns", 1_700_000_000_000_000, "2023-11-14 18:43:20"),
            ("UTC", i64::MAX, "9999-12-30 22:00:00"),
            ("UTC", i64::MIN, "0001-01-01 00:00:00"),
        ];
        for (name, micros, expected) in table {
            let written = text(&reports(1, at(micros), None), &zone(name));
            let field = written.split(',').nth(2).unwrap();
            assert_eq!(field.get(..expected.len()), Some(expected), "{name} {micros}");
        }
    }

    /// The clocks of Berlin skipped 02:00 to 03:00 on 2023-03-26 and repeated it on 2023-10-29.
    #[test]
    fn skipped_and_repeated_hours_are_some_instant() {
        let table = [("2023-03-26 02:30:00", 1_679_794_200), ("2023-10-29 02:30:00", 1_698_539_400)];
        for (field, seconds) in table {
            let read =
                decode(format!("1,0,{field},None,0,None,None").as_bytes(), &zone("Europe/Berlin")).unwrap();
            assert_eq!(read.reports.entered, Some(UnixTime::from_seconds(seconds)), "{field}");
        }
    }

    fn date() -> impl Strategy<Value = Option<UnixTime>> {
        // 1970 to 2106, with and without a fraction.
        let second = 1_i64..4_294_967_296;
        let micros = prop_oneof![Just(0), 0..MICROS];
        proptest::option::of((second, micros).prop_map(|(s, m)| UnixTime::from_micros(s * MICROS + m)))
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
        #[cfg(feature = "gdbm")]
        fn a_written_value_is_found_at_the_start_of_other_bytes(
            reports in tallies(), whitelists in tallies(), next in "[0-9a-f]{40}|[^.]{0,9}",
        ) {
            let written = text(&Record { reports, whitelists }, &TimeZone::UTC);
            // A year of five digits has no such form.
            prop_assume!(decode(written.as_bytes(), &TimeZone::UTC).is_ok());
            prop_assert_eq!(written_length((written.clone() + &next).as_bytes()), Some(written.len()));
            let mut cleared = written.into_bytes();
            clear_counts(&mut cleared);
            let record = decode(&cleared, &TimeZone::UTC).unwrap();
            prop_assert_eq!((record.reports.count, record.whitelists.count), (0, 0));
            prop_assert_eq!((record.reports.updated, record.whitelists.entered), (reports.updated, whitelists.entered));
        }

        #[test]
        fn what_is_written_is_read_back(name in proptest::sample::select(&ZONES[..]), reports in tallies(), whitelists in tallies()) {
            let (zone, record) = (zone(name), Record { reports, whitelists });
            let written = text(&record, &zone);
            let read = decode(written.as_bytes(), &zone).unwrap();
            // In a repeated hour the instant may differ, the text never does.
            prop_assert_eq!(&text(&read, &zone), &written);
            for (then, now) in [(record.reports, read.reports), (record.whitelists, read.whitelists)] {
                prop_assert_eq!(then.count, now.count);
                for (then, now) in [(then.entered, now.entered), (then.updated, now.updated)] {
                    let apart = then.zip(now).map_or(0, |(then, now)| then.micros() - now.micros());
                    prop_assert!(then.is_some() == now.is_some() && (apart == 0 || apart == 3600 * MICROS || apart == 1800 * MICROS), "{then:?} {now:?}");
                }
            }
        }

        #[test]
        fn utc_is_exact(reports in tallies(), whitelists in tallies()) {
            let record = Record { reports, whitelists };
            prop_assert_eq!(decode(text(&record, &TimeZone::UTC).as_bytes(), &TimeZone::UTC), Ok(record));
        }

        #[test]
        fn no_value_panics(value in proptest::collection::vec(any::<u8>(), 0..80), near in "[0-9,: .\\-None]{0,120}") {
            let zone = zone("Europe/Berlin");
            for value in [&value[..], near.as_bytes()] {
                if let Ok(record) = decode(value, &zone) {
                    prop_assert!(decode(text(&record, &zone).as_bytes(), &zone).is_ok());
                }
            }
        }
    }
}
