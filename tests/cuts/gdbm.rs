//! Cuts of a server on gdbm, without its mapping.

use std::path::Path;
use std::time::Duration;

use pyzord_cuts::{Campaign, Figures, Files, Layout, Moments, Opened, Promise};

use crate::harness::run_python;
use crate::load::Load;
use crate::opened;
use crate::run::{End, Engine, Run, cuts, seed};

const FILE: &str = "pyzord.db";

const GDBM: Engine = Engine {
    name: "gdbm",
    file: FILE,
    layout: Layout { log: FILE, volatile: None },
    open,
    open_with_all,
    options: &[],
    is_limited: true,
};

fn open(folder: &Path) -> Opened {
    opened::counts("gdbm", &folder.join(FILE))
}

fn open_with_all(folder: &Path) -> Opened {
    GDBM.serve(folder);
    let counts = open(folder)?;
    let script = "import sys, dbm.gnu; print(len(dbm.gnu.open(sys.argv[1], 'w').keys()))";
    let keys: usize = run_python(script, &[folder.join(FILE).to_str().unwrap()]).trim().parse().unwrap();
    assert!(keys >= counts.len(), "Python finds {keys} of {} records", counts.len());
    Ok(counts)
}

/// Records that changed since the last sync may have any count, as it is documented; all others have theirs.
#[test]
fn gdbm() {
    // A server syncs every five seconds, so it is recorded for longer.
    let pause = Duration::from_millis(8);
    let load = Load { reports: 2400, known: 200, digests: 10, pause, seed: seed() };
    let run = Run { initial: Files::new(), options: &[], load, log: "", end: End::Stop };
    let recording = GDBM.record(&run, Figures { changes: 5000, syncs: 4, replies: 2400, names: 1 });
    GDBM.survives(&recording, Promise::Settled, cuts(20));
    let lying = recording.with_ignored_syncs(|_, number| number > 0);
    GDBM.notices("syncs are ignored", &lying, Promise::Settled);
    let figures =
        Campaign { promise: Promise::Deferred, moments: Moments::Any, cuts: cuts(20), seed: seed(), kept: 0 };
    println!("without that exception: {}", figures.run(&recording, open).unwrap());
}
