//! Serves with everything open, and closes it in order.

use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::thread;

use pyzord_core::{Policy, Server, Store, Tick};
use pyzord_runtime::{Counters, Forwarding, Service, Sockets, StatusChange, Supervisor, shared_guard};

use super::error::StartError;
use crate::control::ControlServer;
use crate::driver::RuntimeDriver;
use crate::engine::EngineStores;
use crate::health::{GrowingFile, HealthMonitor, Trouble};
use crate::logs::Logs;
use crate::pidfile::PidFile;
use crate::rules::RulesInEffect;
use crate::settings::{SettingRow, Settings};
use crate::status::{Facts, StatusServer};
use crate::systemd::Manager;

/// Everything that is open for serving.
pub(super) struct Resources {
    pub(super) sockets: Sockets,
    pub(super) policy: Policy,
    pub(super) rules: RulesInEffect,
    pub(super) engine: EngineStores,
    /// The socket for `pyzorctl`.
    pub(super) control: Option<ControlServer>,
    pub(super) forwarding: Option<Forwarding>,
    /// The status page, and the settings that it shows.
    pub(super) page: Option<(StatusServer, Vec<SettingRow>)>,
    pub(super) manager: Arc<Manager>,
    /// What the manager is told while all is well.
    pub(super) status_line: String,
}

impl Resources {
    /// Serves until a signal stops the server.
    pub(super) fn serve(
        self,
        settings: &Settings,
        logs: &'static Logs,
        driver: RuntimeDriver,
        pid_file: Option<&PidFile>,
    ) -> Result<(), StartError> {
        let Self { sockets, policy, mut rules, engine, control, forwarding, page, manager, status_line } =
            self;
        let EngineStores { stores, upkeep, probe, .. } = engine;
        let counters = Arc::new(match page {
            Some(_) => Counters::detailed(settings.workers + settings.connections),
            None => Counters::default(),
        });
        let clock = counters.clock();
        let guard = shared_guard(settings.limits.clone()).map_err(StartError::RandomNumbers)?;
        let service = Service {
            sockets: &sockets,
            server: Server::new(policy, guard),
            counters: &counters,
            stores,
            upkeep,
            cleanup: settings.expiry(),
            reload: &mut || {
                logs.reopen();
                log::info!("{counters}");
                forwarding.iter().flat_map(Forwarding::report).for_each(|line| log::info!("{line}"));
                rules.reload(settings)
            },
            on_answered: &|answered| {
                logs.usage(answered);
                if let Some(forwarding) = &forwarding {
                    forwarding.hand_over(answered);
                }
            },
            supervisor: Some(Supervisor {
                period: manager.period(),
                notify: &mut |change| notify(&manager, change, pid_file),
            }),
        };
        let page = match page {
            Some((status, rows)) => Some((status, facts(settings, &sockets, &counters, rows, logs)?)),
            None => None,
        };
        let monitor = if page.is_some() || manager.is_present() {
            Some(watch_health(settings, &counters, probe, &manager, status_line)?)
        } else {
            None
        };
        let (running, ended) = UnixStream::pair().map_err(StartError::SocketPair)?;
        thread::scope(|scope| {
            if let (Some((status, facts)), Some(monitor)) = (&page, &monitor) {
                scope.spawn(|| status.serve(&ended, facts, &counters, monitor.health()));
            }
            if let Some(control) = &control {
                scope.spawn(|| control.serve(&ended, clock));
            }
            // Dropped on every way out, also by a panic; the other threads end with it.
            let _running = running;
            driver.serve(service);
        });
        monitor.into_iter().for_each(HealthMonitor::end);
        log::info!("{counters}");
        forwarding.into_iter().flat_map(Forwarding::stop).for_each(|line| log::info!("{line}"));
        Ok(())
    }
}

/// Tells the manager of a change. A stop whose threads do not end, because one of them waits for a disk, ends the process.
fn notify(manager: &Manager, change: StatusChange, pid_file: Option<&PidFile>) {
    manager.notify(change);
    if change == StatusChange::StopOverdue {
        log::error!("Server ended with threads that wait for the database.");
        if let Some(pid_file) = pid_file {
            pid_file.remove();
        }
        process::exit(1);
    }
}

/// Starts to watch the health of the server, and tells the manager of changes.
fn watch_health(
    settings: &Settings,
    counters: &Arc<Counters>,
    store: Box<dyn Store>,
    manager: &Arc<Manager>,
    status_line: String,
) -> Result<HealthMonitor, StartError> {
    let manager = Arc::clone(manager);
    let on_change = Box::new(move |trouble: Option<&Trouble>| {
        manager.status(trouble.map_or(&status_line, |trouble| &trouble.cause));
    });
    let files = growing_files(settings);
    HealthMonitor::start(Arc::clone(counters), store, files, on_change).map_err(StartError::Thread)
}

/// Returns the files that the server makes longer.
fn growing_files(settings: &Settings) -> Vec<GrowingFile> {
    let database = (settings.engine == "gdbm").then_some(("the database", &settings.database));
    let log = settings.log_file.as_ref().map(|path| ("the log", path));
    let usage = settings.usage_log_file.as_ref().map(|path| ("the usage log", path));
    [database, log, usage]
        .into_iter()
        .flatten()
        .map(|(what, path)| GrowingFile { what, path: path.clone() })
        .collect()
}

fn facts(
    settings: &Settings,
    sockets: &Sockets,
    counters: &Counters,
    rows: Vec<SettingRow>,
    logs: &'static Logs,
) -> Result<Facts, StartError> {
    let now = counters.clock().now();
    Ok(Facts {
        version: env!("CARGO_PKG_VERSION"),
        engine: settings.engine.clone(),
        runtime: settings.runtime.to_string(),
        listen: sockets.address().map_err(StartError::Socket)?.to_string(),
        started: now.wall.before(now.tick.since(Tick::default())),
        settings: rows,
        logs,
    })
}
