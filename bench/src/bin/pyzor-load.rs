//! `pyzor-load`: puts a load on a Pyzor server and reports what became of each request.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use pyzord_bench::duration;
use pyzord_bench::load::{
    self, Distribution, LoadPlan, LoadProgress, MOST_DIGESTS, MOST_OUTSTANDING, Mix, Pace, Report, Signer,
};
use serde_json::json;

/// Put a load on a Pyzor server and measure its replies.
///
/// Reports and whitelistings change the server's records: the digests are the SHA-1 of the numbers from 0.
#[derive(Parser, Debug)]
#[command(name = "pyzor-load", version)]
struct Options {
    /// Host and port of the server
    #[arg(default_value = "127.0.0.1:24441")]
    server: String,
    /// Keep N requests outstanding: measures the throughput [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    outstanding: Option<u64>,
    /// Send R requests per second, answered or not: measures the latency
    #[arg(long, value_name = "R", conflicts_with = "outstanding", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Find the highest rate with a loss below 0.1 % and a p99 below --limit; each step takes --duration
    #[arg(long, conflicts_with_all = ["outstanding", "rate", "requests"])]
    find_max: bool,
    /// The highest p99 for --find-max
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10ms")]
    limit: Duration,
    /// Measure for TIME
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    duration: Duration,
    /// Send for TIME before measuring
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    warm_up: Duration,
    /// Stop after N requests, warm-up included
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// Number of sockets, each with a thread
    #[arg(long, value_name = "N", default_value = "1")]
    sockets: NonZeroU64,
    /// Operations and their relative frequencies
    #[arg(long, default_value = "check=80,report=15,whitelist=5", value_name = "OP=WEIGHT,...")]
    mix: Mix,
    /// Sign the requests as this user
    #[arg(long, requires = "key")]
    user: Option<String>,
    /// The user's key, as in the server's accounts file
    #[arg(long, requires = "user")]
    key: Option<String>,
    /// Number of different digests
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    digests: u64,
    /// How often each digest is asked for
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    draw: Distribution,
    /// Digests per request, 1 to 150
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Count a request as lost after TIME
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    timeout: Duration,
    /// The same seed sends the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Pin the threads to this CPU; with --rate they keep it busy
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = options
        .plan()
        .and_then(|plan| if options.find_max { find_max(&plan, &options) } else { measure(&plan, &options) });
    match outcome {
        Ok(0) => {
            eprintln!("pyzor-load: no request was answered");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pyzor-load: {error:#}");
            ExitCode::from(2)
        }
    }
}

impl Options {
    fn plan(&self) -> anyhow::Result<LoadPlan> {
        let outstanding = self.outstanding.unwrap_or(64);
        ensure!(
            outstanding <= MOST_OUTSTANDING.saturating_mul(self.sockets.get()),
            "a socket can have at most {MOST_OUTSTANDING} requests outstanding; use more --sockets"
        );
        ensure!(
            (1..=MOST_DIGESTS).contains(&self.batch),
            "--batch is {}, but a request has 1 to {MOST_DIGESTS} digests",
            self.batch
        );
        let account = self.user.as_deref().zip(self.key.as_deref());
        Ok(LoadPlan {
            server: resolve(&self.server)?,
            pace: self.rate.map_or(Pace::Closed { outstanding }, |rate| Pace::Open { rate }),
            warm_up: self.warm_up,
            duration: self.duration,
            requests: self.requests,
            sockets: self.sockets,
            mix: self.mix.clone(),
            signer: account.map(|(user, key)| Signer::new(user, key)),
            digests: self.digests,
            distribution: self.draw,
            batch: self.batch,
            timeout: self.timeout,
            seed: self.seed,
            cpu: self.cpu,
        })
    }
}

fn resolve(server: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = server.to_socket_addrs().with_context(|| format!("cannot resolve {server}"))?;
    addresses.next().with_context(|| format!("{server} has no address"))
}

/// Runs one load and prints its report. Returns the number of answered requests.
fn measure(plan: &LoadPlan, options: &Options) -> anyhow::Result<u64> {
    let report = run(plan)?;
    if options.json {
        print(&report.json().to_string())?;
    } else {
        print(report.to_string().trim_end())?;
    }
    Ok(report.answered())
}

/// Doubles the rate until it is too high for the server, then bisects. Returns the number of requests that were
/// answered at the highest rate.
fn find_max(plan: &LoadPlan, options: &Options) -> anyhow::Result<u64> {
    let (mut good, mut bad, mut best) = (0, None, None);
    let mut rate = 1000;
    for _ in 0..24 {
        let report = run(&LoadPlan { pace: Pace::Open { rate }, ..plan.clone() })?;
        let p99 = report.latencies().quantile(0.99);
        let fine = report.loss() < 0.001 && p99 < options.limit && report.answered() > 0;
        if !options.json {
            let outcome = if fine { "ok" } else { "too high" };
            let loss = report.loss() * 100.0;
            print(&format!(
                "{rate:>9}/s: loss {loss:.3} %, p99 {:.1} us: {outcome}",
                p99.as_secs_f64() * 1e6
            ))?;
        }
        if fine {
            (good, best) = (rate, Some(report));
        } else {
            bad = Some(rate);
        }
        rate = bad.map_or(rate * 2, |bad| good.midpoint(bad));
        // A difference below a sixtieth is noise.
        if bad.is_some_and(|bad| bad - good <= bad / 60 || good == 0 && rate < 10) {
            break;
        }
    }
    let answered = best.as_ref().map_or(0, Report::answered);
    if options.json {
        let report = best.map(|report| report.json());
        print(&json!({"max_rate": good, "report": report}).to_string())?;
    } else {
        print(&format!(
            "\nthe highest rate with a loss below 0.1 % and a p99 below {:?}: {good}/s",
            options.limit
        ))?;
    }
    Ok(answered)
}

/// Prints a line. A closed pipe (`| head`) ends the program with an error instead of a panic.
fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot write to standard output")
}

/// Runs a load, with a progress line on a terminal.
fn run(plan: &LoadPlan) -> anyhow::Result<Report> {
    let progress = LoadProgress::default();
    let (done, ended) = channel::<()>();
    thread::scope(|scope| {
        if io::stderr().is_terminal() {
            let progress = &progress;
            scope.spawn(move || {
                let mut before = (0, 0);
                while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                    let now = progress.counts();
                    eprint!("\r{:>9} replies/s, {:>7} lost \x1b[K", now.0 - before.0, now.1 - before.1);
                    before = now;
                }
                eprint!("\r\x1b[K");
            });
        }
        let report = load::run(plan, &progress);
        drop(done);
        report
    })
}
