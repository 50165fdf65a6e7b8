//! Measurements with millions of records and 100,000 accounts: start, memory, throughput, and the latencies during
//! expiry and reloads.

use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::Signal;
use pyzord_bench::clock::Clock;
use pyzord_bench::duration;
use pyzord_bench::load::{self, LoadPlan, LoadProgress, Mix, Pace, Report};
use pyzord_core::Operation;
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::machine::Machine;
use crate::server::{Home, Server, Start, wait_for};
use crate::status_line;
use crate::subjects::{create_table, fill};
use crate::table::Table;

const DATABASE: &str = "pyzord.db";
/// Reloads of the accounts and the access file during the load.
const RELOADS: usize = 5;
/// The longest time for one reload.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// The extent of the measurement.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ScaleOptions {
    /// What to measure: gdbm, redis, mysql, rules
    #[arg(long, value_delimiter = ',', value_name = "PART,...", default_value = "gdbm,redis,mysql,rules",
          value_parser = ["gdbm", "redis", "mysql", "rules"])]
    parts: Vec<String>,
    /// Records in the gdbm file
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    records: u64,
    /// Records in a database server
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    remote_records: u64,
    /// Accounts, and lines in the access file
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    accounts: u64,
    /// Requests per second for the latencies
    #[arg(long, value_name = "R", default_value_t = 5000)]
    rate: u64,
    /// Duration of each load
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    duration: Duration,
}

/// The figures of one part.
#[derive(Debug, Default)]
struct Findings {
    facts: Vec<Vec<String>>,
    loads: Vec<Vec<String>>,
}

pub(crate) fn run(options: &ScaleOptions, machine: &Machine) -> anyhow::Result<()> {
    for part in &options.parts {
        let mut findings = Findings::default();
        match part.as_str() {
            "gdbm" => {
                let start =
                    Start { engine: "gdbm", dsn: DATABASE, options: &[], environment: &[], cpu: None };
                records(&mut findings, options, machine, &start, options.records)?;
            }
            "redis" => {
                let redis = RedisServer::start();
                let dsn = format!("127.0.0.1,{},,0", redis.port());
                let start = Start { engine: "redis", dsn: &dsn, options: &[], environment: &[], cpu: None };
                records(&mut findings, options, machine, &start, options.remote_records)?;
            }
            "mysql" => {
                let mariadb = MariadbServer::start_with(&["--innodb-buffer-pool-size=2G"]);
                let dsn = mariadb.dsn("digests");
                create_table(machine, &dsn)?;
                let start = Start { engine: "mysql", dsn: &dsn, options: &[], environment: &[], cpu: None };
                records(&mut findings, options, machine, &start, options.remote_records)?;
            }
            _ => rules(&mut findings, options, machine)?,
        }
        status_line::show("");
        findings.print(part);
    }
    Ok(())
}

/// Measures a server whose database has this many records.
fn records(
    findings: &mut Findings,
    options: &ScaleOptions,
    machine: &Machine,
    start: &Start<'_>,
    records: u64,
) -> anyhow::Result<()> {
    let no_expiry = Start { options: &["--cleanup-age", "0"], ..start.clone() };
    let server = Server::ours(machine, Home::new()?, &no_expiry)?;
    status_line::show(&format!("{}: adding {records} records", start.engine));
    let clock = Clock::start();
    fill(&server, records)?;
    findings.fact("records", records);
    findings.fact("time to add them by reports, s", seconds(clock.elapsed()));
    let home = server.stop()?;
    if let Ok(file) = fs::metadata(home.path(DATABASE)) {
        findings.fact("size of the file, MB", file.len() / 1_000_000);
    }

    let server = Server::ours(machine, home, &no_expiry)?;
    findings.fact("start, s", seconds(server.started_in));
    findings.memory("after the start", &server)?;
    for operation in [Operation::Check, Operation::Report] {
        let name = format!("{operation}, 64 in flight");
        findings.load(&name, &options.load(&server, Mix::only(operation), records, None)?);
    }
    findings.memory("after the loads", &server)?;
    findings.load("no expiry", &options.steady(&server, records)?);
    let mut home = server.stop()?;
    // Redis expires its records itself.
    if start.engine == "redis" {
        return Ok(());
    }
    for (name, age) in [("expiry without old records", "10368000"), ("expiry of all records", "1")] {
        let server =
            Server::ours(machine, home, &Start { options: &["--cleanup-age", age], ..start.clone() })?;
        let report = options.steady(&server, records)?;
        let ended =
            if server.home()?.log()?.contains("have expired") { ", ended before the load" } else { "" };
        findings.load(&format!("{name}{ended}"), &report);
        home = server.stop()?;
    }
    Ok(())
}

