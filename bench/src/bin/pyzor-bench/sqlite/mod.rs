//! The sqlite engine beside gdbm: rates by what a reply promises, CPU, size, start, memory, and latencies beside writers.

mod durable;
mod files;
mod large;
mod synced;

use std::time::Duration;

use pyzord_bench::duration;

use crate::goals::{Bound, Goal};
use crate::machine::Machine;
use crate::render;
use crate::results::median;
use crate::status_line;
use crate::table::Table;

pub(crate) use synced::{SyncedOptions, run as run_synced};

/// The extent of the measurement.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SqliteOptions {
    /// What to measure
    #[arg(long, value_delimiter = ',', value_name = "PART,...", default_value = "rates,checks,writers,size,start,memory",
          value_parser = ["rates", "checks", "writers", "size", "start", "memory"])]
    parts: Vec<String>,
    /// Records in each database; with 10,000,000 the bounds are those of that size
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Rounds; the figures are medians
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Duration of each load in a round
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "2s")]
    duration: Duration,
    /// The runtime of the servers
    #[arg(long, value_name = "NAME", default_value = "std", value_parser = ["std", "smol"])]
    runtime: String,
}

/// What was measured.
#[derive(Debug, Default)]
struct Findings {
    facts: Vec<Vec<String>>,
    goals: Vec<Goal>,
}

/// Measures the parts, and prints facts and goals.
pub(crate) fn run(options: &SqliteOptions, machine: &Machine) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    for part in &options.parts {
        match part.as_str() {
            "rates" => durable::rates(&mut findings, options, machine)?,
            "checks" => large::checks(&mut findings, options, machine)?,
            "writers" => large::beside_writers(&mut findings, options, machine)?,
            "size" => files::sizes(&mut findings, options)?,
            "start" => large::start(&mut findings, options, machine)?,
            _ => large::memory(&mut findings, options, machine)?,
        }
    }
    status_line::show("");
    let facts = Table { title: "Figures", header: vec!["", "value"], rows: findings.facts };
    println!("{}\n{}", facts.text(), render::goals_table(&findings.goals).text());
    Ok(())
}

impl Findings {
    /// Records the median of a figure.
    fn fact(&mut self, name: &str, values: &[f64]) {
        let value = median(values.iter().copied()).unwrap_or(f64::NAN);
        let digits = if value < 100.0 { 3 } else { 0 };
        self.facts.push(vec![name.to_owned(), format!("{value:.digits$}")]);
    }

    /// Records the median of the ratios of the rounds.
    fn goal(&mut self, name: &str, above: &[f64], below: &[f64], bound: Bound) {
        let ratios = above.iter().zip(below).map(|(above, below)| above / below);
        self.goals.push(Goal { name: name.to_owned(), value: median(ratios), bound });
    }

    /// Records a figure with a bound.
    fn bounded(&mut self, name: &str, values: &[f64], bound: Bound) {
        self.goal(name, values, &vec![1.0; values.len()], bound);
    }
}
