//! The servers of a comparison, all of them running, each on records of its own or of its database server.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::process::Command;
use std::time::Duration;

use pyzord_bench::clock;
use pyzord_bench::load::{self, Account, Draw, Mix, Pace, Plan, Progress, Report, numbered};
use pyzord_core::Operation;
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::echo;
use crate::place::Place;
use crate::rmw::{ReadModifyWrite, run};
use crate::server::{Home, KEY, Server, Start, USER, copy};
use crate::{Options, Part, find_program};

/// How often each record of a gdbm file was reported before the measurement. A count that gets a digit more makes libgdbm
/// move the record: seldom where records are old, but in a short run on few records each would be moved.
const REPORTS: u32 = 100;
const ONE: NonZeroU64 = NonZeroU64::MIN;
/// How many ports ask when workers are compared: the system gives each port to one of several workers.
const CLIENTS: NonZeroU64 = NonZeroU64::new(8).unwrap();
const RUNTIMES: [&str; 2] = ["std", "smol"];
const DATABASE: &str = "pyzord.db";

/// What a server is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Ping,
    Pong,
    Check,
    SignedCheck,
    Report,
}

impl Work {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Check => "check",
            Self::SignedCheck => "signed check",
            Self::Report => "report",
        }
    }

    const fn operation(self) -> Operation {
        match self {
            Self::Ping => Operation::Ping,
            Self::Pong => Operation::Pong,
            Self::Check | Self::SignedCheck => Operation::Check,
            Self::Report => Operation::Report,
        }
    }
}

/// A server that is measured.
#[derive(Debug)]
pub(crate) struct Subject {
    /// `echo`, `std`, `smol` or `python`.
    pub(crate) name: &'static str,
    /// Its engine; empty for the echo.
    pub(crate) engine: &'static str,
    /// How many workers it has; both CPUs are everybody's when there are several.
    pub(crate) workers: usize,
    pub(crate) server: Server,
    /// The process of its database server.
    pub(crate) store: Option<u32>,
    pub(crate) works: &'static [Work],
    /// How many records its database has.
    records: u64,
    generator: Option<usize>,
    /// How many ports ask it.
    clients: NonZeroU64,
}

impl Subject {
    /// Puts a load on it.
    pub(crate) fn load(&self, work: Work, pace: Pace, duration: Duration) -> Result<Report, String> {
        let account = (work == Work::SignedCheck).then(|| Account::new(USER, KEY));
        let (mix, cpu) = (Mix::only(work.operation()), self.generator);
        let digests = self.records;
        let plan = Plan {
            mix,
            pace,
            account,
            duration,
            digests,
            cpu,
            sockets: self.clients,
            ..Plan::new(self.server.address)
        };
        load::run(&plan, &Progress::default()).map_err(|error| format!("the generator: {error}"))
    }
}

/// All of them, and what they need.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    pub(crate) all: Vec<Subject>,
    pub(crate) rmw: Option<ReadModifyWrite>,
    /// What could not be measured, and why.
    pub(crate) notes: Vec<String>,
    redis: Option<RedisServer>,
    mariadb: Option<MariadbServer>,
}

impl Subjects {
    pub(crate) fn start(options: &Options, place: &Place) -> Result<Self, String> {
        let mut this = Self::default();
        if place.python.is_none() {
            this.notes
                .push("Python's server was not measured: PYZOR_VENV names no environment that has it".into());
        }
        if place.cpus.is_none() {
            this.notes.push("there is one CPU: servers and generator share it".into());
        }
        if [Part::Gdbm, Part::Workers, Part::Latency].into_iter().any(|part| options.wants(part)) {
            this.start_on_gdbm(options, place)?;
        }
        if options.wants(Part::Redis) {
            this.start_on_redis(options.records, place)?;
        }
        if options.wants(Part::Mysql) {
            this.start_on_mysql(options.records, place)?;
        }
        Ok(this)
    }

    /// One worker each, on a CPU of its own, and the generator on another.
    fn start_on_gdbm(&mut self, options: &Options, place: &Place) -> Result<(), String> {
        const OURS: &[Work] = &[Work::Ping, Work::Pong, Work::Check, Work::SignedCheck, Work::Report];
        let (on, generator) = place.cpus.unzip();
        let records = options.records;
        let template = filled_database(records, place)?;
        let home = || {
            let home = Home::new()?;
            copy(&template.path(DATABASE), &home.path(DATABASE)).map(|()| home)
        };
        let start = Start { engine: "gdbm", dsn: DATABASE, options: &[], environment: &[], cpu: on };
        let mut add = |name, engine, workers, server, works| {
            let generator = if workers == 1 { generator } else { None };
            let clients = ONE;
            self.all.push(Subject {
                name,
                engine,
                workers,
                server,
                store: None,
                works,
                records,
                generator,
                clients,
            });
        };
        if options.wants(Part::Gdbm) {
            let one = echo::Options { workers: 1, own_sockets: false };
            add("echo", "", 1, Server::echo(one, on)?, &[Work::Ping]);
        }
        if options.wants(Part::Gdbm) || options.wants(Part::Latency) {
            for runtime in RUNTIMES {
                let options = ["--runtime", runtime, "--workers", "1"];
                let server = Server::ours(place, home()?, &Start { options: &options, ..start.clone() })?;
                add(runtime, "gdbm", 1, server, OURS);
            }
            if let Some(python) = &place.python {
                add("python", "gdbm", 1, Server::python(python, home()?, &start)?, OURS);
            }
        }
        if options.wants(Part::Workers) && place.cpus.is_some() {
            self.start_workers(records, place, &start, home)?;
        }
        if options.wants(Part::Gdbm) {
            self.rmw = ReadModifyWrite::new(&template.path(DATABASE), records)
                .map_err(|error| self.notes.push(format!("libgdbm by itself was not measured: {error}")))
                .ok();
        }
        Ok(())
    }

