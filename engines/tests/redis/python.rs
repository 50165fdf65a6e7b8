//! Databases that these engines and Python's use in turn.

use std::ops::Range;
use std::process::Command;

use jiff::tz::TimeZone;
use pyzord_core::{Record, StoreOp, Tally, UnixTime};
use pyzord_engines::redis::Redis;
use pyzord_engines::{RecordStore, codec};
use pyzord_testkit::RedisServer;

use crate::common::python;
use crate::support::{LAYOUTS, at, call, digest, dsn, execute, key_v0, patient};

const MODULES: [&str; 2] = ["redis_", "redis_v0"];

/// Noon in UTC.
const NOON: i64 = 1_704_801_600;

/// Runs a script with one of Python's engines as `db`, and returns what it printed.
fn run(server: &RedisServer, module: &str, zone: &str, script: &str) -> String {
    let opening = format!(
        "from pyzor.engines.{module} import RedisDBHandle\nfrom pyzor.engines.common import Record\n\
         db = RedisDBHandle('127.0.0.1,{},,', 'c', max_age=5000)\n",
        server.port()
    );
    let output = Command::new(python()).arg("-c").arg(opening + script).env("TZ", zone).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Prints all records, dates as Unix time.
const SHOW: &str = "
for key in sorted(k.decode() if isinstance(k, bytes) else k for k in db.db.keys('pyzord.digest*')):
    r = db[key.rsplit('.', 1)[-1]]
    fields = [r.r_count, r.r_entered, r.r_updated, r.wl_count, r.wl_entered, r.wl_updated]
    print(key.rsplit('.', 1)[-1], *[int(f.timestamp()) if hasattr(f, 'timestamp') else f for f in fields], sep='|')
";

/// Returns what Python shows of a record.
fn shown(record: &Record) -> String {
    let date = |date: Option<UnixTime>| date.map_or("None".to_owned(), |date| date.seconds().to_string());
    let tally = |tally: &Tally| format!("{}|{}|{}", tally.count, date(tally.entered), date(tally.updated));
    format!("{}|{}", tally(&record.reports), tally(&record.whitelists))
}

fn fetched(store: &mut Redis, n: u64) -> Record {
    let mut results = Vec::new();
    store.fetch(&[digest(n)], &mut results);
    results.remove(0).unwrap()
}

/// Returns what Python shows of these records, in the order of their digests.
fn all_shown(store: &mut Redis, numbers: Range<u64>) -> Vec<String> {
    let mut all: Vec<_> = numbers.map(|n| format!("{}|{}", digest(n), shown(&fetched(store, n)))).collect();
    all.sort();
    all
}

/// Returns the zone of this process, in which the engine for texts writes local time.
fn own_zone() -> String {
    TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

#[test]
fn python_reads_what_is_written_here() {
    let server = RedisServer::start();
    for (layout, module) in LAYOUTS.into_iter().zip(MODULES) {
        assert_eq!(server.ask(&["FLUSHALL"]), "+OK");
        let mut store = layout(&dsn(&server), patient(5000));
        for n in 0..20_u64 {
            let reports = (0..n).map(|_| call(StoreOp::Report, n));
            let whitelists = (0..n % 3).map(|_| call(StoreOp::Whitelist, n));
            let calls: Vec<_> = reports.chain(whitelists).collect();
            assert!(execute(&mut store, at(NOON + n.cast_signed()), &calls).iter().all(Result::is_ok));
            assert!(
                execute(&mut store, at(NOON + 86_400), &calls[..calls.len() / 2]).iter().all(Result::is_ok)
            );
        }
        let expected = all_shown(&mut store, 1..20);
        assert_eq!(run(&server, module, &own_zone(), SHOW).lines().collect::<Vec<_>>(), expected, "{module}");
    }
}

#[test]
fn what_python_writes_is_read_and_gone_on_with_here() {
    const WRITE: &str = "
from datetime import datetime
for n, key in enumerate(KEYS):
    r = Record()
    for _ in range(n): r.r_increment()
    if n % 2: r.wl_increment()
    if n % 3: r.r_entered = datetime.fromtimestamp(1704801600 + n)
    db[key] = r
";
    let server = RedisServer::start();
    for (layout, module) in LAYOUTS.into_iter().zip(MODULES) {
        assert_eq!(server.ask(&["FLUSHALL"]), "+OK");
        let keys: Vec<_> = (0..20).map(|n| digest(n).to_string()).collect();
        run(&server, module, &own_zone(), &format!("KEYS = {keys:?}{WRITE}"));
        let mut store = layout(&dsn(&server), patient(5000));
        let seventh = shown(&fetched(&mut store, 7));
        assert!(seventh.starts_with("7|1704801607|"), "{seventh}");
        let expected = all_shown(&mut store, 0..20);
        assert_eq!(run(&server, module, &own_zone(), SHOW).lines().collect::<Vec<_>>(), expected, "{module}");
        let calls: Vec<_> = (0..20).map(|n| call(StoreOp::Whitelist, n)).collect();
        assert!(execute(&mut store, at(NOON), &calls).iter().all(Result::is_ok));
        assert_eq!(
            run(&server, module, &own_zone(), SHOW).lines().collect::<Vec<_>>(),
            all_shown(&mut store, 0..20)
        );
    }
}

/// Python's server counts in the database itself, so both may serve at the same time.
#[test]
fn python_counts_on_in_the_same_records() {
    let server = RedisServer::start();
    let mut store = LAYOUTS[0](&dsn(&server), patient(0));
    for _ in 0..3 {
        assert!(execute(&mut store, at(NOON), &[call(StoreOp::Report, 1)])[0].is_ok());
        run(&server, "redis_", "UTC", &format!("db.report(['{0}'])\ndb.whitelist(['{0}'])", digest(1)));
    }
    let record = fetched(&mut store, 1);
    assert_eq!((record.reports.count, record.whitelists.count), (6, 3));
    assert_eq!(record.reports.entered, Some(UnixTime::from_seconds(NOON)));
}

/// Python and this engine must read the local times of a text in the same zone alike.
#[test]
fn texts_of_every_zone_are_read() {
    const WRITE: &str = "
from datetime import datetime
date = datetime.fromtimestamp
r = Record(r_count=7, r_entered=date(1704801600), r_updated=date(1720000000.5), wl_count=2, wl_updated=date(0.5))
";
    let server = RedisServer::start();
    for name in ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"] {
        let script =
            format!("{WRITE}db['{}'] = r\nprint(db.db.get('{}').decode(), end='')", digest(1), key_v0(1));
        let text = run(&server, "redis_v0", name, &script);
        let zone = TimeZone::get(name).unwrap();
        let record = codec::redis_v0::decode(text.as_bytes(), &zone).unwrap();
        assert_eq!(shown(&record), "7|1704801600|1720000000|2|None|0", "{name}");
        let mut written = Vec::new();
        codec::redis_v0::encode(&record, &zone, &mut written);
        assert_eq!(written, text.as_bytes());
    }
}
