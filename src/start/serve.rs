//! Serves with everything open, and closes it in order.

use std::os::unix::net::UnixStream;
use std::thread;

use pyzord_core::{Policy, Server, Tick};
use pyzord_runtime::{Counters, Forwarding, Service, Sockets, Supervisor, shared_guard};

use super::error::StartError;
use crate::control::ControlServer;
use crate::driver::RuntimeDriver;
use crate::engine::EngineStores;
use crate::logs::Logs;
use crate::rules;
use crate::settings::{SettingRow, Settings};
use crate::status::{Facts, StatusServer};
use crate::systemd::Manager;

/// Everything that is open for serving.
pub(super) struct Resources {
    pub(super) sockets: Sockets,
    pub(super) policy: Policy,
    pub(super) engine: EngineStores,
    /// The socket for `pyzorctl`.
    pub(super) control: Option<ControlServer>,
    pub(super) forwarding: Option<Forwarding>,
    /// The status page, and the settings that it shows.
    pub(super) page: Option<(StatusServer, Vec<SettingRow>)>,
    pub(super) manager: Manager,
}

impl Resources {
    /// Serves until a signal stops the server.
    pub(super) fn serve(
        self,
        settings: &Settings,
        logs: &Logs,
        driver: RuntimeDriver,
    ) -> Result<(), StartError> {
        let Self { sockets, policy, engine, control, forwarding, page, manager } = self;
        let EngineStores { stores, upkeep, probe, .. } = engine;
        let counters = match page {
            Some(_) => Counters::detailed(settings.workers + settings.connections),
            None => Counters::default(),
        };
        let clock = counters.clock();
        let guard = shared_guard(settings.limits.clone()).map_err(StartError::RandomNumbers)?;
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
            supervisor: Some(Supervisor {
                period: manager.period(),
                notify: &mut |change| manager.notify(change),
            }),
        };
        let page = match page {
            Some((status, rows)) => Some((status, facts(settings, &sockets, &counters, rows)?)),
            None => None,
        };
        let (running, ended) = UnixStream::pair().map_err(StartError::SocketPair)?;
        thread::scope(|scope| {
            if let Some((status, facts)) = &page {
                scope.spawn(|| status.serve(&ended, facts, &counters, probe));
            }
            if let Some(control) = &control {
                scope.spawn(|| control.serve(&ended, clock));
            }
            // Dropped on every way out, also by a panic; the other threads end with it.
            let _running = running;
            driver.serve(service)
        })?;
        log::info!("{counters}");
        forwarding.into_iter().flat_map(Forwarding::stop).for_each(|line| log::info!("{line}"));
        Ok(())
    }
}

fn facts(
    settings: &Settings,
    sockets: &Sockets,
    counters: &Counters,
    rows: Vec<SettingRow>,
) -> Result<Facts, StartError> {
    let now = counters.clock().now();
    Ok(Facts {
        version: env!("CARGO_PKG_VERSION"),
        engine: settings.engine.clone(),
        runtime: settings.runtime.to_string(),
        listen: sockets.address().map_err(StartError::Socket)?.to_string(),
        started: now.wall.before(now.tick.since(Tick::default())),
        settings: rows,
    })
}
