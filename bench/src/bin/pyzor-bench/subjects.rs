//! The running servers of a comparison, each with its own records or a database server.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pyzord_bench::clock;
use pyzord_bench::load::{self, Distribution, LoadPlan, LoadProgress, Mix, Pace, Report, Signer, numbered};
use pyzord_core::Operation;
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::echo::EchoOptions;
use crate::machine::{Machine, find_program};
use crate::options::{CompareOptions, Part};
use crate::rmw::{ReadModifyWrite, run};
use crate::server::{Home, KEY, Server, Start, USER, copy};
use crate::workload::Workload;

/// The initial count of each record in a gdbm file. libgdbm moves a record when its count gets another digit: rare
/// for old records, but frequent in a short run that starts at 1.
const REPORTS: u32 = 100;
const ONE: NonZeroU64 = NonZeroU64::MIN;
/// Client ports when workers are compared: the kernel assigns each port to one worker.
const CLIENTS: NonZeroU64 = NonZeroU64::new(8).unwrap();
const RUNTIMES: [&str; 2] = ["std", "smol"];
const DATABASE: &str = "pyzord.db";

/// A server that is measured.
#[derive(Debug)]
pub(crate) struct Subject {
    /// `echo`, `std`, `smol` or `python`.
    pub(crate) name: &'static str,
    /// Its engine; empty for the echo.
    pub(crate) engine: &'static str,
    /// Its workers. A server with several of them shares both CPUs with the load generator.
    pub(crate) workers: usize,
    pub(crate) server: Server,
    /// The process id of its database server.
    pub(crate) store: Option<u32>,
    pub(crate) workloads: &'static [Workload],
    /// Records in its database.
    records: u64,
    /// The CPU of the load generator.
    generator: Option<usize>,
    /// Client ports.
    clients: NonZeroU64,
}

impl Subject {
    /// Puts a load on the server.
    pub(crate) fn load(&self, workload: Workload, pace: Pace, duration: Duration) -> anyhow::Result<Report> {
        let signer = (workload == Workload::SignedCheck).then(|| Signer::new(USER, KEY));
        let (mix, cpu) = (Mix::only(workload.operation()), self.generator);
        let digests = self.records;
        let plan = LoadPlan {
            mix,
            pace,
            signer,
            duration,
            digests,
            cpu,
            sockets: self.clients,
            ..LoadPlan::new(self.server.address)
        };
        load::run(&plan, &LoadProgress::default()).context("the load generator failed")
    }
}

/// All servers of a comparison, and their database servers.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    pub(crate) all: Vec<Subject>,
    pub(crate) rmw: Option<ReadModifyWrite>,
    /// The parts that cannot be measured, and why.
    pub(crate) notes: Vec<String>,
    redis: Option<RedisServer>,
    mariadb: Option<MariadbServer>,
}

impl Subjects {
    pub(crate) fn start(options: &CompareOptions, machine: &Machine) -> anyhow::Result<Self> {
        let mut this = Self::default();
        if machine.python.is_none() {
            this.notes.push(
                "Python's server was not measured: PYZOR_VENV does not name an environment with pyzor".into(),
            );
        }
        if machine.cpus.is_none() {
            this.notes.push("there is one CPU: servers and load generator share it".into());
        }
        if [Part::Gdbm, Part::Workers, Part::Latency].into_iter().any(|part| options.wants(part)) {
            this.start_on_gdbm(options, machine)?;
        }
        if options.wants(Part::Redis) {
            this.start_on_redis(options.records, machine)?;
        }
        if options.wants(Part::Mysql) {
            this.start_on_mysql(options.records, machine)?;
        }
        Ok(this)
    }

    /// Starts the servers with gdbm: one worker each, pinned to one CPU; the load generator uses another.
    fn start_on_gdbm(&mut self, options: &CompareOptions, machine: &Machine) -> anyhow::Result<()> {
        const ALL: &[Workload] =
            &[Workload::Ping, Workload::Pong, Workload::Check, Workload::SignedCheck, Workload::Report];
        let (on, generator) = machine.cpus.unzip();
        let records = options.records;
        let template = filled_database(records, machine)?;
        let home = || {
            let home = Home::new()?;
            copy(&template.path(DATABASE), &home.path(DATABASE)).map(|()| home)
        };
        let start = Start { engine: "gdbm", dsn: DATABASE, options: &[], environment: &[], cpu: on };
        let mut add = |name, engine, workers, server, workloads| {
            let generator = if workers == 1 { generator } else { None };
            let clients = ONE;
            self.all.push(Subject {
                name,
                engine,
                workers,
                server,
                store: None,
                workloads,
                records,
                generator,
                clients,
            });
        };
        if options.wants(Part::Gdbm) {
            let one = EchoOptions { workers: 1, own_sockets: false };
            add("echo", "", 1, Server::echo(one, on)?, &[Workload::Ping]);
        }
        if options.wants(Part::Gdbm) || options.wants(Part::Latency) {
            for runtime in RUNTIMES {
                let options = ["--runtime", runtime, "--workers", "1"];
                let server = Server::ours(machine, home()?, &Start { options: &options, ..start.clone() })?;
                add(runtime, "gdbm", 1, server, ALL);
            }
            if let Some(python) = &machine.python {
                add("python", "gdbm", 1, Server::python(python, home()?, &start)?, ALL);
            }
        }
        if options.wants(Part::Workers) && machine.cpus.is_some() {
            self.start_workers(records, machine, &start, home)?;
        }
        if options.wants(Part::Gdbm) {
            self.rmw = ReadModifyWrite::new(&template.path(DATABASE), records)
                .map_err(|error| self.notes.push(format!("libgdbm alone was not measured: {error:#}")))
                .ok();
        }
        Ok(())
    }

