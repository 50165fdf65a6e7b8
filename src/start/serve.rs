//! Serves with everything open, and closes it in order.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::thread::{self, Scope};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyzord_core::{Policy, Server, Store, Tick};
use pyzord_engines::registry;
use pyzord_runtime::{
    Clock, Counters, Forwarding, ForwardingView, Service, Sockets, StatusChange, Supervisor, shared_guard,
};

use super::error::StartError;
use super::reload::Reload;
use crate::control::{
    ControlHost, ControlListener, ControlServer, OpenHandle, OperatorCommands, StopOutcome,
};
use crate::detach::Announcement;
use crate::driver::RuntimeDriver;
use crate::engine::EngineStores;
use crate::health::{Finding, GrowingFile, HealthMonitor, Watched};
use crate::kernel_drops::KernelDrops;
use crate::logs::Logs;
use crate::pidfile::PidFile;
use crate::settings::Settings;
use crate::status::{Facts, Figures, SettingRows, StatusPage};
use crate::systemd::Manager;
use crate::unsent;

/// Everything that is open for serving.
pub(super) struct Resources<'a> {
    pub(super) sockets: Sockets,
    pub(super) policy: Policy,
    pub(super) reload: Reload<'a>,
    pub(super) engine: EngineStores,
    /// The socket for `pyzorctl`.
    pub(super) control: Option<ControlListener>,
    pub(super) forwarding: Option<Forwarding>,
    /// The file that keeps what a stop could not forward.
    pub(super) unsent: PathBuf,
    pub(super) readiness: Readiness,
}

impl Resources<'_> {
    /// Serves until a signal stops the server.
    pub(super) fn serve(
        self,
        settings: &Settings,
        logs: &'static Logs,
        driver: RuntimeDriver,
        pid_file: Option<&PidFile>,
    ) -> Result<(), StartError> {
        let Self { sockets, policy, mut reload, engine, control, forwarding, unsent, readiness } = self;
        let (page, rows) = (reload.page, reload.rows.clone());
        let EngineStores { stores, upkeep, probe, lend } = engine;
        let counters = Arc::new(Counters::detailed(settings.workers + settings.connections));
        let clock = counters.clock();
        let guard = shared_guard(settings.limits.clone()).map_err(StartError::RandomNumbers)?;
        let forwards = forwarding.as_ref().map(Forwarding::view);
        let drops = Arc::new(kernel_drops(&sockets));
        let monitor = watch_health(settings, &counters, probe, logs, forwards.clone(), &drops, &readiness)?;
        let service = Service {
            sockets: &sockets,
            server: Server::new(policy, guard).with_origin(forwarding.as_ref().map(Forwarding::origin)),
            counters: &counters,
            stores,
            upkeep,
            cleanup: settings.expiry(),
            reload: &mut || {
                logs.reopen();
                log::info!("{counters}");
                forwarding.iter().flat_map(Forwarding::report).for_each(|line| log::info!("{line}"));
                reload.run().inspect(|rules| monitor.health().follow(rules))
            },
            on_answered: &|answered| {
                logs.usage(answered);
                if let Some(forwarding) = &forwarding {
                    forwarding.hand_over(answered);
                }
            },
            supervisor: Some(Supervisor {
                period: readiness.manager.period(),
                notify: &mut |change| {
                    match change {
                        StatusChange::StopOverdue => give_up_stop(pid_file, &readiness.commands),
                        // A start that fails keeps them for the next one.
                        StatusChange::Started => {
                            forwarding.iter().for_each(|to| unsent::restore(&unsent, to));
                        }
                        _ => (),
                    }
                    readiness.notify(change);
                },
            }),
        };
        let facts = facts(settings, &sockets, &counters, rows, logs, drops);
        let figures = Figures::new(facts, Arc::clone(&counters), monitor.health().clone(), forwards);
        let figures = Arc::new(figures);
        let start = |listener| start_control(listener, lend, settings, &readiness.commands, clock, &figures);
        let control = control.map(start).transpose()?;
        let served = run(driver, service, page, &figures, &sockets);
        let operators_served = control.is_none_or(ControlServer::end);
        monitor.end();
        log::info!("{counters}");
        // Closed before the wait for other servers: a client that asks now is told at once that this one is gone.
        drop(sockets);
        forwarding.into_iter().for_each(|forwarding| stop_forwarding(forwarding, &unsent));
        if !operators_served {
            give_up_stop(pid_file, &readiness.commands);
        }
        served
    }
}

/// Runs the workers, and beside them the threads that show what they do, until a signal stops the server.
fn run<S: Store>(
    driver: RuntimeDriver,
    service: Service<'_, S>,
    page: &StatusPage,
    figures: &Figures,
    sockets: &Sockets,
) -> Result<(), StartError> {
    let (running, ended) = UnixStream::pair().map_err(StartError::SocketPair)?;
    thread::scope(|scope| {
        // Dropped on every way out, also by a panic; the other threads end with it.
        let _running = running;
        spawn(scope, "status", || page.serve(&ended, figures))?;
        spawn(scope, "figures", || figures.keep(&ended))?;
        #[cfg(target_os = "linux")]
        spawn(scope, "port", || super::port_watch::watch(sockets, &ended))?;
        Ok(driver.serve(service)?)
    })
}

