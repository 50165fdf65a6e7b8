//! From the settings to a serving server, and back to nothing.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::thread;

use pyzord_core::{Policy, Server, Tick};
use pyzord_runtime::{Counters, Forwarding, Service, Sockets, Supervisor, shared_guard};

use crate::cli::Options;
use crate::control::Host;
use crate::driver::Driver;
use crate::engine::{self, Engine};
use crate::home::Home;
use crate::logs::Logs;
use crate::pidfile::PidFile;
use crate::settings::{Row, Settings, Sources};
use crate::status::{Facts, StatusServer};
use crate::systemd::{self, Manager};
use crate::{detach, forward, rules};

/// The least receive buffer, in bytes, that is not worth a warning: room for some hundred requests.
const ENOUGH_BUFFER: usize = 1 << 20;

/// Serves until a signal says stop. An error is a start that failed, in one line.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let passed = systemd::passed_socket();
    if options.detach.is_some() {
        detach::leave_terminal()?;
    }
    be_nice(options.nice)?;
    let home = Home::new(options.homedir.as_deref())?;
    let sources = Sources::read(&home, options.settings())?;
    let settings = Settings::new(&sources, &home, cpus())?;
    // A port below 1024 wants root. An error waits for the log, which must be the account's own.
    let bound = passed.and_then(|passed| listen(&settings, passed));
    let Some(account) = &settings.account else { return start(options, &home, &sources, &settings, bound) };
    account.assume().map_err(|error| error.to_string())?;
    start(options, &home, &sources, &settings, bound).map_err(|error| account.explain(error))
}

/// The server's sockets.
struct Bound {
    sockets: Sockets,
    /// They are the service manager's.
    passed: bool,
}

fn listen(settings: &Settings, passed: Option<UdpSocket>) -> Result<Bound, String> {
    let is_passed = passed.is_some();
    let bound = match passed {
        Some(socket) => Sockets::adopt(socket).map_err(|error| format!("LISTEN_FDS: {error}")),
        None => Sockets::bind(&settings.address, settings.port, settings.workers)
            .map_err(|error| error.to_string()),
    };
    bound.map(|sockets| Bound { sockets, passed: is_passed })
}

/// All that is done as the account that serves.
fn start(
    options: &Options,
    home: &Home,
    sources: &Sources,
    settings: &Settings,
    bound: Result<Bound, String>,
) -> Result<(), String> {
    home.create()?;
    // Of a daemon standard error will be a file.
    let journal = options.detach.is_none() && systemd::logs_to_journal();
    let (log_file, usage_log_file) = (settings.log_file.as_deref(), settings.usage_log_file.as_deref());
    let logs = Logs::install(log_file, usage_log_file, options.debug, journal)?;
    // Before any thread exists, so that no signal is lost from here on.
    let driver = Driver::new(settings.runtime)?;
    log::info!("Starting pyzord server {}.", env!("CARGO_PKG_VERSION"));
    sources.warnings().iter().for_each(|warning| log::warn!("{warning}"));
    settings.notes.iter().for_each(|note| log::info!("{note}"));

    let pid_file = settings.pid_file.clone().filter(|_| options.detach.is_some());
    pid_file.as_deref().map_or(Ok(()), PidFile::check)?;
    let manager = Manager::from_env()?;
    let policy = rules::load(settings)?;
    let plan = forward::read(settings)?;
    // The socket first: who starts a second server by mistake should read that the port is in use.
    let Bound { sockets, passed } = bound?;
    if passed {
        log::info!("Serving on the socket that the service manager passed, whatever the settings say.");
    }
    let status =
        settings.status.as_deref().map(StatusServer::bind).transpose().map_err(|error| error.to_string())?;
    let mut engine = engine::open(settings)?;
    let control = engine.lend.take().and_then(|lend| Host::bind(&settings.database, lend));
    let forwarding = forward::start(plan)?;
    let listening = announce(settings, &sockets)?;
    let pid_file = pid_file.map(PidFile::write).transpose()?;
    if let Err(error) = options.detach.as_deref().map_or(Ok(()), detach::serving) {
        pid_file.into_iter().for_each(PidFile::remove);
        return Err(error);
    }
    manager.ready(&listening);
    let page = status.map(|status| (status, sources.rows().collect()));
    let open = Open { sockets, policy, engine, control, forwarding, page, manager };
    let served = drive(settings, logs, driver, open);
    log::info!("Server shutdown.");
    pid_file.into_iter().for_each(PidFile::remove);
    served
}

