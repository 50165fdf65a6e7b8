//! Stored values, read and written by Python's engines and by the codecs of this project.

use jiff::tz::TimeZone;
use pyzord_core::{Record, Tally, UnixTime};
use pyzord_engines::codec;

use crate::differences::Coverage;
use crate::peer::{ask, hex, unhex};
use crate::random::{Random, Size};

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"];

/// The end of the year 9999, in microseconds.
const LAST_MICROS: i64 = 253_402_300_799_000_000;

/// A form of stored records; `peer.py` has functions of this name.
struct Form {
    name: &'static str,
    /// Draws a value, correct or damaged, as a line for Python.
    value: fn(&mut Random) -> String,
    /// Reads such a line; returns `None` for an unreadable value.
    decode: fn(&str, &TimeZone) -> Option<Record>,
    /// Writes a record in the form of Python's answer.
    encode: fn(&Record, &TimeZone) -> String,
}

const FORMS: [Form; 3] = [
    Form { name: "gdbm", value: gdbm_value, decode: decode_gdbm, encode: encode_gdbm },
    Form { name: "redis", value: redis_value, decode: decode_redis, encode: encode_redis },
    Form { name: "redis_v0", value: redis_v0_value, decode: decode_redis_v0, encode: encode_redis_v0 },
];

#[test]
fn records_are_read_the_same() {
    let size = Size::of_run(4000);
    let mut coverage = Coverage::expecting(["lax-record", "wide-record"]);
    for (number, form) in (0..).zip(FORMS) {
        for (zone, turn) in ZONES.into_iter().zip(0..) {
            let mut random = Random::new(size.seed.wrapping_mul(100) + number * 10 + turn);
            let lines: Vec<String> = (0..size.cases / 12).map(|_| (form.value)(&mut random)).collect();
            let answers = ask(&format!("{}_decode", form.name), zone, None, &lines);
            let zone = TimeZone::get(zone).unwrap();
            for (line, answer) in lines.iter().zip(answers) {
                let ours = (form.decode)(line, &zone).map(|record| shown(&record));
                compare(&form, line, &answer, ours.as_deref(), &mut coverage);
            }
        }
    }
    coverage.finish();
}

/// Compares with Python's answer: the record, and whether Python writes it in the same form.
fn compare(form: &Form, line: &str, answer: &str, ours: Option<&str>, coverage: &mut Coverage) {
    let shown = || format!("{} {line}: Python {answer}, ours {ours:?}", form.name);
    match (answer.split_once(' ').unwrap(), ours) {
        // A value that no server writes is read as by Python, or is unreadable.
        (("own" | "odd", read), Some(ours)) => assert_eq!(read, ours, "{}", shown()),
        (("odd", _), None) => coverage.hit("lax-record"),
        (("error", _), None) => (),
        (("error", _), Some(ours)) if is_wide(form, line, ours) => coverage.hit("wide-record"),
        _ => panic!("{}", shown()),
    }
}

/// Returns whether a value mixes the two forms of dates in gdbm files, or has a date beyond Python's calendar.
fn is_wide(form: &Form, line: &str, read: &str) -> bool {
    let is_number = |field: &str| !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit());
    match form.name {
        "gdbm" => {
            let text = unhexed(line);
            let fields: Vec<&str> = text.split(',').collect();
            fields.len() == 3 || [2, 3, 5, 6].into_iter().any(|index| is_number(fields[index]))
        }
        "redis" => {
            read.split(' ').filter_map(|field| field.parse().ok()).any(|micros: i64| micros > LAST_MICROS)
        }
        _ => false,
    }
}

#[test]
fn records_are_written_the_same() {
    let size = Size::of_run(4000);
    for (number, form) in (0..).zip(FORMS) {
        for (zone, turn) in ZONES.into_iter().zip(0..) {
            let mut random = Random::new(size.seed.wrapping_mul(100) + number * 10 + turn);
            let records: Vec<Record> = (0..size.cases / 12).map(|_| record(&mut random)).collect();
            let lines: Vec<String> = records.iter().map(shown).collect();
            let answers = ask(&format!("{}_encode", form.name), zone, None, &lines);
            let zone = TimeZone::get(zone).unwrap();
            for (record, answer) in records.iter().zip(answers) {
                assert_eq!((form.encode)(record, &zone), answer, "{} {record:?}", form.name);
            }
        }
    }
}

/// Shows a record as `peer.py` prints it: counts, and dates in microseconds.
fn shown(record: &Record) -> String {
    let date = |date: Option<UnixTime>| date.map_or("-".into(), |date| date.micros().to_string());
    let tally = |tally: &Tally| format!("{} {} {}", tally.count, date(tally.entered), date(tally.updated));
    format!("{} {}", tally(&record.reports), tally(&record.whitelists))
}