    /// Starts servers with one worker and with two, not pinned: the load generator competes with them for the CPUs.
    fn start_workers(
        &mut self,
        records: u64,
        machine: &Machine,
        start: &Start<'_>,
        home: impl Fn() -> anyhow::Result<Home>,
    ) -> anyhow::Result<()> {
        for (workers, text) in [(1, "1"), (2, "2")] {
            let start = Start { options: &["--workers", text], cpu: None, ..start.clone() };
            self.all.push(Subject {
                name: "std",
                engine: "gdbm, no CPU kept",
                workers,
                server: Server::ours(machine, home()?, &start)?,
                store: None,
                workloads: &[Workload::Ping, Workload::Check],
                records,
                generator: None,
                clients: CLIENTS,
            });
        }
        Ok(())
    }

    fn start_on_redis(&mut self, records: u64, machine: &Machine) -> anyhow::Result<()> {
        if find_program("redis-server").is_none() {
            self.notes.push("redis was not measured: there is no redis-server".into());
            return Ok(());
        }
        let redis = RedisServer::start();
        let (dsn, store) = (format!("127.0.0.1,{},,0", redis.port()), redis.id());
        self.redis = Some(redis);
        self.start_remote(records, machine, "redis", [&dsn, &dsn], &[], store)
    }

    fn start_on_mysql(&mut self, records: u64, machine: &Machine) -> anyhow::Result<()> {
        if find_program("mariadbd").is_none() {
            self.notes.push("MySQL was not measured: there is no mariadbd".into());
            return Ok(());
        }
        let mariadb = MariadbServer::start_with(&["--innodb-buffer-pool-size=256M"]);
        let (dsn, store) = (mariadb.dsn("digests"), mariadb.id());
        let port = mariadb.port().to_string();
        // Python's DSN cannot name a port; its client library reads it from the environment.
        let python_dsn = dsn.replacen(&format!(":{port}"), "", 1);
        self.mariadb = Some(mariadb);
        create_table(machine, &dsn)?;
        self.start_remote(records, machine, "mysql", [&dsn, &python_dsn], &[("MYSQL_TCP_PORT", port)], store)
    }

    /// Starts servers with a remote database, one worker each. No process is pinned, because the database server
    /// needs CPU too.
    fn start_remote(
        &mut self,
        records: u64,
        machine: &Machine,
        engine: &'static str,
        [dsn, python_dsn]: [&str; 2],
        environment: &[(&str, String)],
        store: u32,
    ) -> anyhow::Result<()> {
        let start = Start { engine, dsn, options: &[], environment: &[], cpu: None };
        let mut servers = Vec::new();
        for runtime in RUNTIMES {
            let options = ["--runtime", runtime, "--workers", "1"];
            servers.push((
                runtime,
                Server::ours(machine, Home::new()?, &Start { options: &options, ..start.clone() })?,
            ));
        }
        if let Some((_, server)) = servers.first() {
            fill(server, records)?;
        }
        if let Some(python) = &machine.python {
            let start = Start { dsn: python_dsn, environment, ..start };
            servers.push(("python", Server::python(python, Home::new()?, &start)?));
        }
        self.all.extend(servers.into_iter().map(|(name, server)| {
            let workloads: &[Workload] = &[Workload::Check, Workload::Report];
            Subject {
                name,
                engine,
                workers: 1,
                server,
                store: Some(store),
                workloads,
                records,
                generator: None,
                clients: ONE,
            }
        }));
        Ok(())
    }
}

/// Creates the table, with the server.
pub(crate) fn create_table(machine: &Machine, dsn: &str) -> anyhow::Result<()> {
    let home = Home::new()?;
    let mut create = Command::new(&machine.server);
    create.arg("--homedir").arg(home.path("")).args(["-e", "mysql", "--dsn", dsn, "--create-table"]);
    run(&mut create).map(drop)
}

/// Creates a home directory whose database has all records.
fn filled_database(records: u64, machine: &Machine) -> anyhow::Result<Home> {
    let now = clock::unix_seconds();
    let mut lines = "digest,r_count,r_entered,r_updated,wl_count,wl_entered,wl_updated\n".to_owned();
    for number in 0..records {
        let _ = writeln!(lines, "{},{REPORTS},{now}.25,{now}.5,0,,", numbered(number));
    }
    let home = Home::new()?;
    home.write("records.csv", &lines)?;
    let mut import = Command::new(machine.server.with_file_name("pyzorctl"));
    import
        .arg("--homedir")
        .arg(home.path(""))
        .args(["--dsn", DATABASE, "import"])
        .arg(home.path("records.csv"));
    run(&mut import).map(|_| home)
}

/// Reports each digest until at most one request in a hundred was refused by the database server.
pub(crate) fn fill(server: &Server, records: u64) -> anyhow::Result<()> {
    const BATCH: u8 = 30;
    const PASSES: usize = 5;
    let plan = LoadPlan {
        mix: Mix::only(Operation::Report),
        distribution: Distribution::Sequence,
        digests: records,
        batch: BATCH.into(),
        requests: Some(records.div_ceil(BATCH.into())),
        // At most what the queue of one connection to a database server holds.
        pace: Pace::Closed { outstanding: 12 },
        duration: Duration::from_secs(24 * 3600),
        timeout: Duration::from_secs(60),
        ..LoadPlan::new(server.address)
    };
    // The database server of a busy machine refuses some requests; the next pass repeats them.
    for _ in 0..PASSES {
        let report = load::run(&plan, &LoadProgress::default()).context("the load generator failed")?;
        if report.codes.get(&200).is_some_and(|fine| report.sent - fine <= report.sent / 100) {
            return Ok(());
        }
    }
    bail!("the server at {} refused more than 1 % of the reports that fill its database", server.address)
}