/// Serves the control socket.
fn start_control(
    listener: ControlListener,
    open_handle: Option<OpenHandle>,
    settings: &Settings,
    commands: &Arc<OperatorCommands>,
    clock: Clock,
    figures: &Arc<Figures>,
) -> Result<ControlServer, StartError> {
    let figures = Arc::clone(figures);
    let host = ControlHost {
        open_handle,
        database: settings.database.clone(),
        commands: Arc::clone(commands),
        clock,
        document: Box::new(move || figures.document()),
    };
    ControlServer::start(listener, host).map_err(StartError::Threads)
}

/// Ends the process: a thread waits for a disk, and so would the stop.
fn give_up_stop(pid_file: Option<&PidFile>, commands: &OperatorCommands) -> ! {
    log::error!("Server ended with threads that wait for the database.");
    pid_file.into_iter().for_each(PidFile::remove);
    log::logger().flush();
    commands.ended(StopOutcome::Overdue);
    process::exit(1);
}

/// Starts to watch the health of the server, and tells the manager of changes.
fn watch_health(
    settings: &Settings,
    counters: &Arc<Counters>,
    store: Box<dyn Store>,
    logs: &'static Logs,
    forwarding: Option<ForwardingView>,
    kernel_drops: &Arc<KernelDrops>,
    readiness: &Readiness,
) -> Result<HealthMonitor, StartError> {
    let (manager, listening) = (Arc::clone(&readiness.manager), readiness.listening.clone());
    let on_change = Box::new(move |worst: Option<&Finding>| match worst {
        Some(worst) => manager.status(&format!("{}; {}", worst.cause, worst.cause.remedy())),
        None => manager.status(&listening),
    });
    let watched = Watched {
        counters: Arc::clone(counters),
        store,
        database: registry::is_file(&settings.engine).then(|| settings.database.clone()),
        files: growing_files(settings),
        logs,
        limits: settings.limits.clone(),
        forwarding,
        kernel_drops: Arc::clone(kernel_drops),
    };
    HealthMonitor::start(watched, on_change).map_err(StartError::Threads)
}

/// Returns the files that the server makes longer.
fn growing_files(settings: &Settings) -> Vec<GrowingFile> {
    let database = registry::is_file(&settings.engine).then_some(("the database", &settings.database));
    let log = settings.log_file.as_ref().map(|path| ("the log", path));
    let usage = settings.usage_log_file.as_ref().map(|path| ("the usage log", path));
    [database, log, usage]
        .into_iter()
        .flatten()
        .map(|(what, path)| GrowingFile { what, path: path.clone() })
        .collect()
}

/// The processes that wait for the end of the start.
pub(super) struct Readiness {
    pub(super) manager: Arc<Manager>,
    /// What tells the parent of a detached server that it serves.
    pub(super) announcement: Option<Announcement>,
    /// Where requests go: what the service manager is told while all is well.
    pub(super) listening: String,
    /// The operators that wait for a reload or for the stop.
    pub(super) commands: Arc<OperatorCommands>,
}

impl Readiness {
    fn notify(&self, change: StatusChange) {
        match change {
            StatusChange::Started => {
                self.announcement.iter().for_each(announce);
                self.manager.ready(&self.listening);
            }
            StatusChange::Stopping => self.commands.stopping(),
            _ => (),
        }
        self.manager.notify(change);
        if change == StatusChange::Reloaded {
            self.commands.reload_in_effect();
        }
    }
}

/// Tells the parent of a detached server that it serves. If the parent was ended meanwhile, so is the server: the
/// operator has given up the start.
fn announce(announcement: &Announcement) {
    if !announcement.send() {
        log::warn!("the process that started the server in the background was ended; the server ends, too");
        if let Err(error) = kill(Pid::this(), Signal::SIGTERM) {
            log::error!("the server cannot end itself: {error}");
        }
    }
}

/// Starts one of the threads that serve beside the workers.
fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    serve: impl FnOnce() + Send + 'scope,
) -> Result<(), StartError> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn_scoped(scope, serve).map(drop).map_err(StartError::Threads)
}

fn stop_forwarding(forwarding: Forwarding, unsent: &Path) {
    let servers = forwarding.servers();
    let (report, left) = forwarding.stop();
    report.iter().for_each(|line| log::info!("{line}"));
    unsent::keep(unsent, &servers, &left);
}

/// Begins to count the datagrams that the system drops.
fn kernel_drops(sockets: &Sockets) -> KernelDrops {
    KernelDrops::of(sockets.iter()).unwrap_or_else(|error| {
        log::warn!("the datagrams that the system drops are not counted: {error}");
        KernelDrops::default()
    })
}

fn facts(
    settings: &Settings,
    sockets: &Sockets,
    counters: &Counters,
    rows: SettingRows,
    logs: &'static Logs,
    kernel_drops: Arc<KernelDrops>,
) -> Facts {
    let now = counters.clock().now();
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        engine: settings.engine.clone(),
        runtime: settings.runtime.to_string(),
        listen: super::addresses(sockets),
        started: now.wall.before(now.tick.since(Tick::default())),
        settings: rows,
        logs,
        kernel_drops,
        tells_new_records: registry::is_file(&settings.engine),
    }
}
