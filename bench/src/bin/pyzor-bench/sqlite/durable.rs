//! Rates of reports, by what a reply promises.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use pyzord_bench::clock::Clock;
use pyzord_bench::load::{self, LoadPlan, LoadProgress, Mix, Pace, Report};
use pyzord_core::Operation;

use super::files::{filled, name};
use super::{Findings, SqliteOptions};
use crate::goals::Bound;
use crate::machine::Machine;
use crate::server::{Home, Server, Start};
use crate::status_line;

/// The time between two syncs of the gdbm file that is compared with `deferred`.
const BETWEEN_SYNCS: Duration = Duration::from_millis(100);
/// A page in the log, with its header.
const FRAME: usize = 24 + 2048;
/// The length of a log that began anew, in bytes: its frames are written over earlier ones.
const LOG: usize = 32 << 20;

/// Measures all rates in each of several rounds, and compares those of one round.
pub(super) fn rates(
    findings: &mut Findings,
    options: &SqliteOptions,
    machine: &Machine,
) -> anyhow::Result<()> {
    let ours = |engine: &str, more: &[&str]| {
        let home = filled(engine, options.records)?;
        start(machine, options, home, engine, more)
    };
    let gdbm = ours("gdbm", &[])?;
    let deferred = ours("sqlite", &[])?;
    let strict = ours("sqlite", &["--durability", "strict"])?;
    let synced = Server::synced(filled("gdbm", options.records)?, name("gdbm"))?;
    let file = File::open(gdbm.home()?.path(name("gdbm"))).context("cannot open the gdbm file")?;
    let mut rates: [Vec<f64>; 7] = Default::default();
    let [on_gdbm, on_deferred, on_strict, on_synced, alone, appended, overwritten] = &mut rates;
    for round in 1..=options.rounds {
        status_line::show(&format!("reports, round {round} of {}", options.rounds));
        on_gdbm.push(syncing(&file, || rate(&reports(&gdbm, options, 128)?))?);
        on_deferred.push(rate(&reports(&deferred, options, 128)?)?);
        on_synced.push(rate(&reports(&synced, options, 64)?)?);
        on_strict.push(rate(&reports(&strict, options, 64)?)?);
        alone.push(rate(&reports(&strict, options, 1)?)?);
        appended.push(write_and_sync(strict.home()?, 0, options.duration)?);
        overwritten.push(write_and_sync(strict.home()?, LOG, options.duration)?);
    }
    findings.fact("gdbm synced every 100 ms, 128 under way: reports/s", on_gdbm);
    findings.fact("deferred, 128 under way: reports/s", on_deferred);
    findings.fact("gdbm synced with each batch, 64 under way: reports/s", on_synced);
    findings.fact("strict, 64 under way: reports/s", on_strict);
    findings.fact("strict, one under way: reports/s", alone);
    findings.fact("a frame appended and one fdatasync: per second", appended);
    findings.fact("a frame written over another and one fdatasync: per second", overwritten);
    findings.goal("deferred / gdbm synced every 100 ms", on_deferred, on_gdbm, Bound::AtLeast(1.2));
    findings.goal(
        "strict / gdbm synced with each batch, 64 under way",
        on_strict,
        on_synced,
        Bound::AtLeast(3.0),
    );
    findings.goal(
        "time of a report, strict and alone / of a frame and its sync",
        appended,
        alone,
        Bound::AtMost(1.2),
    );
    Ok(())
}

/// Starts a server of this project.
pub(super) fn start(
    machine: &Machine,
    options: &SqliteOptions,
    home: Home,
    engine: &str,
    more: &[&str],
) -> anyhow::Result<Server> {
    let options = [&["--runtime", &options.runtime, "--cleanup-age", "0"], more].concat();
    let start = Start { engine, dsn: name(engine), options: &options, environment: &[], cpu: None };
    Server::ours(machine, home, &start)
}

/// Reports digests of the database, in a closed loop.
pub(super) fn reports(server: &Server, options: &SqliteOptions, outstanding: u64) -> anyhow::Result<Report> {
    let plan = LoadPlan {
        mix: Mix::only(Operation::Report),
        pace: Pace::Closed { outstanding },
        duration: options.duration,
        digests: options.records,
        timeout: Duration::from_secs(10),
        ..LoadPlan::new(server.address)
    };
    load::run(&plan, &LoadProgress::default()).context("the load generator failed")
}

/// Returns the requests that succeeded, per second.
fn rate(report: &Report) -> anyhow::Result<f64> {
    let served = report.codes.get(&200).copied().unwrap_or(0);
    ensure!(served * 100 >= report.sent * 99, "more than 1 % of the reports were refused:\n{report}");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = served as f64 / report.seconds;
    Ok(rate)
}

/// Syncs a file every 100 ms during a measurement.
fn syncing<T>(file: &File, measure: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let syncs = scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                let clock = Clock::start();
                file.sync_data()?;
                thread::sleep(BETWEEN_SYNCS.saturating_sub(clock.elapsed()));
            }
            Ok::<_, std::io::Error>(())
        });
        let measured = measure();
        ends.store(true, Ordering::Relaxed);
        syncs.join().map_err(|_| anyhow!("the thread that syncs panicked"))?.context("a sync failed")?;
        measured
    })
}

/// Writes frames into a file of this length, each with one fdatasync, and returns how many in a second.
fn write_and_sync(home: &Home, length: usize, duration: Duration) -> anyhow::Result<f64> {
    let path = home.path("frames");
    let rate = write(&path, length, duration).with_context(|| format!("cannot write {}", path.display()));
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    rate
}

fn write(path: &Path, length: usize, duration: Duration) -> std::io::Result<f64> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    file.rewind()?;
    let (clock, mut frames) = (Clock::start(), 0_u32);
    while clock.elapsed() < duration {
        file.write_all(&[7; FRAME])?;
        file.sync_data()?;
        frames += 1;
    }
    Ok(f64::from(frames) / clock.elapsed().as_secs_f64())
}
