//! `pyzor-bench`: measures this server, Python's and a bare echo side by side, in one run on one machine.

mod chart;
mod compare;
mod echo;
mod goals;
mod place;
mod results;
mod rmw;
mod scale;
mod server;
mod sockets;
mod subjects;
mod table;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use clap::{Parser, Subcommand, ValueEnum};
use pyzord_bench::duration;

/// Compare this server with a bare echo and with Python's server, on every engine and runtime.
///
/// Python's server is that of the environment in `PYZOR_VENV`. The server is `pyzord` beside this program.
#[derive(Parser, Debug)]
#[command(name = "pyzor-bench", version)]
struct Options {
    #[command(subcommand)]
    command: Option<Work>,
    #[command(flatten)]
    place: PlaceOptions,
    /// Measure only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<Part>,
    /// Rounds; the tables show medians [default: 5]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each server has each load in a round [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Records in each database
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Two rounds of 300 ms: to see that everything works
    #[arg(long)]
    quick: bool,
    /// Write the results for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables for a page of the documentation
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Draw a chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What the sub-commands share.
#[derive(clap::Args, Clone, Debug)]
struct PlaceOptions {
    /// The server to measure [default: `pyzord` beside this program]
    #[arg(long, value_name = "PROGRAM", global = true)]
    server: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Work {
    /// Measure a server with millions of records, and with 100,000 accounts
    Scale(scale::Options),
    /// Measure one socket for two threads against one for each
    Sockets(sockets::Options),
    /// Answer every datagram with its beginning
    #[command(hide = true)]
    Echo(echo::Options),
}

/// A part of the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    /// One worker on a gdbm file, beside the echo and libgdbm.
    Gdbm,
    /// A redis server.
    Redis,
    /// A MariaDB server.
    Mysql,
    /// One worker and two.
    Workers,
    /// Latencies at half of what Python's server can do.
    Latency,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1)
    }

    fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_millis(if self.quick { 300 } else { 2000 }))
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pyzor-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    match &options.command {
        Some(Work::Echo(echo)) => return echo::run(*echo).map_err(|error| format!("echo: {error}")),
        Some(Work::Sockets(sockets)) => return sockets::run(sockets),
        Some(Work::Scale(scale)) => return scale::run(scale, &place::Place::new(&options.place)?),
        None => (),
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say little");
    }
    let place = place::Place::new(&options.place)?;
    let results = compare::run(options, &place)?;
    print!("{}", results.text());
    for (file, content) in [
        (&options.json, results.json().to_string() + "\n"),
        (&options.markdown, results.markdown()),
        (&options.svg, chart::svg(&results)),
    ] {
        if let Some(file) = file {
            fs::write(file, content).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    Ok(())
}

/// A program on the path, or where Debian has servers.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Says what is going on, to whom watches.
fn tell(what: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r{what}\x1b[K");
    }
}
