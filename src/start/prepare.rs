//! What a start and `--check-config` do alike: nothing of it writes.

use std::error::Error as _;
use std::io;
use std::net::UdpSocket;

use pyzord_runtime::{BindError, Sockets};

use super::{StartError, cpus};
use crate::cli::CommandLine;
use crate::engine::EngineError;
use crate::forward::{self, Targets};
use crate::home::Home;
use crate::rules::{self, Rules};
use crate::settings::{Environment, Setting, Settings, Sources};
use crate::status::StatusServer;
use crate::systemd::{self, Manager, SystemdError};

/// The settings of a process that has become the account that serves.
pub(crate) struct Preparation {
    pub(crate) home: Home,
    pub(crate) sources: Sources,
    pub(crate) settings: Settings,
    /// Bound before the change of the account. An error waits for the log, whose file must belong to the account.
    pub(crate) sockets: Result<BoundSockets, StartError>,
}

/// The sockets that requests are received on.
pub(crate) struct BoundSockets {
    pub(crate) sockets: Sockets,
    /// The service manager has bound them.
    pub(crate) passed: bool,
}

/// The outcome of each step that reads or binds: a start ends with the first error, a check shows all.
pub(crate) struct Prepared {
    pub(crate) manager: Result<Manager, StartError>,
    pub(crate) rules: Result<Rules, StartError>,
    pub(crate) targets: Result<Option<Targets>, StartError>,
    pub(crate) sockets: Result<BoundSockets, StartError>,
    pub(crate) status: Result<Option<StatusServer>, StartError>,
}

impl Preparation {
    /// Reads the settings, binds the sockets, and becomes the account that serves. Call it before any thread exists.
    pub(crate) fn begin(options: &CommandLine) -> Result<Self, StartError> {
        let passed = systemd::passed_sockets();
        set_niceness(options.nice)?;
        let home = Home::new(options.homedir.as_deref())?;
        let sources = Sources::read(&home, Environment::of_process()?, options.settings())?;
        let settings = Settings::new(&sources, &home, cpus())?;
        // Only root can bind a port below 1024.
        let sockets = passed.map_err(StartError::from).and_then(|passed| bind(&sources, &settings, passed));
        if let Some(account) = &settings.account {
            account.assume().map_err(|error| StartError::SystemAccount(error.into()))?;
        }
        Ok(Self { home, sources, settings, sockets })
    }

    /// Reads the other files, and binds the other sockets. Call it with the rights of the account that serves.
    pub(crate) fn finish(self) -> (Home, Sources, Settings, Prepared) {
        let Self { home, sources, settings, sockets } = self;
        let bind = |address| StatusServer::bind(address, &settings.status_hosts);
        let status = settings.status.as_deref().map(bind).transpose();
        let prepared = Prepared {
            manager: Manager::from_env().map_err(StartError::from),
            rules: rules::read(&settings).map_err(StartError::from),
            targets: forward::read(&settings).map_err(StartError::from),
            sockets,
            status: status.map_err(|error| of_setting(&sources, Setting::StatusAddress, error)),
        };
        (home, sources, settings, prepared)
    }
}

/// Returns an error of the engine with the place of the setting that is its cause.
pub(crate) fn of_engine(sources: &Sources, error: EngineError) -> StartError {
    match error.setting() {
        Some(setting) => of_setting(sources, setting, error),
        None => error.into(),
    }
}

fn of_setting(sources: &Sources, setting: Setting, error: impl Into<StartError>) -> StartError {
    StartError::Setting { origin: sources.origin(setting), cause: Box::new(error.into()) }
}

fn bind(sources: &Sources, settings: &Settings, passed: Vec<UdpSocket>) -> Result<BoundSockets, StartError> {
    let mut passed = passed.into_iter();
    Ok(match passed.next() {
        Some(first) => BoundSockets {
            sockets: Sockets::adopt_all(first, passed.collect()).map_err(SystemdError::PassedSocket)?,
            passed: true,
        },
        None => {
            let bound = Sockets::bind_all(&settings.addresses, settings.port, settings.workers);
            let sockets = bound.map_err(|error| of_setting(sources, cause_of(&error), error))?;
            BoundSockets { sockets, passed: false }
        }
    })
}

/// Returns the setting that is to be changed so that a socket can be bound.
fn cause_of(error: &BindError) -> Setting {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => Setting::Port,
        _ => Setting::ListenAddress,
    }
}

fn set_niceness(increment: i32) -> Result<(), StartError> {
    if increment == 0 {
        return Ok(());
    }
    rustix::process::nice(increment).map(drop).map_err(|error| StartError::Nice(error.into()))
}