    /// One worker and two, without a CPU of their own: the generator takes a part of what both could use.
    fn start_workers(
        &mut self,
        records: u64,
        place: &Place,
        start: &Start<'_>,
        home: impl Fn() -> Result<Home, String>,
    ) -> Result<(), String> {
        for (workers, text) in [(1, "1"), (2, "2")] {
            let start = Start { options: &["--workers", text], cpu: None, ..start.clone() };
            self.all.push(Subject {
                name: "std",
                engine: "gdbm, no CPU kept",
                workers,
                server: Server::ours(place, home()?, &start)?,
                store: None,
                works: &[Work::Ping, Work::Check],
                records,
                generator: None,
                clients: CLIENTS,
            });
        }
        Ok(())
    }

    fn start_on_redis(&mut self, records: u64, place: &Place) -> Result<(), String> {
        if find_program("redis-server").is_none() {
            self.notes.push("redis was not measured: there is no redis-server".into());
            return Ok(());
        }
        let redis = RedisServer::start();
        let (dsn, store) = (format!("127.0.0.1,{},,0", redis.port()), redis.id());
        self.redis = Some(redis);
        self.start_remote(records, place, "redis", [&dsn, &dsn], &[], store)
    }

    fn start_on_mysql(&mut self, records: u64, place: &Place) -> Result<(), String> {
        if find_program("mariadbd").is_none() {
            self.notes.push("MySQL was not measured: there is no mariadbd".into());
            return Ok(());
        }
        let mariadb = MariadbServer::start_with(&["--innodb-buffer-pool-size=256M"]);
        let (dsn, store) = (mariadb.dsn("digests"), mariadb.id());
        let port = mariadb.port().to_string();
        // Python's DSN has no place for a port; its client library looks for it in the environment.
        let python_dsn = dsn.replacen(&format!(":{port}"), "", 1);
        self.mariadb = Some(mariadb);
        create_table(place, &dsn)?;
        self.start_remote(records, place, "mysql", [&dsn, &python_dsn], &[("MYSQL_TCP_PORT", port)], store)
    }

    /// One worker each. The database server wants CPU, too, so nobody has one for himself.
    fn start_remote(
        &mut self,
        records: u64,
        place: &Place,
        engine: &'static str,
        [dsn, python_dsn]: [&str; 2],
        environment: &[(&str, String)],
        store: u32,
    ) -> Result<(), String> {
        let start = Start { engine, dsn, options: &[], environment: &[], cpu: None };
        let mut servers = Vec::new();
        for runtime in RUNTIMES {
            let options = ["--runtime", runtime, "--workers", "1"];
            servers.push((
                runtime,
                Server::ours(place, Home::new()?, &Start { options: &options, ..start.clone() })?,
            ));
        }
        if let Some((_, server)) = servers.first() {
            fill(server, records)?;
        }
        if let Some(python) = &place.python {
            let start = Start { dsn: python_dsn, environment, ..start };
            servers.push(("python", Server::python(python, Home::new()?, &start)?));
        }
        self.all.extend(servers.into_iter().map(|(name, server)| {
            let works: &[Work] = &[Work::Check, Work::Report];
            Subject {
                name,
                engine,
                workers: 1,
                server,
                store: Some(store),
                works,
                records,
                generator: None,
                clients: ONE,
            }
        }));
        Ok(())
    }
}

/// Has the server create its table.
pub(crate) fn create_table(place: &Place, dsn: &str) -> Result<(), String> {
    let home = Home::new()?;
    let mut create = Command::new(&place.server);
    create.arg("--homedir").arg(home.path("")).args(["-e", "mysql", "--dsn", dsn, "--create-table"]);
    run(&mut create).map(drop)
}

/// A home whose database has all records.
fn filled_database(records: u64, place: &Place) -> Result<Home, String> {
    let now = clock::unix_seconds();
    let mut lines = "digest,r_count,r_entered,r_updated,wl_count,wl_entered,wl_updated\n".to_owned();
    for number in 0..records {
        let _ = writeln!(lines, "{},{REPORTS},{now}.25,{now}.5,0,,", numbered(number));
    }
    let home = Home::new()?;
    home.write("records.csv", &lines)?;
    let mut import = Command::new(place.server.with_file_name("pyzorctl"));
    import
        .arg("--homedir")
        .arg(home.path(""))
        .args(["--dsn", DATABASE, "import"])
        .arg(home.path("records.csv"));
    run(&mut import).map(|_| home)
}

/// Reports each digest at least once, but for a hundredth that the database server may refuse.
pub(crate) fn fill(server: &Server, records: u64) -> Result<(), String> {
    const BATCH: u64 = 30;
    const PASSES: usize = 5;
    let plan = Plan {
        mix: Mix::only(Operation::Report),
        draw: Draw::Sequence,
        digests: records,
        batch: usize::try_from(BATCH).unwrap_or(1),
        requests: Some(records.div_ceil(BATCH)),
        // No more than the queue of one connection to a database server holds.
        pace: Pace::Closed { outstanding: 12 },
        duration: Duration::from_secs(24 * 3600),
        timeout: Duration::from_secs(60),
        ..Plan::new(server.address)
    };
    // A busy machine's database server refuses some; in the next pass it refuses others.
    for _ in 0..PASSES {
        let report =
            load::run(&plan, &Progress::default()).map_err(|error| format!("the generator: {error}"))?;
        if report.codes.get(&200).is_some_and(|fine| report.sent - fine <= report.sent / 100) {
            return Ok(());
        }
    }
    Err(format!("a database at {} could not be filled: it answered too little", server.address))
}