/// Measures a server with many accounts and access lines.
fn rules(findings: &mut Findings, options: &ScaleOptions, machine: &Machine) -> anyhow::Result<()> {
    let start = Start { engine: "gdbm", dsn: DATABASE, options: &[], environment: &[], cpu: None };
    let server = Server::ours(machine, Home::new()?, &start)?;
    findings.fact("start with one account, s", seconds(server.started_in));
    drop(server);
    let home = Home::new()?;
    let accounts: String =
        (0..options.accounts).map(|number| format!("user{number} : key{number}\n")).collect();
    let lines: String =
        (0..options.accounts).map(|number| format!("check report : user{number} : allow\n")).collect();
    home.write("pyzord.passwd", &accounts)?;
    home.write("pyzord.access", &format!("all : anonymous : allow\n{lines}"))?;
    let server = Server::ours(machine, home, &start)?;
    findings.fact("accounts, and lines in the access file", options.accounts);
    findings.fact("start with all accounts, s", seconds(server.started_in));
    findings.memory("after the start", &server)?;
    findings.load("no reload", &options.steady(&server, 1000)?);
    let (report, reloads) = thread::scope(|scope| {
        let load = scope.spawn(|| options.steady(&server, 1000));
        let reloads = reload(&server);
        (load.join(), reloads)
    });
    let report = report.map_err(|_| anyhow!("the load generator panicked"))??;
    findings.load(&format!("{RELOADS} reloads"), &report);
    findings.fact("longest reload, s", seconds(reloads?));
    findings.memory("after the reloads", &server)
}

/// Reloads accounts and access file several times, and returns how long the longest reload took.
fn reload(server: &Server) -> anyhow::Result<Duration> {
    let home = server.home()?;
    let loaded = || Ok::<_, anyhow::Error>(home.log()?.matches("INFO Accounts: ").count());
    let mut longest = Duration::ZERO;
    for _ in 0..RELOADS {
        let before = loaded()?;
        let clock = Clock::start();
        server.signal(Signal::SIGHUP)?;
        let ended = || match loaded() {
            Ok(now) => (now > before).then(|| Ok(clock.elapsed())),
            Err(error) => Some(Err(error)),
        };
        let took = wait_for(RELOAD_TIMEOUT, ended).context("a reload did not end in time")??;
        longest = longest.max(took);
    }
    Ok(longest)
}

impl ScaleOptions {
    fn load(&self, server: &Server, mix: Mix, digests: u64, rate: Option<u64>) -> anyhow::Result<Report> {
        let pace = rate.map_or(Pace::Closed { outstanding: 64 }, |rate| Pace::Open { rate });
        let plan = LoadPlan { mix, digests, pace, duration: self.duration, ..LoadPlan::new(server.address) };
        status_line::show(&format!("a load of {:?}", self.duration));
        load::run(&plan, &LoadProgress::default()).context("the load generator failed")
    }

    /// Runs checks and some reports at the given rate.
    fn steady(&self, server: &Server, digests: u64) -> anyhow::Result<Report> {
        self.load(server, "check=80,report=20".parse()?, digests, Some(self.rate))
    }
}

impl Findings {
    fn fact(&mut self, name: &str, value: impl fmt::Display) {
        self.facts.push(vec![name.to_owned(), format!("{value}")]);
    }

    fn memory(&mut self, when: &str, server: &Server) -> anyhow::Result<()> {
        let memory = server.memory()?;
        self.fact(&format!("own memory {when}, KiB"), memory.own);
        self.fact(&format!("resident memory {when}, KiB"), memory.resident);
        Ok(())
    }

    fn load(&mut self, name: &str, report: &Report) {
        let latencies = report.latencies();
        let micros = |part| format!("{:.0}", latencies.quantile(part).as_secs_f64() * 1e6);
        let mut row = vec![name.to_owned(), format!("{:.0}", report.rate())];
        row.extend([0.5, 0.99, 0.999, 1.0].map(micros));
        row.push(format!("{:.3}", report.loss() * 100.0));
        let codes: Vec<String> =
            report.codes.iter().map(|(code, count)| format!("{code} x {count}")).collect();
        row.push(codes.join(", "));
        self.loads.push(row);
    }

    fn print(self, part: &str) {
        let facts = Table { title: "Scale", header: vec!["", "value"], rows: self.facts };
        let header = vec!["load", "replies/s", "p50 us", "p99 us", "p99.9 us", "max us", "lost %", "codes"];
        let loads = Table { title: "Loads", header, rows: self.loads };
        println!("{part}\n\n{}\n{}", facts.text(), loads.text());
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}
