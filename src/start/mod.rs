//! Opens everything that the settings name, in an order that keeps root's rights short, and serves.

mod error;
#[cfg(target_os = "linux")]
mod port_watch;
mod serve;
mod watch;

use std::io::{self, Write as _};
use std::net::UdpSocket;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use pyzord_runtime::{Covered, Sockets};

use crate::cli::CommandLine;
use crate::control::ControlServer;
use crate::detach::Announcement;
use crate::driver::RuntimeDriver;
use crate::home::Home;
use crate::logs::{FILES, Logs, OneLine};
use crate::pidfile::PidFile;
use crate::rules::RulesInEffect;
use crate::settings::{Settings, Sources};
use crate::status::StatusServer;
use crate::systemd::Manager;
use crate::{detach, engine, forward, systemd, unsent};

pub(crate) use error::StartError;
use serve::{Readiness, Resources};
use watch::StartWatch;

/// The smallest receive buffer without a warning, in bytes: it has room for some hundred requests.
const ENOUGH_BUFFER: usize = 1 << 20;

/// Serves until a signal stops the server.
pub(crate) fn run(options: &CommandLine) -> Result<(), StartError> {
    let passed = systemd::passed_sockets();
    if options.detach.is_some() {
        detach::leave_terminal()?;
    }
    set_niceness(options.nice)?;
    let home = Home::new(options.homedir.as_deref())?;
    let sources = Sources::read(&home, options.settings())?;
    let settings = Settings::new(&sources, &home, cpus())?;
    // Only root can bind a port below 1024. An error waits for the log, whose file must belong to the account.
    let bound = passed.map_err(StartError::from).and_then(|passed| bind(&settings, passed));
    let Some(account) = &settings.account else {
        return start(options, &home, &sources, &settings, bound);
    };
    account.assume().map_err(|error| StartError::SystemAccount(error.into()))?;
    start(options, &home, &sources, &settings, bound).map_err(|error| error.of_account(account))
}

/// Reports why the server does not serve: to the log if it is open, else to the terminal.
pub(crate) fn report(error: &StartError) {
    if log::max_level() == log::LevelFilter::Off {
        let mark = if systemd::logs_to_journal() { "<3>" } else { "pyzord: " };
        // No log is open, and a standard error that is closed leaves no place for the message.
        let _ = writeln!(io::stderr(), "{mark}{}", OneLine(error));
    } else {
        log::error!("{error}");
    }
}

/// Returns the number of CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    match thread::available_parallelism() {
        Ok(cpus) => NonZero::get(cpus),
        Err(error) => {
            log::warn!("the system does not tell the number of CPUs, one worker serves: {error}");
            1
        }
    }
}

/// The sockets that requests are received on.
struct BoundSockets {
    sockets: Sockets,
    /// The service manager has bound them.
    passed: bool,
}

fn bind(settings: &Settings, passed: Vec<UdpSocket>) -> Result<BoundSockets, StartError> {
    let mut passed = passed.into_iter();
    Ok(match passed.next() {
        Some(first) => {
            let adopted = Sockets::adopt_all(first, passed.collect());
            BoundSockets { sockets: adopted.map_err(systemd::SystemdError::PassedSocket)?, passed: true }
        }
        None => {
            let sockets = Sockets::bind_all(&settings.addresses, settings.port, settings.workers)?;
            BoundSockets { sockets, passed: false }
        }
    })
}

fn set_niceness(increment: i32) -> Result<(), StartError> {
    if increment == 0 {
        return Ok(());
    }
    rustix::process::nice(increment).map(drop).map_err(|error| StartError::Nice(error.into()))
}

/// Opens everything else and serves, as the account that serves.
fn start(
    options: &CommandLine,
    home: &Home,
    sources: &Sources,
    settings: &Settings,
    bound: Result<BoundSockets, StartError>,
) -> Result<(), StartError> {
    watch::block_signals().map_err(StartError::Signals)?;
    home.create()?;
    // The standard error of a detached server becomes a file.
    let journal = options.detach.is_none() && systemd::logs_to_journal();
    let (log_file, usage_log_file) = (settings.log_file.as_deref(), settings.usage_log_file.as_deref());
    let logs = Logs::install(log_file, usage_log_file, options.debug, journal)?;
    let gdbm = (settings.engine == "gdbm").then_some(settings.database.as_path());
    let watch = StartWatch::begin(gdbm).map_err(StartError::Threads)?;
    log::info!("Starting pyzord server {}.", env!("CARGO_PKG_VERSION"));
    sources.warnings().iter().for_each(|warning| log::warn!(target: FILES, "{warning}"));
    settings.notes.iter().for_each(|note| log::info!("{note}"));

    let pid_file = settings.pid_file.clone().filter(|_| options.detach.is_some());
    pid_file.as_deref().map_or(Ok(()), PidFile::check)?;
    let manager = Manager::from_env()?;
    let (policy, rules) = RulesInEffect::load(settings)?;
    let targets = forward::read(settings)?;
    // The socket before the database: a second server that is started by mistake reports that the port is in use.
    let BoundSockets { sockets, passed } = bound?;
    if passed {
        log::info!("Serving on the sockets that the service manager passed, not on ListenAddress and Port.");
    }
    let bind = |address| StatusServer::bind(address, &settings.status_hosts);
    let status = settings.status.as_deref().map(bind).transpose()?;
    let mut engine = engine::open(settings)?;
    // Files that a stop must remove are made from here on.
    watch.end().map_err(StartError::Signals)?;
    let driver = RuntimeDriver::new(settings.runtime)?;
    let control = engine.lend.take().and_then(|lend| ControlServer::bind(&settings.database, lend));
    let forwarding = forward::start(targets)?;
    let unsent = home.resolve(unsent::NAME);
    let listening = announce(settings, &sockets);
    let announcement = options.detach.as_deref().map(Announcement::prepare).transpose()?;
    let pid_file = pid_file.map(PidFile::write).transpose()?;
    let page = status.map(|status| (status, sources.rows().collect()));
    let readiness = Readiness { manager: Arc::new(manager), announcement, listening };
    let resources =
        Resources { sockets, policy, rules, engine, control, forwarding, unsent, page, readiness };
    let served = resources.serve(settings, logs, driver, pid_file.as_ref());
    log::info!("Server shutdown.");
    pid_file.iter().for_each(PidFile::remove);
    served
}

/// Logs that everything is open and where requests go; returns the latter for the service manager.
fn announce(settings: &Settings, sockets: &Sockets) -> String {
    let (addresses, buffer) = (addresses(sockets), sockets.receive_buffer());
    for Covered { address, by } in sockets.covered() {
        log::info!("ListenAddress: {address} is served as a part of {by}.");
    }
    log::info!(
        "Listening on {addresses} with the {} engine, the {} runtime and {} workers; receive buffer {} KiB.",
        settings.engine,
        settings.runtime,
        settings.workers,
        buffer / 1024
    );
    if buffer < ENOUGH_BUFFER {
        log::warn!("the receive buffer loses bursts: raise the system's limit (Linux: net.core.rmem_max)");
    }
    format!("Listening on {addresses}")
}

/// Returns the addresses that requests are received on, for the operator.
fn addresses(sockets: &Sockets) -> String {
    sockets.addresses().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
}
