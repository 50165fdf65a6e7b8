//! One socket for two threads against one socket per thread, measured with the echo.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Context as _;
use pyzord_bench::duration;
use pyzord_bench::load::{self, LoadPlan, LoadProgress, Mix, Pace};
use pyzord_core::Operation;

use crate::echo::EchoOptions;
use crate::results::median;
use crate::server::Server;
use crate::status_line;
use crate::table::Table;

/// Requests in flight, for any number of clients.
const OUTSTANDING: u64 = 128;
const SETUPS: [(&str, EchoOptions); 3] = [
    ("one thread", EchoOptions { workers: 1, own_sockets: false }),
    ("two threads, one socket", EchoOptions { workers: 2, own_sockets: false }),
    ("two threads, a socket each", EchoOptions { workers: 2, own_sockets: true }),
];

/// The extent of the measurement.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SocketsOptions {
    /// Rounds; the table shows medians
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// Duration of each load in a round
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    duration: Duration,
    /// Numbers of client ports
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16")]
    clients: Vec<NonZeroU64>,
}

/// The figures of one setup in one round.
struct EchoSample {
    rate: f64,
    cpu: f64,
    p99: f64,
    lost: f64,
}

/// Runs the measurement and prints its table.
pub(crate) fn run(options: &SocketsOptions) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for clients in &options.clients {
        let servers: Vec<Server> =
            SETUPS.iter().map(|(_, setup)| Server::echo(*setup, None)).collect::<Result<_, _>>()?;
        let mut samples: [Vec<EchoSample>; SETUPS.len()] = Default::default();
        for round in 1..=options.rounds {
            for (server, samples) in servers.iter().zip(&mut samples) {
                status_line::show(&format!("{clients} clients, round {round} of {}", options.rounds));
                samples.push(sample(server, *clients, options.duration)?);
            }
        }
        for ((name, _), samples) in SETUPS.iter().zip(&samples) {
            let of = |figure: fn(&EchoSample) -> f64| median(samples.iter().map(figure)).unwrap_or(f64::NAN);
            rows.push(vec![
                (*name).to_owned(),
                clients.to_string(),
                format!("{:.0}", of(|sample| sample.rate)),
                format!("{:.2}", of(|sample| sample.cpu)),
                format!("{:.0}", of(|sample| sample.p99)),
                format!("{:.3}", of(|sample| sample.lost)),
            ]);
        }
    }
    status_line::show("");
    let header = vec!["echo", "clients", "replies/s", "server us", "p99 us", "lost %"];
    print!("{}", Table { title: "Sockets", header, rows }.text());
    Ok(())
}

fn sample(server: &Server, clients: NonZeroU64, duration: Duration) -> anyhow::Result<EchoSample> {
    let plan = LoadPlan {
        mix: Mix::only(Operation::Ping),
        pace: Pace::Closed { outstanding: OUTSTANDING },
        sockets: clients,
        duration,
        ..LoadPlan::new(server.address)
    };
    let before = server.cpu()?;
    let report = load::run(&plan, &LoadProgress::default()).context("the load generator failed")?;
    let cpu = server.cpu()?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let answered = report.codes.values().sum::<u64>().max(1) as f64;
    Ok(EchoSample {
        rate: report.rate(),
        cpu: cpu.as_secs_f64() * 1e6 / answered,
        p99: report.latencies().quantile(0.99).as_secs_f64() * 1e6,
        lost: report.loss() * 100.0,
    })
}
