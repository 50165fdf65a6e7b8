//! The comparison: every server gets every load in each of several short rounds, so that a noisy moment hits all alike.

use std::time::Duration;

use pyzord_bench::clock::process_cpu;
use pyzord_bench::load::Pace;

use crate::goals;
use crate::place::Place;
use crate::results::{HalfRate, Results, Row, Sample, median};
use crate::subjects::{Subject, Subjects, Work};
use crate::{Options, Part, tell};

/// Enough that a server always has something to do, and few enough that none refuses any.
const PACE: Pace = Pace::Closed { outstanding: 128 };
/// What fills caches and opens connections before anything counts.
const PRIMING: Duration = Duration::from_millis(200);

pub(crate) fn run(options: &Options, place: &Place) -> Result<Results, String> {
    tell("starting the servers");
    let subjects = Subjects::start(options, place)?;
    let mut results =
        Results { records: options.records, notes: subjects.notes.clone(), ..Results::default() };
    let cells =
        || subjects.all.iter().flat_map(|subject| subject.works.iter().map(move |work| (subject, *work)));
    for (subject, work) in cells() {
        subject.load(work, PACE, PRIMING)?;
        results.rows.push(Row::new(subject, work));
    }
    for round in 1..=options.rounds() {
        for ((subject, work), row) in cells().zip(&mut results.rows) {
            tell(&format!(
                "round {round} of {}: {} {} {}",
                options.rounds(),
                subject.engine,
                subject.name,
                work.name()
            ));
            row.samples.push(sample(subject, work, options.duration())?);
        }
        if let Some(rmw) = &subjects.rmw {
            results.rmw.push(rmw.measure(options.duration(), place.cpus.unzip().0)?);
        }
    }
    if options.wants(Part::Latency) {
        results.half_rate = at_half_rate(&subjects, &results, options.duration() * 2)?;
    }
    for subject in subjects.all.iter().filter(|subject| subject.engine == "gdbm") {
        results.memory.push((subject.name, subject.server.memory()?));
    }
    tell("");
    results.notes.extend(idleness(&results));
    let unknown = goals::judge(&results).iter().filter(|verdict| verdict.value.is_none()).count();
    results.notes.extend((unknown > 0).then(|| format!("{unknown} goals were not measured")));
    Ok(results)
}

/// A server that has a CPU for itself and leaves it idle was not at its limit: its replies a second are somebody else's.
fn idleness(results: &Results) -> Option<String> {
    let alone = results.rows.iter().filter(|row| matches!(row.engine, "" | "gdbm"));
    let busy = alone.filter_map(|row| row.median(|sample| sample.busy)).reduce(f64::min)?;
    let percent = busy * 100.0;
    (busy < 0.9).then(|| {
        format!(
            "a server with a CPU for itself was busy for only {percent:.0} % of the time: the generator or other \
             programs were the limit, so trust CPU times rather than replies/s"
        )
    })
}

/// One load in one round.
fn sample(subject: &Subject, work: Work, duration: Duration) -> Result<Sample, String> {
    let store_cpu = || subject.store.map(process_cpu).transpose();
    let (server_before, store_before) = (subject.server.cpu()?, store_cpu()?);
    let report = subject.load(work, PACE, duration)?;
    let (server_after, store_after) = (subject.server.cpu()?, store_cpu()?);
    // The echo's replies have no code. What a server refuses is no service.
    let code = if subject.engine.is_empty() { 0 } else { 200 };
    let served = report.codes.get(&code).copied().unwrap_or(0);
    if served == 0 {
        return Err(format!("{} {} {}:\n{report}", subject.engine, subject.name, work.name()));
    }
    #[expect(clippy::cast_precision_loss, reason = "rates and means")]
    let (served, sent) = (served as f64, report.sent as f64);
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / served;
    let store = store_after.zip(store_before).map(|(after, before)| each(after.saturating_sub(before)));
    let server = server_after.saturating_sub(server_before);
    let latencies = report.latencies();
    let micros = |part| latencies.quantile(part).as_secs_f64() * 1e6;
    Ok(Sample {
        rate: served / report.seconds,
        server: each(server),
        store,
        generator: each(report.cpu),
        busy: server.as_secs_f64() / report.seconds,
        p50: micros(0.5),
        p99: micros(0.99),
        p999: micros(0.999),
        loss: 1.0 - served / sent,
    })
}

/// Latencies of checks on gdbm at half the rate that Python's server can do, which is where a server is run.
fn at_half_rate(subjects: &Subjects, results: &Results, duration: Duration) -> Result<Vec<HalfRate>, String> {
    let python = results.rows.iter().find(|row| row.is("python", "gdbm", Work::Check));
    let Some(rate) = python.and_then(|row| median(row.samples.iter().map(|sample| sample.rate))) else {
        return Ok(Vec::new());
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
    let rate = ((rate / 2.0) as u64).max(1);
    let on_gdbm = subjects.all.iter().filter(|subject| subject.engine == "gdbm");
    on_gdbm
        .map(|subject| {
            tell(&format!("{rate} checks a second: {}", subject.name));
            let report = subject.load(Work::Check, Pace::Open { rate }, duration)?;
            Ok(HalfRate { name: subject.name, rate, latencies: report.latencies(), loss: report.loss() })
        })
        .collect()
}
