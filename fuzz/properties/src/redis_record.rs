use arbitrary::{Result, Unstructured};
use pyzord_core::{Record, UnixTime};
use pyzord_engines::codec::redis::{Unreadable, decode, encode};

use crate::record;

/// The earliest second in which every instant can be represented.
const EARLIEST: i64 = i64::MIN / 1_000_000;

/// A record is read back as written, to the second; the first second of 1970 is read as no date. Readable fields are
/// written with the same text, missing ones as 0.
///
/// The input is a record and the six fields, separated by commas; `-` is a missing field.
pub fn redis_record(data: &[u8]) {
    let _ = check(Unstructured::new(data));
}

fn check(mut input: Unstructured<'_>) -> Result<()> {
    let record = record::record(&mut input)?;
    let seconds = |date: UnixTime| Some(date.seconds().max(EARLIEST)).filter(|seconds| *seconds != 0);
    let seconds = |date| seconds(date).map(UnixTime::from_seconds);
    assert_eq!(read(&written(&record)), Ok(record::with_dates(&record, seconds)));

    let rest = input.take_rest();
    let mut fields = rest.split(|byte| *byte == b',').map(|field| (field != b"-").then_some(field));
    let fields = [(); 6].map(|()| fields.next().flatten());
    if let Ok(record) = decode(fields) {
        for (field, written) in fields.into_iter().zip(written(&record)) {
            let expected = field.filter(|field| *field != b"-0").unwrap_or(b"0");
            assert_eq!(written.as_bytes(), expected);
        }
    }
    Ok(())
}

fn written(record: &Record) -> [String; 6] {
    encode(record).map(|field| field.to_string())
}

fn read(fields: &[String; 6]) -> std::result::Result<Record, Unreadable> {
    decode(fields.each_ref().map(|field| Some(field.as_bytes())))
}
