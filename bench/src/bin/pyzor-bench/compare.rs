//! The comparison: each of several short rounds puts every load on every server, so that noise affects all alike.

use std::time::Duration;

use anyhow::ensure;
use pyzord_bench::clock::process_cpu;
use pyzord_bench::load::Pace;

use crate::goals;
use crate::machine::Machine;
use crate::options::{CompareOptions, Part};
use crate::results::{HalfRate, Results, Row, Sample};
use crate::status_line;
use crate::subjects::{Subject, Subjects};
use crate::workload::Workload;

/// Enough to keep a server busy, and few enough that no server refuses a request.
const PACE: Pace = Pace::Closed { outstanding: 128 };
/// Fills caches and opens connections before the first round.
const PRIMING: Duration = Duration::from_millis(200);

/// Runs the comparison.
pub(crate) fn run(options: &CompareOptions, machine: &Machine) -> anyhow::Result<Results> {
    status_line::show("starting the servers");
    let subjects = Subjects::start(options, machine)?;
    let mut results =
        Results { records: options.records, notes: subjects.notes.clone(), ..Results::default() };
    let cells =
        || subjects.all.iter().flat_map(|subject| subject.workloads.iter().map(move |load| (subject, *load)));
    for (subject, workload) in cells() {
        subject.load(workload, PACE, PRIMING)?;
        results.rows.push(Row::new(subject, workload));
    }
    for round in 1..=options.rounds() {
        for ((subject, workload), row) in cells().zip(&mut results.rows) {
            status_line::show(&format!(
                "round {round} of {}: {} {} {}",
                options.rounds(),
                subject.engine,
                subject.name,
                workload.name()
            ));
            row.samples.push(sample(subject, workload, options.duration())?);
        }
        if let Some(rmw) = &subjects.rmw {
            results.libgdbm.push(rmw.measure(options.duration(), machine.cpus.unzip().0)?);
        }
    }
    if options.wants(Part::Latency) {
        results.half_rate = at_half_rate(&subjects, &results, options.duration() * 2)?;
    }
    for subject in subjects.all.iter().filter(|subject| subject.engine == "gdbm") {
        results.memory.push((subject.name, subject.server.memory()?));
    }
    status_line::show("");
    results.notes.extend(idleness(&results));
    let unknown = goals::evaluate(&results).iter().filter(|goal| goal.value.is_none()).count();
    results.notes.extend((unknown > 0).then(|| format!("{unknown} goals were not measured")));
    Ok(results)
}

/// Returns a warning if a server with its own CPU left it idle: then the server was not the limit of the throughput.
fn idleness(results: &Results) -> Option<String> {
    let alone = results.rows.iter().filter(|row| matches!(row.engine, "" | "gdbm"));
    let busy = alone.filter_map(|row| row.median(|sample| sample.busy)).reduce(f64::min)?;
    let percent = busy * 100.0;
    (busy < 0.9).then(|| {
        format!(
            "a server with its own CPU used only {percent:.0} % of it: the load generator or other programs were \
             the limit, so compare CPU times rather than replies/s"
        )
    })
}

/// Measures one load in one round.
fn sample(subject: &Subject, workload: Workload, duration: Duration) -> anyhow::Result<Sample> {
    let store_cpu = || subject.store.map(process_cpu).transpose();
    let (server_before, store_before) = (subject.server.cpu()?, store_cpu()?);
    let report = subject.load(workload, PACE, duration)?;
    let (server_after, store_after) = (subject.server.cpu()?, store_cpu()?);
    // The echo's replies have no code. A refused request was not served.
    let code = if subject.engine.is_empty() { 0 } else { 200 };
    let served = report.codes.get(&code).copied().unwrap_or(0);
    ensure!(
        served > 0,
        "no request was served: {} {} {}\n{report}",
        subject.engine,
        subject.name,
        workload.name()
    );
    #[expect(clippy::cast_precision_loss, reason = "rates and means")]
    let (served, sent) = (served as f64, report.sent as f64);
    let per_request = |cpu: Duration| cpu.as_secs_f64() * 1e6 / served;
    let store =
        store_after.zip(store_before).map(|(after, before)| per_request(after.saturating_sub(before)));
    let server = server_after.saturating_sub(server_before);
    let latencies = report.latencies();
    let micros = |part| latencies.quantile(part).as_secs_f64() * 1e6;
    Ok(Sample {
        rate: served / report.seconds,
        server: per_request(server),
        store,
        generator: per_request(report.cpu),
        busy: server.as_secs_f64() / report.seconds,
        p50: micros(0.5),
        p99: micros(0.99),
        p999: micros(0.999),
        loss: 1.0 - served / sent,
    })
}

/// Measures latencies of checks on gdbm at half the highest rate of Python's server: a load as in production. Returns
/// nothing if Python's server was not measured.
fn at_half_rate(subjects: &Subjects, results: &Results, duration: Duration) -> anyhow::Result<Vec<HalfRate>> {
    let python = results.rows.iter().find(|row| row.is("python", "gdbm", Workload::Check));
    let Some(rate) = python.and_then(|row| row.median(|sample| sample.rate)) else {
        return Ok(Vec::new());
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
    let rate = ((rate / 2.0) as u64).max(1);
    let on_gdbm = subjects.all.iter().filter(|subject| subject.engine == "gdbm");
    on_gdbm
        .map(|subject| {
            status_line::show(&format!("{rate} checks per second: {}", subject.name));
            let report = subject.load(Workload::Check, Pace::Open { rate }, duration)?;
            Ok(HalfRate { name: subject.name, rate, latencies: report.latencies(), loss: report.loss() })
        })
        .collect()
}
