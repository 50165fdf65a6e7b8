//! What the server is to reach, as ratios of figures that were measured in the same run on the same machine.

use std::fmt;

use crate::results::{Results, Row, Sample, median};
use crate::subjects::Work;

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

/// A ratio and its goal.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) name: String,
    /// `None` when a part of it was not measured.
    pub(crate) value: Option<f64>,
    pub(crate) bound: Bound,
}

impl Verdict {
    pub(crate) fn met(&self) -> Option<bool> {
        self.value.map(|value| match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        })
    }
}

/// All goals. Each ratio is the median of the rounds' ratios.
pub(crate) fn judge(results: &Results) -> Vec<Verdict> {
    let mut all = Vec::new();
    let mut add = |name: String, value, bound| all.push(Verdict { name, value, bound });
    let echo = results.row("echo", "", Work::Ping);
    for runtime in ["std", "smol"] {
        let on_gdbm = |work| results.row(runtime, "gdbm", work);
        let nothing = if runtime == "std" { 1.15 } else { 1.3 };
        for (work, bound) in [(Work::Ping, nothing), (Work::Pong, nothing), (Work::Check, 1.5)] {
            let name = format!("{runtime}: {} on gdbm / echo, server CPU", work.name());
            add(name, ratio(on_gdbm(work), echo, |sample| sample.server), Bound::AtMost(bound));
        }
        let name = format!("{runtime}: report on gdbm / (echo + libgdbm), server CPU");
        add(name, report_of_sum(results, on_gdbm(Work::Report), echo), Bound::AtMost(1.25));
        let name = format!("{runtime}: signed / anonymous check on gdbm, server CPU");
        let signed = ratio(on_gdbm(Work::SignedCheck), on_gdbm(Work::Check), |sample| sample.server);
        add(name, signed, Bound::AtMost(1.3));
        for (engine, work, what, bound) in [
            ("redis", Work::Check, Figure::Cpu, Bound::AtMost(0.04)),
            ("redis", Work::Report, Figure::Cpu, Bound::AtMost(0.05)),
            ("mysql", Work::Check, Figure::Rate, Bound::AtLeast(25.0)),
            ("mysql", Work::Report, Figure::Rate, Bound::AtLeast(25.0)),
        ] {
            let [ours, python] = [runtime, "python"].map(|name| results.row(name, engine, work));
            let name = format!("{runtime}: {} on {engine} / Python's, {}", work.name(), what.name());
            add(name, ratio(ours, python, what.of()), bound);
        }
        let name = format!("{runtime}: p99 of checks at half of Python's rate / Python's");
        add(name, half_rate(results, runtime), Bound::AtMost(0.33));
        let name = format!("{runtime}: own memory with {} records / Python's", results.records);
        add(name, memory(results, runtime), Bound::AtMost(0.33));
    }
    for (work, bound) in [(Work::Ping, 1.7), (Work::Check, 1.7)] {
        let [two, one] = [2, 1].map(|workers| results.unpinned(workers, work));
        let name = format!("std: {} with two workers / one, replies/s", work.name());
        add(name, ratio(two, one, |sample| sample.rate), Bound::AtLeast(bound));
        let name = format!("std: {} with two workers / one, server CPU", work.name());
        add(name, ratio(two, one, |sample| sample.server), Bound::AtMost(1.3));
    }
    all
}

/// Which figure of a sample.
#[derive(Clone, Copy)]
enum Figure {
    Rate,
    /// Of server and database server together.
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
            Self::Cpu => |sample| sample.server + sample.store.unwrap_or(0.0),
        }
    }
}

impl Results {
    fn row(&self, name: &str, engine: &str, work: Work) -> Option<&Row> {
        self.rows.iter().find(|row| row.is(name, engine, work))
    }

    fn unpinned(&self, workers: usize, work: Work) -> Option<&Row> {
        self.rows.iter().find(|row| row.workers == workers && row.is("std", "gdbm, no CPU kept", work))
    }
}

fn ratio(above: Option<&Row>, below: Option<&Row>, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
    let rounds = above?.samples.iter().zip(&below?.samples);
    median(rounds.map(|(above, below)| figure(above) / figure(below)).filter(|ratio| ratio.is_finite()))
}

/// A report costs an echo and what libgdbm takes, and the rest is ours.
fn report_of_sum(results: &Results, report: Option<&Row>, echo: Option<&Row>) -> Option<f64> {
    let rounds = report?.samples.iter().zip(&echo?.samples).zip(&results.rmw);
    median(rounds.map(|((report, echo), (_, rmw))| report.server / (echo.server + rmw)))
}

fn half_rate(results: &Results, runtime: &str) -> Option<f64> {
    let p99 = |name: &str| {
        let half = results.half_rate.iter().find(|half| half.name == name)?;
        Some(half.latencies.quantile(0.99).as_secs_f64())
    };
    Some(p99(runtime)? / p99("python")?)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn memory(results: &Results, runtime: &str) -> Option<f64> {
    let own = |name: &str| Some(results.memory.iter().find(|(other, _)| *other == name)?.1.own as f64);
    Some(own(runtime)? / own("python")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, engine: &'static str, work: Work, costs: &[f64]) -> Row {
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
        Row { name, engine, workers: 1, work, samples: costs.iter().map(sample).collect() }
    }

    /// A round that was slow for all does not move a ratio.
    #[test]
    fn ratios_are_those_of_rounds() {
        let rows = vec![
            row("echo", "", Work::Ping, &[1000.0, 10_000.0, 1000.0]),
            row("std", "gdbm", Work::Ping, &[1100.0, 11_000.0, 9000.0]),
            row("std", "gdbm", Work::Report, &[3000.0, 30_000.0, 3000.0]),
        ];
        let rmw = vec![(1.0, 1000.0), (1.0, 10_000.0), (1.0, 1000.0)];
        let verdicts = judge(&Results { rows, rmw, ..Results::default() });
        let value =
            |text: &str| verdicts.iter().find(|verdict| verdict.name.starts_with(text)).unwrap().clone();
        assert!((value("std: ping on gdbm").value.unwrap() - 1.1).abs() < 1e-9);
        assert!((value("std: report on gdbm").value.unwrap() - 1.5).abs() < 1e-9);
        assert_eq!(
            (value("std: ping on gdbm").met(), value("std: report on").met()),
            (Some(true), Some(false))
        );
        assert_eq!((value("smol: ping").value, value("smol: ping").met()), (None, None));
    }
}
