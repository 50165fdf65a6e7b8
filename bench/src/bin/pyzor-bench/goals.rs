//! The goals: ratios of figures that were measured in the same run on the same machine.

use std::fmt;

use crate::results::{Results, Row, Sample, median};
use crate::workload::Workload;

/// The bound of a ratio.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
        }
    }
}

/// A ratio and its bound.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) name: String,
    /// `None` if one of its figures was not measured.
    pub(crate) value: Option<f64>,
    pub(crate) bound: Bound,
}

impl Goal {
    /// Returns whether the ratio is within its bound; `None` if it was not measured.
    pub(crate) fn met(&self) -> Option<bool> {
        self.value.map(|value| match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        })
    }
}

/// Evaluates all goals. Each ratio is the median of the ratios of the rounds.
pub(crate) fn evaluate(results: &Results) -> Vec<Goal> {
    let mut all = Vec::new();
    let mut add = |name: String, value, bound| all.push(Goal { name, value, bound });
    let echo = row(results, "echo", "", Workload::Ping);
    for runtime in ["std", "smol"] {
        let on_gdbm = |workload| row(results, runtime, "gdbm", workload);
        let without_store = if runtime == "std" { 1.15 } else { 1.3 };
        for (workload, bound) in
            [(Workload::Ping, without_store), (Workload::Pong, without_store), (Workload::Check, 1.5)]
        {
            let name = format!("{runtime}: {} on gdbm / echo, server CPU", workload.name());
            add(name, ratio(on_gdbm(workload), echo, |sample| sample.server), Bound::AtMost(bound));
        }
        let name = format!("{runtime}: report on gdbm / (echo + libgdbm), server CPU");
        add(name, report_of_sum(results, on_gdbm(Workload::Report), echo), Bound::AtMost(1.25));
        let name = format!("{runtime}: signed / anonymous check on gdbm, server CPU");
        let signed = ratio(on_gdbm(Workload::SignedCheck), on_gdbm(Workload::Check), |sample| sample.server);
        add(name, signed, Bound::AtMost(1.3));
        for (engine, workload, figure, bound) in [
            ("redis", Workload::Check, Figure::Cpu, Bound::AtMost(0.04)),
            ("redis", Workload::Report, Figure::Cpu, Bound::AtMost(0.05)),
            ("mysql", Workload::Check, Figure::Rate, Bound::AtLeast(25.0)),
            ("mysql", Workload::Report, Figure::Rate, Bound::AtLeast(25.0)),
        ] {
            let [ours, python] = [runtime, "python"].map(|name| row(results, name, engine, workload));
            let name = format!("{runtime}: {} on {engine} / Python's, {}", workload.name(), figure.name());
            add(name, ratio(ours, python, figure.of()), bound);
        }
        let name = format!("{runtime}: p99 of checks at half of Python's rate / Python's");
        add(name, half_rate_ratio(results, runtime), Bound::AtMost(0.33));
        let name = format!("{runtime}: own memory with {} records / Python's", results.records);
        add(name, memory_ratio(results, runtime), Bound::AtMost(0.33));
    }
    for (workload, bound) in [(Workload::Ping, 1.7), (Workload::Check, 1.7)] {
        let [two, one] = [2, 1].map(|workers| unpinned(results, workers, workload));
        let name = format!("std: {} with two workers / one, replies/s", workload.name());
        add(name, ratio(two, one, |sample| sample.rate), Bound::AtLeast(bound));
        let name = format!("std: {} with two workers / one, server CPU", workload.name());
        add(name, ratio(two, one, |sample| sample.server), Bound::AtMost(1.3));
    }
    all
}

/// A figure of a sample.
#[derive(Clone, Copy)]
enum Figure {
    Rate,
    Cpu,
}

impl Figure {
    const fn name(self) -> &'static str {
        match self {
            Self::Rate => "replies/s",
            Self::Cpu => "CPU of server and database",
        }
    }

    const fn of(self) -> fn(&Sample) -> f64 {
        match self {
            Self::Rate => |sample| sample.rate,
            Self::Cpu => Sample::total_cpu,
        }
    }
}

fn row<'a>(results: &'a Results, name: &str, engine: &str, workload: Workload) -> Option<&'a Row> {
    results.rows.iter().find(|row| row.is(name, engine, workload))
}

fn unpinned(results: &Results, workers: usize, workload: Workload) -> Option<&Row> {
    results.rows.iter().find(|row| row.workers == workers && row.is("std", "gdbm, no CPU kept", workload))
}

fn ratio(above: Option<&Row>, below: Option<&Row>, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
    let rounds = above?.samples.iter().zip(&below?.samples);
    median(rounds.map(|(above, below)| figure(above) / figure(below)).filter(|ratio| ratio.is_finite()))
}

/// Compares a report with the sum of an echo and libgdbm: the rest is the cost of the server itself.
fn report_of_sum(results: &Results, report: Option<&Row>, echo: Option<&Row>) -> Option<f64> {
    let rounds = report?.samples.iter().zip(&echo?.samples).zip(&results.libgdbm);
    median(rounds.map(|((report, echo), libgdbm)| report.server / (echo.server + libgdbm.cpu)))
}

fn half_rate_ratio(results: &Results, runtime: &str) -> Option<f64> {
    let p99 = |name: &str| {
        let half = results.half_rate.iter().find(|half| half.name == name)?;
        Some(half.latencies.quantile(0.99).as_secs_f64())
    };
    Some(p99(runtime)? / p99("python")?)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn memory_ratio(results: &Results, runtime: &str) -> Option<f64> {
    let own = |name: &str| Some(results.memory.iter().find(|(other, _)| *other == name)?.1.own as f64);
    Some(own(runtime)? / own("python")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmw::LibgdbmSample;

    fn measured(name: &'static str, engine: &'static str, workload: Workload, costs: &[f64]) -> Row {
        let sample = |cost: &f64| Sample {
            rate: 1.0,
            server: *cost,
            store: None,
            generator: 1.0,
            busy: 1.0,
            p50: 1.0,
            p99: 1.0,
            p999: 1.0,
            loss: 0.0,
        };
        Row { name, engine, workers: 1, workload, samples: costs.iter().map(sample).collect() }
    }

    /// A round that is slow for all servers does not change a ratio.
    #[test]
    fn ratios_are_medians_of_rounds() {
        let rows = vec![
            measured("echo", "", Workload::Ping, &[1000.0, 10_000.0, 1000.0]),
            measured("std", "gdbm", Workload::Ping, &[1100.0, 11_000.0, 9000.0]),
            measured("std", "gdbm", Workload::Report, &[3000.0, 30_000.0, 3000.0]),
        ];
        let libgdbm = [1000.0, 10_000.0, 1000.0].map(|cpu| LibgdbmSample { rate: 1.0, cpu }).into();
        let goals = evaluate(&Results { rows, libgdbm, ..Results::default() });
        let value = |text: &str| goals.iter().find(|goal| goal.name.starts_with(text)).unwrap().clone();
        assert!((value("std: ping on gdbm").value.unwrap() - 1.1).abs() < 1e-9);
        assert!((value("std: report on gdbm").value.unwrap() - 1.5).abs() < 1e-9);
        assert_eq!(
            (value("std: ping on gdbm").met(), value("std: report on").met()),
            (Some(true), Some(false))
        );
        assert_eq!((value("smol: ping").value, value("smol: ping").met()), (None, None));
    }
}
