//! CPU, latencies, start and memory of servers with many records.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::Signal;
use pyzord_bench::load::{self, LoadPlan, LoadProgress, Mix, Pace, Report};
use pyzord_core::Operation;

use super::durable::{reports, start as start_server};
use super::files::{filled, name};
use super::{Findings, SqliteOptions};
use crate::goals::Bound;
use crate::machine::Machine;
use crate::server::{Server, Start};
use crate::status_line;

/// From here on gdbm's directory and its pages do not fit into caches.
const MANY: u64 = 10_000_000;
/// Checks a second beside saturated writers.
const CHECKS: u64 = 1000;
/// Loads that report as fast as they can.
const WRITERS: usize = 2;

/// Compares the CPU time of checks. Each server has one worker on the first CPU.
pub(super) fn checks(
    findings: &mut Findings,
    options: &SqliteOptions,
    machine: &Machine,
) -> anyhow::Result<()> {
    let (on, generator) = machine.cpus.unzip();
    let servers = ["gdbm", "sqlite"].map(|engine| {
        let more = ["--runtime", &options.runtime, "--workers", "1", "--cleanup-age", "0"];
        let start = Start { engine, dsn: name(engine), options: &more, environment: &[], cpu: on };
        Server::ours(machine, filled(engine, options.records)?, &start)
    });
    let [gdbm, sqlite] = servers;
    let (gdbm, sqlite) = (gdbm?, sqlite?);
    let (mut on_gdbm, mut on_sqlite) = (Vec::new(), Vec::new());
    // The first checks fill the caches.
    for server in [&gdbm, &sqlite] {
        check(server, options, generator)?;
    }
    for round in 1..=options.rounds {
        status_line::show(&format!("checks, round {round} of {}", options.rounds));
        on_gdbm.push(check(&gdbm, options, generator)?);
        on_sqlite.push(check(&sqlite, options, generator)?);
    }
    findings.fact("gdbm: CPU of the server for a check, us", &on_gdbm);
    findings.fact("sqlite: CPU of the server for a check, us", &on_sqlite);
    let most = if options.records >= MANY { 1.0 } else { 1.6 };
    let name = format!("CPU of a check, sqlite / gdbm, {} records", options.records);
    findings.goal(&name, &on_sqlite, &on_gdbm, Bound::AtMost(most));
    Ok(())
}

/// Returns the server's CPU time for a check, in microseconds.
fn check(server: &Server, options: &SqliteOptions, cpu: Option<usize>) -> anyhow::Result<f64> {
    let before = server.cpu()?;
    let report = load(server, options, Operation::Check, Pace::Closed { outstanding: 128 }, cpu)?;
    let served = report.codes.get(&200).copied().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let micros = (server.cpu()? - before).as_secs_f64() * 1e6 / served as f64;
    Ok(micros)
}

fn load(
    server: &Server,
    options: &SqliteOptions,
    operation: Operation,
    pace: Pace,
    cpu: Option<usize>,
) -> anyhow::Result<Report> {
    let (mix, digests, duration) = (Mix::only(operation), options.records, options.duration);
    let timeout = Duration::from_secs(10);
    let plan =
        LoadPlan { mix, pace, duration, digests, timeout, cpu, seed: 2, ..LoadPlan::new(server.address) };
    load::run(&plan, &LoadProgress::default()).context("the load generator failed")
}

/// Measures checks at a fixed rate while two clients report as fast as they can, long enough for checkpoints.
pub(super) fn beside_writers(
    findings: &mut Findings,
    options: &SqliteOptions,
    machine: &Machine,
) -> anyhow::Result<()> {
    let server = start_server(machine, options, filled("sqlite", options.records)?, "sqlite", &[])?;
    let (mut slow, mut slowest, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        status_line::show(&format!("checks beside writers, round {round} of {}", options.rounds));
        let (checks, written) = thread::scope(|scope| {
            let writers: Vec<_> =
                (0..WRITERS).map(|_| scope.spawn(|| reports(&server, options, 64))).collect();
            let checks = load(&server, options, Operation::Check, Pace::Open { rate: CHECKS }, None);
            let ended = writers.into_iter().map(thread::ScopedJoinHandle::join);
            let written: Vec<_> = ended.map(|end| end.map_err(|_| anyhow!("a load panicked"))?).collect();
            (checks, written.into_iter().collect::<anyhow::Result<Vec<Report>>>())
        });
        let (checks, written) = (checks?.latencies(), written?);
        slow.push(checks.quantile(0.99).as_secs_f64() * 1e3);
        slowest.push(checks.max().as_secs_f64() * 1e3);
        rates.push(written.iter().map(Report::rate).sum());
    }
    findings.fact("reports/s of two writers", &rates);
    findings.fact("longest check beside them, ms", &slowest);
    findings.bounded("p99 of checks beside two saturated writers, ms", &slow, Bound::AtMost(5.0));
    Ok(())
}

/// Measures a start after a kill under a load of reports.
pub(super) fn start(
    findings: &mut Findings,
    options: &SqliteOptions,
    machine: &Machine,
) -> anyhow::Result<()> {
    let mut home = filled("sqlite", options.records)?;
    let (mut times, mut logs) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        status_line::show(&format!("kill and start, round {round} of {}", options.rounds));
        let server = start_server(machine, options, home, "sqlite", &[])?;
        thread::scope(|scope| {
            let load = scope.spawn(|| reports(&server, options, 64));
            thread::sleep(options.duration * 3 / 4);
            let killed = server.signal(Signal::SIGKILL);
            // What the load says of a server that was killed does not matter.
            drop(load.join());
            killed
        })?;
        home = server.killed()?;
        let log = fs::metadata(home.path("pyzord.sqlite-wal")).context("there is no log after a kill")?;
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        logs.push(log.len() as f64 / 1e6);
        let server = start_server(machine, options, home, "sqlite", &[])?;
        times.push(server.started_in.as_secs_f64());
        home = server.stop()?;
    }
    findings.fact("log after a kill, MB", &logs);
    let name = format!("start after a kill, {} records, s", options.records);
    findings.bounded(&name, &times, Bound::AtMost(0.1));
    Ok(())
}

/// Measures the memory of servers with different settings after checks and reports.
pub(super) fn memory(
    findings: &mut Findings,
    options: &SqliteOptions,
    machine: &Machine,
) -> anyhow::Result<()> {
    let mut home = filled("sqlite", options.records)?;
    let mut highest = Vec::new();
    for cache in [8_u32, 64, 256] {
        status_line::show(&format!("memory with {cache} MiB for pages"));
        let text = cache.to_string();
        let server = start_server(machine, options, home, "sqlite", &["--sqlite-cache", &text])?;
        for operation in [Operation::Check, Operation::Report, Operation::Check] {
            load(&server, options, operation, Pace::Closed { outstanding: 128 }, None)?;
        }
        let memory = server.memory()?;
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let own = memory.own as f64 / 1024.0;
        findings.fact(&format!("DatabaseCache = {cache}: own memory, MiB"), &[own]);
        highest.push(own - f64::from(cache));
        home = server.stop()?;
    }
    let most = highest.iter().copied().fold(f64::MIN, f64::max);
    findings.bounded("own memory beyond DatabaseCache, MiB", &[most], Bound::AtMost(32.0));
    Ok(())
}
