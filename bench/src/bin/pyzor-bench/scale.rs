//! Millions of records and 100,000 accounts: start, memory, throughput, and what upkeep and reloads do to latencies.

use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use pyzord_bench::clock::Clock;
use pyzord_bench::duration;
use pyzord_bench::load::{self, Mix, Pace, Plan, Progress, Report};
use pyzord_core::Operation;
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::place::Place;
use crate::server::{Home, Server, Start, wait_for};
use crate::subjects::{create_table, fill};
use crate::table::Table;
use crate::tell;

const DATABASE: &str = "pyzord.db";
/// How often the rules are read again while the load runs.
const RELOADS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);

/// What to measure, and how much of it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// What to measure: gdbm, redis, mysql, rules
    #[arg(long, value_delimiter = ',', value_name = "PART,...", default_value = "gdbm,redis,mysql,rules",
          value_parser = ["gdbm", "redis", "mysql", "rules"])]
    parts: Vec<String>,
    /// Records of the gdbm file
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    records: u64,
    /// Records of a database server
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    remote_records: u64,
    /// Accounts, and as many lines of the access file
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    accounts: u64,
    /// Requests a second at which latencies are measured
    #[arg(long, value_name = "R", default_value_t = 5000)]
    rate: u64,
    /// How long each load takes
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    duration: Duration,
}

/// What was found about one part.
#[derive(Debug, Default)]
struct Findings {
    facts: Vec<Vec<String>>,
    loads: Vec<Vec<String>>,
}

pub(crate) fn run(options: &Options, place: &Place) -> Result<(), String> {
    for part in &options.parts {
        let mut findings = Findings::default();
        match part.as_str() {
            "gdbm" => {
                let start =
                    Start { engine: "gdbm", dsn: DATABASE, options: &[], environment: &[], cpu: None };
                records(&mut findings, options, place, &start, options.records)?;
            }
            "redis" => {
                let redis = RedisServer::start();
                let dsn = format!("127.0.0.1,{},,0", redis.port());
                let start = Start { engine: "redis", dsn: &dsn, options: &[], environment: &[], cpu: None };
                records(&mut findings, options, place, &start, options.remote_records)?;
            }
            "mysql" => {
                let mariadb = MariadbServer::start_with(&["--innodb-buffer-pool-size=2G"]);
                let dsn = mariadb.dsn("digests");
                create_table(place, &dsn)?;
                let start = Start { engine: "mysql", dsn: &dsn, options: &[], environment: &[], cpu: None };
                records(&mut findings, options, place, &start, options.remote_records)?;
            }
            _ => rules(&mut findings, options, place)?,
        }
        tell("");
        findings.print(part);
    }
    Ok(())
}

/// A database with so many records.
fn records(
    findings: &mut Findings,
    options: &Options,
    place: &Place,
    start: &Start<'_>,
    records: u64,
) -> Result<(), String> {
    let forever = Start { options: &["--cleanup-age", "0"], ..start.clone() };
    let server = Server::ours(place, Home::new()?, &forever)?;
    tell(&format!("{}: filling in {records} records", start.engine));
    let clock = Clock::start();
    fill(&server, records)?;
    findings.fact("records", records);
    findings.fact("filling it with reports, s", seconds(clock.elapsed()));
    let home = server.stop()?.ok_or("a server without a home")?;
    if let Ok(file) = fs::metadata(home.path(DATABASE)) {
        findings.fact("size of the file, MB", file.len() / 1_000_000);
    }

    let server = Server::ours(place, home, &forever)?;
    findings.fact("start, s", seconds(server.started_in));
    findings.memory("after the start", &server)?;
    for operation in [Operation::Check, Operation::Report] {
        let name = format!("{operation}, 64 under way");
        findings.load(&name, &options.load(&server, Mix::only(operation), records, None)?);
    }
    findings.memory("after the loads", &server)?;
    findings.load("no expiry", &options.steady(&server, records)?);
    let mut home = server.stop()?.ok_or("a server without a home")?;
    // Redis lets its records expire by itself.
    if start.engine == "redis" {
        return Ok(());
    }
    for (name, age) in [("expiry that finds none", "10368000"), ("expiry of all", "1")] {
        let server = Server::ours(place, home, &Start { options: &["--cleanup-age", age], ..start.clone() })?;
        let report = options.steady(&server, records)?;
        let log = server.home.as_ref().map(Home::log).unwrap_or_default();
        let ended = if log.contains("have expired") { ", which ended before the load" } else { "" };
        findings.load(&format!("{name}{ended}"), &report);
        home = server.stop()?.ok_or("a server without a home")?;
    }
    Ok(())
}