fn record(random: &mut Random) -> Record {
    let mut tally = || Tally { count: count(random), entered: date(random), updated: date(random) };
    Record { reports: tally(), whitelists: tally() }
}

fn count(random: &mut Random) -> u64 {
    let large = random.number() >> 1;
    random.pick(&[0, 1, 7, 100, 1 << 33, Tally::MAX - 1, Tally::MAX, large])
}

/// Draws a date from 1970 to 2100, at noon UTC: daylight saving time does not repeat or skip it.
fn date(random: &mut Random) -> Option<UnixTime> {
    let seconds = i64::try_from(random.below(47_000)).unwrap() * 86_400 + 43_200;
    let micros = random.pick(&[0, 0, 1, 250_000, 999_999]);
    (!random.percent(20)).then(|| UnixTime::from_micros(seconds * 1_000_000 + micros))
}

/// Unusual values of a field.
const ODD_FIELDS: [&str; 24] = [
    "",
    " 5",
    "5 ",
    "+5",
    "-3",
    "007",
    "1_0",
    "0x10",
    "5.0",
    "None",
    "0",
    "1",
    "1700000000",
    "-1700000000",
    "9223372036854775807",
    "9223372036854775808",
    "300000000000",
    "2024-1-5 3:4:5",
    "2024-02-30 12:00:00",
    "2024-01-09 12:00:00.5",
    "2024-01-09  12:00:00",
    "2024-01-09T12:00:00",
    "2024-01-09 12:00:60",
    "\u{664}\u{662}",
];

/// Damages a value of comma-separated fields, or returns it unchanged.
fn damaged(mut text: String, random: &mut Random) -> Vec<u8> {
    if random.percent(50) {
        let mut fields: Vec<&str> = text.split(',').collect();
        let at = random.below(fields.len());
        match random.below(4) {
            0 => drop(fields.remove(at)),
            1 => fields.insert(at, random.pick(&ODD_FIELDS)),
            _ => fields[at] = random.pick(&ODD_FIELDS),
        }
        text = fields.join(",");
    }
    let mut bytes = text.into_bytes();
    if random.percent(15) && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = random.byte();
    }
    bytes
}

fn gdbm_value(random: &mut Random) -> String {
    if random.percent(20) {
        let text = format!(
            "{},{},{}",
            random.below(1000),
            1_300_000_000 + random.below(400_000_000),
            random.below(9)
        );
        return hex(&damaged(text, random));
    }
    let text = unhexed(&encode_gdbm(&record(random), &TimeZone::UTC));
    hex(&damaged(text, random))
}

fn redis_v0_value(random: &mut Random) -> String {
    let text = unhexed(&encode_redis_v0(&record(random), &TimeZone::UTC));
    hex(&damaged(text, random))
}

/// Draws the six fields of a hash: `x` and hex digits, or `-` for a missing field.
fn redis_value(random: &mut Random) -> String {
    let values = codec::redis::encode(&record(random)).map(|value| value.to_string());
    let word = |value: &String| match random.below(10) {
        0 => "-".to_owned(),
        1 => format!("x{}", hex(random.pick(&ODD_FIELDS).as_bytes())),
        2 => format!("x{}", hex(&damaged(value.clone(), random))),
        _ => format!("x{}", hex(value.as_bytes())),
    };
    values.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn unhexed(text: &str) -> String {
    String::from_utf8(unhex(text)).unwrap()
}

fn decode_gdbm(line: &str, zone: &TimeZone) -> Option<Record> {
    codec::gdbm::decode(&unhex(line), zone).ok()
}

fn encode_gdbm(record: &Record, zone: &TimeZone) -> String {
    let mut value = Vec::new();
    codec::gdbm::encode(record, zone, &mut value);
    hex(&value)
}

fn decode_redis(line: &str, _: &TimeZone) -> Option<Record> {
    let fields: Vec<Option<Vec<u8>>> =
        line.split(' ').map(|word| word.strip_prefix('x').map(unhex)).collect();
    let fields: [Option<&[u8]>; 6] = std::array::from_fn(|index| fields[index].as_deref());
    codec::redis::decode(fields).ok()
}

fn encode_redis(record: &Record, _: &TimeZone) -> String {
    codec::redis::encode(record).map(|value| value.to_string()).join(" ")
}

fn decode_redis_v0(line: &str, zone: &TimeZone) -> Option<Record> {
    codec::redis_v0::decode(&unhex(line), zone).ok()
}

fn encode_redis_v0(record: &Record, zone: &TimeZone) -> String {
    let mut value = Vec::new();
    codec::redis_v0::encode(record, zone, &mut value);
    hex(&value)
}
