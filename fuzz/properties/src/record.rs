//! Records and time zones from the fuzzer's bytes.

use std::fmt::Debug;

use arbitrary::{Result, Unstructured};
use jiff::tz::TimeZone;
use pyzord_core::{Record, Tally, UnixTime};

/// Zones of all kinds: without daylight saving time, with changes of an hour and of half an hour, with unusual
/// offsets, and with a skipped day.
const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kathmandu"];

pub(crate) fn zone(input: &mut Unstructured<'_>) -> Result<TimeZone> {
    // A system without this zone has no local dates in it.
    Ok(TimeZone::get(input.choose(&ZONES)?).unwrap_or(TimeZone::UTC))
}

pub(crate) fn record(input: &mut Unstructured<'_>) -> Result<Record> {
    Ok(Record { reports: tally(input)?, whitelists: tally(input)? })
}

fn tally(input: &mut Unstructured<'_>) -> Result<Tally> {
    Ok(Tally { count: count(input)?, entered: date(input)?, updated: date(input)? })
}

fn count(input: &mut Unstructured<'_>) -> Result<u64> {
    match input.int_in_range(0..=3)? {
        0 => input.arbitrary(),
        1 => Ok(Tally::MAX - u64::from(input.arbitrary::<u8>()?)),
        _ => Ok(input.arbitrary::<u16>()?.into()),
    }
}

fn date(input: &mut Unstructured<'_>) -> Result<Option<UnixTime>> {
    Ok(match input.int_in_range(0..=4)? {
        0 => None,
        4 => Some(UnixTime::from_micros(*input.choose(&[i64::MIN, -1, 0, i64::MAX])?)),
        1 => Some(UnixTime::from_micros(input.arbitrary()?)),
        2 => Some(UnixTime::from_seconds(input.arbitrary::<u32>()?.into())),
        _ => {
            let (second, micros) = (i64::from(input.arbitrary::<u32>()?), input.int_in_range(0..=999_999)?);
            Some(UnixTime::from_micros(second * 1_000_000 + micros))
        }
    })
}

/// Returns all dates of a record.
pub(crate) fn dates(record: &Record) -> [Option<UnixTime>; 4] {
    let Record { reports, whitelists } = record;
    [reports.entered, reports.updated, whitelists.entered, whitelists.updated]
}

/// Returns the record with each date changed.
pub(crate) fn with_dates(record: &Record, change: impl Fn(UnixTime) -> Option<UnixTime>) -> Record {
    let tally = |tally: Tally| Tally {
        count: tally.count.min(Tally::MAX),
        entered: tally.entered.and_then(&change),
        updated: tally.updated.and_then(&change),
    };
    Record { reports: tally(record.reports), whitelists: tally(record.whitelists) }
}

/// A text form of records, with dates in local time.
pub(crate) struct Text<E> {
    pub(crate) decode: fn(&[u8], &TimeZone) -> std::result::Result<Record, E>,
    pub(crate) encode: fn(&Record, &TimeZone, &mut Vec<u8>),
    /// The resolution of a date, in microseconds.
    pub(crate) unit: i64,
}

/// 0001-01-02 to 9999-12-30, in microseconds since 1970: years of four digits in every zone.
const YEARS: std::ops::Range<i64> = -62_135_510_400_000_000..253_402_128_000_000_000;

impl<E: PartialEq + Debug> Text<E> {
    /// The input is a zone, a record, and a value to read.
    pub(crate) fn check(&self, data: &[u8]) {
        let mut input = Unstructured::new(data);
        let (Ok(zone), Ok(record)) = (zone(&mut input), record(&mut input)) else { return };
        self.is_read_back(&record);
        let mut value = Vec::new();
        (self.encode)(&record, &zone, &mut value);
        for value in [&value, input.take_rest()] {
            self.stays(value, &zone);
        }
    }

    /// If the local time is unambiguous, only fractions of the unit are lost.
    fn is_read_back(&self, record: &Record) {
        let mut value = b"what was there".to_vec();
        (self.encode)(record, &TimeZone::UTC, &mut value);
        let read = (self.decode)(&value, &TimeZone::UTC);
        let cut = |date: UnixTime| UnixTime::from_micros(date.micros() - date.micros().rem_euclid(self.unit));
        if dates(record).iter().flatten().all(|date| YEARS.contains(&date.micros())) {
            assert_eq!(read, Ok(with_dates(record, |date| Some(cut(date)))));
        } else {
            assert!(read.is_ok(), "{}", value.escape_ascii());
        }
    }

    /// In an hour that occurs twice, the instant can change, but the text does not.
    fn stays(&self, value: &[u8], zone: &TimeZone) {
        let Ok(record) = (self.decode)(value, zone) else { return };
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        (self.encode)(&record, zone, &mut once);
        let again = (self.decode)(&once, zone).expect("a written record can be read");
        assert_eq!(with_dates(&again, |_| None), with_dates(&record, |_| None), "{}", value.escape_ascii());
        (self.encode)(&again, zone, &mut twice);
        assert_eq!(once.escape_ascii().to_string(), twice.escape_ascii().to_string());
    }
}
