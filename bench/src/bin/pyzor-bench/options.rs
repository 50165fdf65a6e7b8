//! The options of the comparison.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use pyzord_bench::duration;

/// The extent of the measurement.
#[derive(clap::Args, Debug)]
pub(crate) struct CompareOptions {
    /// Measure only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
    /// Rounds; the tables show medians [default: 5]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Duration of each load on each server in a round [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Records in each database
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: u64,
    /// Run two rounds of 300 ms, as a test of the comparison itself
    #[arg(long)]
    quick: bool,
}

/// The server of this project.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerOption {
    /// The server to measure [default: `pyzord` beside this program]
    #[arg(long, value_name = "PROGRAM", global = true)]
    pub(crate) server: Option<PathBuf>,
}

/// A part of the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Part {
    /// One worker with a gdbm file, beside the echo and libgdbm.
    Gdbm,
    /// A redis server.
    Redis,
    /// A MariaDB server.
    Mysql,
    /// One worker and two.
    Workers,
    /// Latencies at half the rate of Python's server.
    Latency,
}

impl CompareOptions {
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1)
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_millis(if self.quick { 300 } else { 2000 }))
    }
}
