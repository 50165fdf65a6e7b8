//! `pyzor-bench`: measures this server, Python's server and a bare echo side by side, in one run on one machine.

mod chart;
mod compare;
mod echo;
mod goals;
mod growth;
mod machine;
mod options;
mod render;
mod results;
mod rmw;
mod scale;
mod server;
mod sockets;
mod sqlite;
mod status_line;
mod subjects;
mod table;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use machine::Machine;
use options::{CompareOptions, ServerOption};

/// Compare this server with a bare echo and with Python's server, on every engine and runtime.
///
/// Python's server is that of the environment in `PYZOR_VENV`. The server is `pyzord` beside this program.
#[derive(Parser, Debug)]
#[command(name = "pyzor-bench", version)]
struct Options {
    #[command(subcommand)]
    measurement: Option<Measurement>,
    #[command(flatten)]
    server: ServerOption,
    #[command(flatten)]
    compare: CompareOptions,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Draw a chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The measurements other than the comparison.
#[derive(Subcommand, Debug)]
enum Measurement {
    /// Measure a server with millions of records, and with 100,000 accounts
    Scale(scale::ScaleOptions),
    /// Measure the gdbm engine while its file grows
    Growth(growth::GrowthOptions),
    /// Measure one socket for two threads against one socket per thread
    Sockets(sockets::SocketsOptions),
    /// Measure the sqlite engine beside gdbm
    Sqlite(sqlite::SqliteOptions),
    /// Serve a gdbm file that is synced with each batch
    #[command(hide = true)]
    Synced(sqlite::SyncedOptions),
    /// Answer every datagram with its first bytes
    #[command(hide = true)]
    Echo(echo::EchoOptions),
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pyzor-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    match &options.measurement {
        Some(Measurement::Echo(echo)) => return echo::run(*echo).context("the echo failed"),
        Some(Measurement::Synced(synced)) => return sqlite::run_synced(synced),
        Some(Measurement::Sqlite(sqlite)) => return sqlite::run(sqlite, &Machine::new(&options.server)?),
        Some(Measurement::Sockets(sockets)) => return sockets::run(sockets),
        Some(Measurement::Growth(growth)) => return growth::run(growth),
        Some(Measurement::Scale(scale)) => return scale::run(scale, &Machine::new(&options.server)?),
        None => (),
    }
    if cfg!(debug_assertions) {
        eprintln!("pyzor-bench: this is a debug build: its figures mean little");
    }
    let results = compare::run(&options.compare, &Machine::new(&options.server)?)?;
    print!("{}", render::text(&results));
    for (file, content) in [
        (&options.json, render::json(&results).to_string() + "\n"),
        (&options.markdown, render::markdown(&results)),
        (&options.svg, chart::svg(&results)),
    ] {
        if let Some(file) = file {
            fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}
