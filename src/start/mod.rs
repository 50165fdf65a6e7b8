//! Opens everything that the settings name, in an order that keeps root's rights short, and serves.

mod error;
#[cfg(target_os = "linux")]
mod port_watch;
mod prepare;
mod reload;
mod serve;
mod watch;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use pyzord_core::Policy;
use pyzord_runtime::{Covered, Sockets};

use crate::cli::CommandLine;
use crate::control::{ControlListener, OperatorCommands, StopOutcome};
use crate::detach::Announcement;
use crate::driver::RuntimeDriver;
use crate::logs::{FILES, Logs, OneLine};
use crate::open_to_all::OpenToAll;
use crate::pidfile::PidFile;
use crate::rules::RulesInEffect;
use crate::settings::Settings;
use crate::status::{SettingRows, StatusPage, StatusServer};
use crate::{detach, engine, forward, systemd, unsent};

pub(crate) use error::{StartError, is_address_in_use};
#[cfg(target_os = "linux")]
pub(crate) use port_watch::is_held_for_pyzord;
pub(crate) use prepare::{BoundSockets, Preparation, Prepared, of_engine};
use reload::Reload;
use serve::{Readiness, Resources};
use watch::StartWatch;

/// The smallest receive buffer without a warning, in bytes: it has room for some hundred requests.
const ENOUGH_BUFFER: usize = 1 << 20;

/// Serves until a signal stops the server.
pub(crate) fn run(options: &CommandLine) -> Result<(), StartError> {
    if options.detach.is_some() {
        detach::leave_terminal()?;
    }
    let preparation = Preparation::begin(options)?;
    let account = preparation.settings.account.clone();
    start(options, preparation).map_err(|error| error.of_account(account.as_ref()))
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

/// Opens everything that is written, and serves, as the account that serves.
fn start(options: &CommandLine, preparation: Preparation) -> Result<(), StartError> {
    watch::block_signals().map_err(StartError::Signals)?;
    preparation.home.create()?;
    // The standard error of a detached server becomes a file.
    let journal = options.detach.is_none() && systemd::logs_to_journal();
    let Settings { log_file, usage_log_file, engine, database, pid_file, .. } = &preparation.settings;
    let level = options.log_level(preparation.settings.log_level);
    let logs = Logs::install(log_file.as_deref(), usage_log_file.as_deref(), level, journal)?;
    let gdbm = (engine == "gdbm").then_some(database.as_path());
    let watch = StartWatch::begin(gdbm).map_err(StartError::Threads)?;
    log::info!("Starting pyzord server {}.", env!("CARGO_PKG_VERSION"));
    preparation.sources.warnings().iter().for_each(|warning| log::warn!(target: FILES, "{warning}"));
    preparation.settings.notes.iter().for_each(|note| log::info!("{note}"));
    let pid_file = pid_file.clone().filter(|_| options.detach.is_some());
    pid_file.as_deref().map_or(Ok(()), PidFile::check)?;

    let (home, sources, settings, prepared) = preparation.finish();
    let Prepared { manager, rules, targets, sockets, status } = prepared;
    let manager = manager?;
    let (policy, rules) = RulesInEffect::begin(rules?);
    let targets = targets?;
    // The socket before the database: a second server that is started by mistake reports that the port is in use.
    let BoundSockets { sockets, passed } = sockets?;
    if passed {
        log::info!("Serving on the sockets that the service manager passed, not on ListenAddress and Port.");
    }
    let status = status?;
    status.iter().for_each(StatusServer::announce);
    let engine = engine::open(&settings).map_err(|error| of_engine(&sources, error))?;
    // Files that a stop must remove are made from here on.
    watch.end().map_err(StartError::Signals)?;
    let driver = RuntimeDriver::new(settings.runtime)?;
    let control = settings.control.as_deref().and_then(listen_for_operators);
    let commands = Arc::new(OperatorCommands::default());
    let own: Vec<SocketAddr> = sockets.addresses().collect();
    let forwarding = forward::start(targets.clone().map(|targets| targets.without_own(&own)))?;
    let unsent = home.resolve(unsent::NAME);
    let listening = announce(&settings, &sockets, &policy);
    let announcement = options.detach.as_deref().map(Announcement::prepare).transpose()?;
    let pid_file = pid_file.map(PidFile::write).transpose()?;
    let page = StatusPage::new(status).map_err(StartError::SocketPair)?;
    let rows = SettingRows::default();
    rows.replace(sources.rows().collect());
    let reload = Reload {
        home: &home,
        options,
        started: &sources,
        settings: &settings,
        forwards: targets,
        own,
        current: None,
        rules,
        page: &page,
        rows,
        commands: Arc::clone(&commands),
    };
    let told = Arc::clone(&commands);
    let readiness = Readiness { manager: Arc::new(manager), announcement, listening, commands: told };
    let resources = Resources { sockets, policy, reload, engine, control, forwarding, unsent, readiness };
    let served = resources.serve(&settings, logs, driver, pid_file.as_ref());
    log::info!("Server shutdown.");
    pid_file.iter().for_each(PidFile::remove);
    commands.ended(if served.is_ok() { StopOutcome::Stopped } else { StopOutcome::Failed });
    served
}

/// Makes the control socket. The server can do without.
fn listen_for_operators(path: &Path) -> Option<ControlListener> {
    let bound = ControlListener::bind(path.to_owned()).inspect_err(|error| {
        log::warn!(
            "control socket {}: {error}; pyzorctl can neither ask nor command this server: set ControlSocket to another \
             file, or to none",
            path.display()
        );
    });
    bound.ok()
}

/// Logs that everything is open and where requests go; returns the latter for the service manager.
fn announce(settings: &Settings, sockets: &Sockets, policy: &Policy) -> String {
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
    let open = OpenToAll::find(sockets.addresses(), policy, &settings.limits);
    open.iter().for_each(|open| log::warn!(target: FILES, "{open}"));
    format!("Listening on {addresses}")
}

/// Returns the addresses that requests are received on, for the operator.
fn addresses(sockets: &Sockets) -> String {
    sockets.addresses().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
}
