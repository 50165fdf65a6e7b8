//! Databases that this engine and Python's use in turn.
#![cfg(feature = "gdbm")]

mod common;

use common::{at, call, digest, entries, execute, expire, others, report, run_python, scratch};
use jiff::tz::TimeZone;
use pyzord_core::{Record, StoreOp, Tally, UnixTime};
use pyzord_engines::{Gdbm, codec};

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"];

/// Prints every record as Python reads it: its fields, with dates as Unix time.
const READ: &str = "
import sys, dbm.gnu
from pyzor.engines.gdbm_ import GdbmDBHandle
with dbm.gnu.open(sys.argv[1], 'r') as db:
    for key in sorted(db.keys()):
        r = GdbmDBHandle.decode_record(db[key])
        fields = [r.r_count, r.r_entered, r.r_updated, r.wl_count, r.wl_entered, r.wl_updated]
        shown = [f.timestamp() if hasattr(f, 'timestamp') else f for f in fields]
        print(key.decode(), *shown, sep='|')
";

/// Returns what Python prints of a record.
fn shown(record: &Record) -> String {
    let date = |date: Option<UnixTime>| {
        date.map_or("None".to_owned(), |date| {
            let micros = format!("{}.{:06}", date.seconds(), date.micros().rem_euclid(1_000_000));
            let trimmed = micros.trim_end_matches('0');
            if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
        })
    };
    let tally = |tally: &Tally| format!("{}|{}|{}", tally.count, date(tally.entered), date(tally.updated));
    format!("{}|{}", tally(&record.reports), tally(&record.whitelists))
}

/// Returns a record with dates at noon of some days, far from a change of the clocks.
fn record(n: u64) -> Record {
    let time = |k: u64| {
        Some(UnixTime::from_micros(
            1_700_049_600_000_000
                + (n * k % 9).cast_signed() * 86_400_000_000
                + (n % 3).cast_signed() * 250_007,
        ))
    };
    let reports = Tally { count: n, entered: time(1), updated: time(2) };
    let whitelists = if n.is_multiple_of(2) {
        Tally::default()
    } else {
        Tally { count: u64::MAX / 2, entered: None, updated: time(5) }
    };
    Record { reports, whitelists }
}

#[test]
fn python_reads_what_is_written_here() {
    for zone in ZONES {
        let (_directory, path) = scratch();
        let mut value = Vec::new();
        let mut script = String::from("import sys, dbm.gnu\nwith dbm.gnu.open(sys.argv[1], 'c') as db:\n");
        let mut expected = Vec::new();
        for n in 0..40 {
            codec::gdbm::encode(&record(n), &TimeZone::get(zone).unwrap(), &mut value);
            script += &format!("    db['{}'] = '{}'\n", digest(n), str::from_utf8(&value).unwrap());
            expected.push(format!("{}|{}", digest(n), shown(&record(n))));
        }
        run_python(&script, &path, zone);
        expected.sort();
        assert_eq!(run_python(READ, &path, zone).lines().collect::<Vec<_>>(), expected, "{zone}");
    }
}

#[test]
fn what_python_writes_is_read_here_and_rewritten_the_same() {
    const WRITE: &str = "
import sys, dbm.gnu
from datetime import datetime
from pyzor.engines.common import Record
from pyzor.engines.gdbm_ import GdbmDBHandle
with dbm.gnu.open(sys.argv[1], 'c') as db:
    for n in range(60):
        r = Record()
        for _ in range(n): r.r_increment()
        if n % 2: r.wl_increment()
        if n % 3: r.r_entered = datetime.fromtimestamp(1700049600 + n)
        db['%040x' % n] = GdbmDBHandle.encode_record(r)
        print('%040x' % n, r.r_count, r.wl_count, *[d and d.timestamp() for d in (r.r_entered, r.r_updated, r.wl_entered)], sep='|')
";
    for zone in ZONES {
        let (_directory, path) = scratch();
        let printed = run_python(WRITE, &path, zone);
        let zone = TimeZone::get(zone).unwrap();
        let db = Gdbm::open(&path).unwrap();
        let mut rewritten = Vec::new();
        for ((key, value), line) in entries(&db).iter().zip(printed.lines()) {
            let record = codec::gdbm::decode(value, &zone).unwrap();
            codec::gdbm::encode(&record, &zone, &mut rewritten);
            assert_eq!(&rewritten, value);
            let seconds =
                |date: Option<UnixTime>| date.map_or("None".into(), |date| date.seconds().to_string());
            let [reports, whitelists] = [record.reports, record.whitelists];
            let dates = [reports.entered, reports.updated, whitelists.entered].map(seconds);
            let expected: Vec<String> =
                line.split('|').map(|field| field.split('.').next().unwrap().to_owned()).collect();
            let key = String::from_utf8(key.clone()).unwrap();
            let [entered, updated, whitelisted] = dates;
            assert_eq!(
                [key, reports.count.to_string(), whitelists.count.to_string(), entered, updated, whitelisted],
                *expected
            );
        }
    }
}

#[test]
fn python_goes_on_with_a_database_of_this_engine() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(1_704_800_000), 0..3000);
    report(&mut db, at(1_704_900_000), 0..1000);
    expire(&mut db, 1_704_850_000).unwrap();
    drop(db);
    let zone = std::env::var("TZ").unwrap_or_default();
    let read = run_python(READ, &path, &zone);
    assert_eq!(
        read.lines().filter(|line| line.contains("|2|1704800000.0|1704900000.0|0|None|None")).count(),
        1000
    );
    assert_eq!(read.lines().count(), 1000);
}

/// Every database that Python writes is sound: nothing is recovered, and nothing is lost.
#[test]
fn every_database_of_python_is_accepted_as_it_is() {
    const CHURN: &str = "
import random, sys, dbm.gnu
path, count, rounds, longest, seed = sys.argv[1].rsplit(':', 4)
count, rounds, longest, random = int(count), int(rounds), int(longest), random.Random(int(seed))
model = {}
db = dbm.gnu.open(path, 'cf')
def put(n):
    key, value = b'%040x' % (n * 0x9e3779b97f4a7c15f39cc0605cedc834 % (1 << 160)), b'v' * random.randint(0, longest)
    db[key] = model[key] = value
for n in range(count): put(n)
for turn in range(rounds):
    for key in random.sample(sorted(model), len(model) * 2 // 3): del db[key], model[key]
    for n in range(random.randint(0, count)): put(n)
    if turn % 3 == 1: db.sync()
    if turn % 5 == 4: db.reorganize()
db.close()
print(len(model), sum(map(len, model.values())))
";
    let table = [
        (0, 0, 9),
        (1, 0, 9),
        (1, 1, 9),
        (500, 12, 300),
        (3000, 9, 90),
        (3000, 4, 9000),
        (20_000, 3, 150),
        (100_000, 0, 80),
    ];
    for (seed, (count, rounds, longest)) in table.into_iter().enumerate() {
        let (_directory, path) = scratch();
        let argument = format!("{}:{count}:{rounds}:{longest}:{seed}", path.display());
        let printed = run_python(CHURN, argument.as_ref(), "UTC");
        let mut db = Gdbm::open(&path).unwrap();
        let found = entries(&db);
        let size: usize = found.iter().map(|(_, value)| value.len()).sum();
        assert_eq!(format!("{} {size}\n", found.len()), printed, "{count} {rounds} {longest}");
        assert_eq!(others(&path).len(), 0, "recovered without need: {count} {rounds} {longest}");
        assert!(execute(&mut db, at(1), &[call(StoreOp::Report, 1)])[0].is_ok());
    }
}