/// Many accounts and access lines.
fn rules(findings: &mut Findings, options: &Options, place: &Place) -> Result<(), String> {
    let start = Start { engine: "gdbm", dsn: DATABASE, options: &[], environment: &[], cpu: None };
    let server = Server::ours(place, Home::new()?, &start)?;
    findings.fact("start with one account, s", seconds(server.started_in));
    drop(server);
    let home = Home::new()?;
    let accounts: String =
        (0..options.accounts).map(|number| format!("user{number} : key{number}\n")).collect();
    let lines: String =
        (0..options.accounts).map(|number| format!("check report : user{number} : allow\n")).collect();
    home.write("pyzord.passwd", &accounts)?;
    home.write("pyzord.access", &format!("all : anonymous : allow\n{lines}"))?;
    let server = Server::ours(place, home, &start)?;
    findings.fact("accounts, and lines of the access file", options.accounts);
    findings.fact("start with them, s", seconds(server.started_in));
    findings.memory("after the start", &server)?;
    findings.load("no reload", &options.steady(&server, 1000)?);
    let (report, reloads) = thread::scope(|scope| {
        let load = scope.spawn(|| options.steady(&server, 1000));
        let reloads = reload(&server);
        (load.join(), reloads)
    });
    let reloads: Vec<Duration> = reloads?;
    let report = report.map_err(|_| "the generator panicked")??;
    findings.load(&format!("{RELOADS} reloads"), &report);
    findings.fact("longest reload, s", seconds(reloads.into_iter().max().unwrap_or_default()));
    findings.memory("after the reloads", &server)
}

/// Reloads the rules several times, and says how long each took.
fn reload(server: &Server) -> Result<Vec<Duration>, String> {
    let loaded =
        || server.home.as_ref().map(Home::log).unwrap_or_default().matches("INFO Accounts: ").count();
    (0..RELOADS)
        .map(|_| {
            let before = loaded();
            let clock = Clock::start();
            server.signal(Signal::SIGHUP)?;
            wait_for(PATIENCE, || (loaded() > before).then(|| clock.elapsed()))
                .ok_or_else(|| "a reload did not end in time".to_owned())
        })
        .collect()
}

impl Options {
    fn load(&self, server: &Server, mix: Mix, digests: u64, rate: Option<u64>) -> Result<Report, String> {
        let pace = rate.map_or(Pace::Closed { outstanding: 64 }, |rate| Pace::Open { rate });
        let plan = Plan { mix, digests, pace, duration: self.duration, ..Plan::new(server.address) };
        tell(&format!("a load of {:?}", self.duration));
        load::run(&plan, &Progress::default()).map_err(|error| format!("the generator: {error}"))
    }

    /// Checks and some reports at the rate.
    fn steady(&self, server: &Server, digests: u64) -> Result<Report, String> {
        self.load(server, "check=80,report=20".parse()?, digests, Some(self.rate))
    }
}

impl Findings {
    fn fact(&mut self, name: &str, value: impl fmt::Display) {
        self.facts.push(vec![name.to_owned(), format!("{value}")]);
    }

    fn memory(&mut self, when: &str, server: &Server) -> Result<(), String> {
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