/// Tells why nothing is served: on the terminal, and in the log file if it is open already.
pub(crate) fn fail(error: &str) {
    if log::max_level() == log::LevelFilter::Off {
        let mark = if systemd::logs_to_journal() { "<3>" } else { "pyzord: " };
        eprintln!("{mark}{error}");
    } else {
        log::error!("{error}");
    }
}

/// How many CPUs this process may use.
pub(crate) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn be_nice(increment: i32) -> Result<(), String> {
    if increment == 0 {
        return Ok(());
    }
    rustix::process::nice(increment).map(drop).map_err(|error| format!("option --nice: {error}"))
}

fn address(sockets: &Sockets) -> Result<SocketAddr, String> {
    sockets.address().map_err(|error| format!("socket: {error}"))
}

/// Says that everything is open, and where requests go now; returns the latter for the service manager.
fn announce(settings: &Settings, sockets: &Sockets) -> Result<String, String> {
    let (address, buffer) = (address(sockets)?, sockets.receive_buffer());
    log::info!(
        "Listening on {address} with the {} engine, the {} runtime and {} workers; receive buffer {} KiB.",
        settings.engine,
        settings.runtime,
        settings.workers,
        buffer / 1024
    );
    if buffer < ENOUGH_BUFFER {
        log::warn!("the receive buffer loses bursts: raise the system's limit (Linux: net.core.rmem_max)");
    }
    Ok(format!("Listening on {address}"))
}

/// All that was opened for serving.
struct Open {
    sockets: Sockets,
    policy: Policy,
    engine: Engine,
    /// Where `pyzorctl` uses the database.
    control: Option<Host>,
    forwarding: Option<Forwarding>,
    /// The status page, and the settings that it shows.
    page: Option<(StatusServer, Vec<Row>)>,
    manager: Manager,
}

/// Serves until a signal says stop.
fn drive(settings: &Settings, logs: &Logs, driver: Driver, open: Open) -> Result<(), String> {
    let Open { sockets, policy, engine, control, forwarding, page, manager } = open;
    let Engine { stores, upkeep, probe, .. } = engine;
    let counters = match page {
        Some(_) => Counters::detailed(settings.workers + settings.connections),
        None => Counters::default(),
    };
    let clock = counters.clock();
    let guard = shared_guard(settings.limits.clone()).map_err(|error| format!("random numbers: {error}"))?;
    let service = Service {
        sockets: &sockets,
        server: Server::new(policy, guard),
        counters: &counters,
        stores,
        upkeep,
        cleanup: settings.cleanup,
        reload: &mut || {
            logs.reopen();
            log::info!("{counters}");
            forwarding.iter().flat_map(Forwarding::report).for_each(|line| log::info!("{line}"));
            rules::reload(settings)
        },
        on_answered: &|answered| {
            logs.usage(answered);
            if let Some(forwarding) = &forwarding {
                forwarding.hand_over(answered);
            }
        },
        supervisor: Some(Supervisor { period: manager.period(), notify: &mut |change| manager.tell(change) }),
    };
    let page = match page {
        Some((status, rows)) => Some((status, facts(settings, &sockets, &counters, rows)?)),
        None => None,
    };
    let (running, ended) = UnixStream::pair().map_err(|error| format!("a pair of sockets: {error}"))?;
    let served = thread::scope(|scope| {
        if let Some((status, facts)) = &page {
            scope.spawn(|| status.serve(&ended, facts, &counters, probe));
        }
        if let Some(control) = &control {
            scope.spawn(|| control.serve(&ended, clock));
        }
        // Dropped however this ends, and with it the other threads end.
        let _running = running;
        driver.serve(service)
    });
    log::info!("{counters}");
    forwarding.into_iter().flat_map(Forwarding::stop).for_each(|line| log::info!("{line}"));
    served
}

fn facts(
    settings: &Settings,
    sockets: &Sockets,
    counters: &Counters,
    rows: Vec<Row>,
) -> Result<Facts, String> {
    let now = counters.clock().now();
    Ok(Facts {
        version: env!("CARGO_PKG_VERSION"),
        engine: settings.engine.clone(),
        runtime: settings.runtime.to_string(),
        listen: address(sockets)?.to_string(),
        started: now.wall.before(now.tick.since(Tick::default())),
        settings: rows,
    })
}
