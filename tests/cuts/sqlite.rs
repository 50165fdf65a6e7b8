//! Cuts of a server on SQLite.

use std::path::Path;
use std::time::Duration;

use pyzord_cuts::{
    Bounds, Figures, Files, Layout, Ledger, Moments, NameRule, OpenFailure, Opened, Promise, Recording,
};
use pyzord_engines::Access;
use pyzord_engines::sqlite::{Options, Sqlite};

use crate::expiry;
use crate::harness::{digest, run_python};
use crate::load::Load;
use crate::opened;
use crate::run::{End, Engine, Run, cuts, seed};

const FILE: &str = "pyzord.sqlite";
const LOG: &str = "pyzord.sqlite-wal";

const DEFERRED: Engine = Engine {
    name: "sqlite",
    file: FILE,
    layout: Layout { log: LOG, volatile: Some("pyzord.sqlite-shm") },
    open,
    open_with_all,
    options: &["--durability", "deferred"],
    is_limited: false,
};
const STRICT: Engine = Engine { options: &["--durability", "strict"], ..DEFERRED };

fn open(folder: &Path) -> Opened {
    let path = folder.join(FILE);
    let counts = opened::counts("sqlite", &path)?;
    let database = Sqlite::open(&path, Options::alone(Access::Change))
        .map_err(|error| OpenFailure::Refused(error.into()))?;
    let found = database.check().map_err(|error| OpenFailure::Unreadable(error.into()))?;
    if found.is_empty() { Ok(counts) } else { Err(OpenFailure::Contradictory(found)) }
}

/// Python's SQLite is another version.
fn open_with_all(folder: &Path) -> Opened {
    DEFERRED.serve(folder);
    let counts = open(folder)?;
    let script = "import sys, sqlite3
with sqlite3.connect(sys.argv[1]) as db:
    print(*[row[0] for row in db.execute('pragma integrity_check')],
          db.execute('select count(*) from digests').fetchone()[0],
          db.execute('select value from pyzord_meta where name = \"records\"').fetchone()[0])";
    let found = run_python(script, &[folder.join(FILE).to_str().unwrap()]);
    let records = counts.len();
    assert_eq!(found.trim(), format!("ok {records} {records}"));
    Ok(counts)
}

/// Records a server whose log begins anew some times.
fn recording(engine: &Engine) -> Recording {
    let reports = if cuts(0) == 0 { 1500 } else { 3000 };
    let known = usize::try_from(reports).unwrap();
    let load = Load { reports, known, digests: 60, pause: Duration::ZERO, seed: seed() };
    let run = Run { initial: Files::new(), options: &[], load, log: "", end: End::Stop };
    engine.record(&run, Figures { changes: 15_000, syncs: 20, replies: 1500, names: 2 })
}

#[test]
fn sqlite_strict() {
    let recording = recording(&STRICT);
    STRICT.survives(&recording, Promise::Strict, cuts(20));
    let by_folder = recording.clone().with_names(NameRule::Folder);
    let summary = STRICT.cut(&by_folder, Promise::Strict, Moments::Start, cuts(20));
    assert_eq!(summary.failed, 0, "{:#?}", summary.failures);
    let lying = |name: &'static str| recording.with_ignored_syncs(move |path, _| path == Path::new(name));
    for (sabotage, sabotaged) in [
        ("the log's syncs are ignored", lying(LOG)),
        ("the database's syncs are ignored", lying(FILE)),
        ("replies precede syncs", recording.with_early_replies()),
    ] {
        STRICT.notices(sabotage, &sabotaged, Promise::Strict);
    }
}

#[test]
fn sqlite_deferred() {
    let recording = recording(&DEFERRED);
    DEFERRED.survives(&recording, Promise::Deferred, cuts(20));
    let lying = recording.with_ignored_syncs(|path, _| path == Path::new(LOG));
    DEFERRED.notices("the log's syncs are ignored", &lying, Promise::Deferred);
}

/// The syncs of a process fail, and it is killed. The disk has the start of its log only; the next process reads all of it
/// from the system's memory, and writes its own commits behind it.
#[test]
fn sqlite_after_a_failed_sync() {
    let digests: Vec<String> = (0..200).map(|number| digest(number | 1 << 31)).collect();
    let initial = DEFERRED.killed_after(&digests);
    let mut on_disk = initial[Path::new(LOG)].clone();
    let written = on_disk.len() / 3;
    on_disk[written..].fill(0);
    let unknown = Bounds { promised: 0, acknowledged: 0, most: 1 };
    let ledger: Ledger = digests.into_iter().map(|digest| (digest, unknown)).collect();
    for (engine, promise) in [(STRICT, Promise::Strict), (DEFERRED, Promise::Deferred)] {
        // Each commit has a sync soon after.
        let pause = Duration::from_millis(1);
        let load = Load { reports: 300, known: 100, digests: 10, pause, seed: seed() };
        let run = Run { initial: initial.clone(), options: &[], load, log: "", end: End::Kill };
        let recording = engine.record(&run, Figures { changes: 300, syncs: 2, replies: 300, names: 0 });
        let recording = recording.with_unwritten(Path::new(LOG), on_disk.clone()).after(ledger.clone());
        let summary = engine.cut(&recording, promise, Moments::Any, cuts(20));
        assert_eq!(summary.failed, 0, "{:#?}", summary.failures);
    }
}

/// Most records expire, and the room that they leave is given back, while others are reported.
fn survives_expiry(engine: &Engine, promise: Promise) {
    let (initial, ledger) = expiry::database("sqlite", FILE);
    let load = Load { reports: 600, known: 300, digests: 20, pause: Duration::ZERO, seed: seed() };
    let run = Run { initial, options: &expiry::OPTIONS, load, log: "have expired", end: End::Stop };
    let recording = engine.record(&run, Figures { changes: 2000, syncs: 5, replies: 600, names: 2 });
    engine.survives(&recording.after(ledger), promise, cuts(10));
}

#[test]
fn sqlite_strict_in_expiry() {
    survives_expiry(&STRICT, Promise::Strict);
}

#[test]
fn sqlite_deferred_in_expiry() {
    survives_expiry(&DEFERRED, Promise::Deferred);
}
