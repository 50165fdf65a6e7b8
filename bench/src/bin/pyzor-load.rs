//! `pyzor-load`: puts load on a Pyzor server and says what became of each request.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use pyzord_bench::duration;
use pyzord_bench::json::Json;
use pyzord_bench::load::{
    self, Account, Draw, MOST_DIGESTS, MOST_OUTSTANDING, Mix, Pace, Plan, Progress, Report,
};

/// Put load on a Pyzor server and measure how it answers.
///
/// Reports and whitelistings change the server's records: the digests are SHA-1 of the numbers from 0 on.
#[derive(Parser, Debug)]
#[command(name = "pyzor-load", version)]
struct Options {
    /// Host and port of the server
    #[arg(default_value = "127.0.0.1:24441")]
    server: String,
    /// Keep so many requests unanswered: measures what a server can do [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    outstanding: Option<u64>,
    /// Send so many requests a second, whether or not they are answered
    #[arg(long, value_name = "R", conflicts_with = "outstanding", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Search the highest rate with a loss below 0.1 % and a p99 below --limit; each step takes --duration
    #[arg(long, conflicts_with_all = ["outstanding", "rate", "requests"])]
    find_max: bool,
    /// The p99 that --find-max allows
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10ms")]
    limit: Duration,
    /// How long to measure
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    duration: Duration,
    /// How long to send before measuring
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    warm_up: Duration,
    /// Stop after so many requests, warming up included
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// Sockets to send from, each on a thread
    #[arg(long, value_name = "N", default_value = "1")]
    sockets: NonZeroU64,
    /// Operations and their weights
    #[arg(long, default_value = "check=80,report=15,whitelist=5", value_name = "OP=WEIGHT,...")]
    mix: Mix,
    /// Sign the requests as this user
    #[arg(long, requires = "key")]
    user: Option<String>,
    /// The user's key as it stands in the server's accounts file
    #[arg(long, requires = "user")]
    key: Option<String>,
    /// How many different digests to ask for
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    digests: u64,
    /// How to choose among them
    #[arg(long, value_enum, default_value_t = Draw::Uniform)]
    draw: Draw,
    /// Digests in each request, 1 to 150
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Give a request up after this
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    timeout: Duration,
    /// The same seed sends the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep the threads on this CPU; with --rate, they keep it busy
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
            eprintln!("pyzor-load: nothing was answered");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pyzor-load: {error}");
            ExitCode::from(2)
        }
    }
}

impl Options {
    fn plan(&self) -> Result<Plan, String> {
        let outstanding = self.outstanding.unwrap_or(64);
        if outstanding > MOST_OUTSTANDING * self.sockets.get() {
            return Err(format!(
                "a socket can have {MOST_OUTSTANDING} requests outstanding; use more --sockets"
            ));
        }
        if !(1..=MOST_DIGESTS).contains(&self.batch) {
            return Err(format!("a request has room for 1 to {MOST_DIGESTS} digests"));
        }
        let account = self.user.as_deref().zip(self.key.as_deref());
        Ok(Plan {
            server: resolve(&self.server)?,
            pace: self.rate.map_or(Pace::Closed { outstanding }, |rate| Pace::Open { rate }),
            warm_up: self.warm_up,
            duration: self.duration,
            requests: self.requests,
            sockets: self.sockets,
            mix: self.mix.clone(),
            account: account.map(|(user, key)| Account::new(user, key)),
            digests: self.digests,
            draw: self.draw,
            batch: self.batch,
            timeout: self.timeout,
            seed: self.seed,
            cpu: self.cpu,
        })
    }
}

fn resolve(server: &str) -> Result<SocketAddr, String> {
    let mut addresses = server.to_socket_addrs().map_err(|error| format!("{server}: {error}"))?;
    addresses.next().ok_or_else(|| format!("{server} has no address"))
}

/// One load and its table. Returns how many requests were answered.
fn measure(plan: &Plan, options: &Options) -> Result<u64, String> {
    let report = run(plan)?;
    if options.json {
        print(&report.json().to_string())?;
    } else {
        print(report.to_string().trim_end())?;
    }
    Ok(report.answered())
}

/// Doubles the rate until it is too much for the server, then halves the gap six times.
fn find_max(plan: &Plan, options: &Options) -> Result<u64, String> {
    let (mut good, mut bad, mut best) = (0, None, None);
    let mut rate = 1000;
    for _ in 0..24 {
        let report = run(&Plan { pace: Pace::Open { rate }, ..plan.clone() })?;
        let p99 = report.latencies().quantile(0.99);
        let fine = report.loss() < 0.001 && p99 < options.limit && report.answered() > 0;
        if !options.json {
            let verdict = if fine { "kept up" } else { "too much" };
            let loss = report.loss() * 100.0;
            print(&format!(
                "{rate:>9}/s: loss {loss:.3} %, p99 {:.1} us: {verdict}",
                p99.as_secs_f64() * 1e6
            ))?;
        }
        if fine {
            (good, best) = (rate, Some(report));
        } else {
            bad = Some(rate);
        }
        rate = bad.map_or(rate * 2, |bad| good.midpoint(bad));
        // Closer than a sixtieth is noise.
        if bad.is_some_and(|bad| bad - good <= bad / 60 || good == 0 && rate < 10) {
            break;
        }
    }
    let answered = best.as_ref().map_or(0, Report::answered);
    if options.json {
        let report = best.map_or(Json::Null, |report| report.json());
        print(&Json::object([("max_rate", Json::Whole(good)), ("report", report)]).to_string())?;
    } else {
        print(&format!(
            "\nthe highest rate with a loss below 0.1 % and a p99 below {:?}: {good}/s",
            options.limit
        ))?;
    }
    Ok(answered)
}

/// A reader that has gone, as `head` does, ends the program with an error, not with a panic.
fn print(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| format!("standard output: {error}"))
}

fn run(plan: &Plan) -> Result<Report, String> {
    let progress = Progress::default();
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
        report.map_err(|error| error.to_string())
    })
}
