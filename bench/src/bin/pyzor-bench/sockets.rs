//! One socket for all workers against one for each: an echo of two threads, either way.

use std::num::NonZeroU64;
use std::time::Duration;

use pyzord_bench::duration;
use pyzord_bench::load::{self, Mix, Pace, Plan, Progress};
use pyzord_core::Operation;

use crate::echo;
use crate::results::median;
use crate::server::Server;
use crate::table::Table;
use crate::tell;

/// How many requests are under way, whatever the number of clients.
const OUTSTANDING: u64 = 128;
const WAYS: [(&str, echo::Options); 3] = [
    ("one thread", echo::Options { workers: 1, own_sockets: false }),
    ("two threads, one socket", echo::Options { workers: 2, own_sockets: false }),
    ("two threads, a socket each", echo::Options { workers: 2, own_sockets: true }),
];

/// How long to measure.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Rounds; the table shows medians
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// How long each way has each load in a round
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    duration: Duration,
    /// Ports that the clients send from
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16")]
    clients: Vec<NonZeroU64>,
}

/// What was measured of one way in one round.
struct Sample {
    rate: f64,
    cpu: f64,
    p99: f64,
    lost: f64,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut rows = Vec::new();
    for clients in &options.clients {
        let servers: Vec<Server> =
            WAYS.iter().map(|(_, way)| Server::echo(*way, None)).collect::<Result<_, _>>()?;
        let mut samples: [Vec<Sample>; WAYS.len()] = Default::default();
        for round in 1..=options.rounds {
            for (server, samples) in servers.iter().zip(&mut samples) {
                tell(&format!("{clients} clients, round {round} of {}", options.rounds));
                samples.push(sample(server, *clients, options.duration)?);
            }
        }
        for ((name, _), samples) in WAYS.iter().zip(&samples) {
            let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure)).unwrap_or(f64::NAN);
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
    tell("");
    let header = vec!["echo", "clients", "replies/s", "server us", "p99 us", "lost %"];
    print!("{}", Table { title: "Sockets", header, rows }.text());
    Ok(())
}

fn sample(server: &Server, clients: NonZeroU64, duration: Duration) -> Result<Sample, String> {
    let plan = Plan {
        mix: Mix::only(Operation::Ping),
        pace: Pace::Closed { outstanding: OUTSTANDING },
        sockets: clients,
        duration,
        ..Plan::new(server.address)
    };
    let before = server.cpu()?;
    let report = load::run(&plan, &Progress::default()).map_err(|error| format!("the generator: {error}"))?;
    let cpu = server.cpu()?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let answered = report.codes.values().sum::<u64>().max(1) as f64;
    Ok(Sample {
        rate: report.rate(),
        cpu: cpu.as_secs_f64() * 1e6 / answered,
        p99: report.latencies().quantile(0.99).as_secs_f64() * 1e6,
        lost: report.loss() * 100.0,
    })
}
