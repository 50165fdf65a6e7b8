//! Database files, written by the engines without a server.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use pyzord_bench::clock::{Clock, unix_seconds};
use pyzord_bench::load::numbered;
use pyzord_core::{Digest, Now, Record, Store, StoreCall, StoreOp, Tally, Task, Tick, UnixTime};
use pyzord_engines::sqlite::{Options, Sqlite};
use pyzord_engines::{Access, Gdbm, RecordStore};

use super::{Findings, SqliteOptions};
use crate::goals::Bound;
use crate::server::Home;
use crate::status_line;

/// The count of each record: libgdbm moves a record when its count gets another digit, which is rare for old records.
const REPORTS: u64 = 100;
/// Records that are stored in one step.
const STEP: usize = 4096;
/// Requests that a server executes at once.
const BATCH: usize = 64;

/// Returns the name of an engine's file in a home directory.
pub(super) fn name(engine: &str) -> &'static str {
    if engine == "sqlite" { "pyzord.sqlite" } else { "pyzord.db" }
}

/// Creates a home directory whose database has the first `records` digests.
pub(super) fn filled(engine: &str, records: u64) -> anyhow::Result<Home> {
    status_line::show(&format!("{engine}: storing {records} records"));
    let home = Home::new()?;
    let path = home.path(name(engine));
    let mut store: Box<dyn RecordStore> = if engine == "sqlite" {
        Box::new(Sqlite::open(&path, Options::alone(Access::Create))?)
    } else {
        Box::new(Gdbm::open(&path)?)
    };
    let now = Some(UnixTime::from_seconds(unix_seconds()));
    let reports = Tally { count: REPORTS, entered: now, updated: now };
    let record = Record { reports, whitelists: Tally::default() };
    // In the order of keys each page is written once.
    let mut digests: Vec<Digest> = (0..records).map(numbered).collect();
    digests.sort_unstable_by_key(|digest| *digest.as_bytes());
    let mut results = Vec::new();
    for digests in digests.chunks(STEP) {
        let entries: Vec<_> = digests.iter().map(|digest| (*digest, record)).collect();
        results.clear();
        store.put(&entries, &mut results);
        results.iter().find_map(|result| result.as_ref().err()).map_or(Ok(()), |error| Err(error.clone()))?;
    }
    Ok(home)
}

/// Measures the size of files whose records came by reports and whitelistings, in random order.
pub(super) fn sizes(findings: &mut Findings, options: &SqliteOptions) -> anyhow::Result<()> {
    for (ops, what, most) in [
        (&[StoreOp::Report][..], "reports alone", 60.0),
        (&[StoreOp::Report, StoreOp::Whitelist], "reports and whitelistings", 85.0),
    ] {
        for engine in ["sqlite", "gdbm"] {
            status_line::show(&format!("{engine}: counting {} records, {what}", options.records));
            let home = Home::new()?;
            let bytes = counted(engine, &home.path(name(engine)), options.records, ops)?;
            let title = format!("{engine}: bytes a record, {what}");
            if engine == "sqlite" {
                findings.bounded(&title, &[bytes], Bound::AtMost(most));
            } else {
                findings.fact(&title, &[bytes]);
            }
        }
    }
    Ok(())
}

/// Counts each digest once for each operation, and returns the size of the file, in bytes a record.
fn counted(engine: &str, path: &Path, records: u64, ops: &[StoreOp]) -> anyhow::Result<f64> {
    let mut store: Box<dyn Store> = if engine == "sqlite" {
        Box::new(Sqlite::open(path, Options::alone(Access::Create))?)
    } else {
        Box::new(Gdbm::open(path)?)
    };
    let clock = Clock::start();
    // Each count is of another moment, as in life.
    let now = || {
        let wall = UnixTime::from_seconds(unix_seconds()).after(clock.elapsed());
        Now { wall, tick: Tick::new(clock.elapsed()) }
    };
    let numbers: Vec<u64> = (0..records).collect();
    let mut answers = Vec::new();
    for op in ops {
        for numbers in numbers.chunks(BATCH) {
            let calls: Vec<_> = numbers.iter().map(|number| StoreCall::new(numbered(*number), *op)).collect();
            answers.clear();
            store.execute(now(), &calls, &mut answers);
            ensure!(answers.iter().all(Result::is_ok), "a count was refused");
        }
    }
    store.upkeep(now(), Task::Sync)?;
    // The last handle moves the log into the file.
    drop(store);
    let length = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let bytes = length as f64 / records as f64;
    Ok(bytes)
}
