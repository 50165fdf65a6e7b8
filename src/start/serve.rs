//! Serves with everything open, and closes it in order.

use std::os::unix::net::UnixStream;
use std::thread;

use pyzord_core::{Policy, Tick};
use pyzord_runtime::{Counters, Forwarding, Live, Server, Shield, Sockets, Supervisor};

use super::error::StartError;
use crate::control::Host;
use crate::driver::Driver;
use crate::engine::Engine;
use crate::logs::Logs;
use crate::rules;
use crate::settings::{SettingRow, Settings};
use crate::status::{Facts, StatusServer};
use crate::systemd::Manager;

/// Everything that is open for serving.
pub(super) struct Resources {
    pub(super) sockets: Sockets,
    pub(super) policy: Policy,
    pub(super) engine: Engine,
    /// The socket for `pyzorctl`.
    pub(super) control: Option<Host>,
    pub(super) forwarding: Option<Forwarding>,
    /// The status page, and the settings that it shows.
    pub(super) page: Option<(StatusServer, Vec<SettingRow>)>,
    pub(super) manager: Manager,
}

impl Resources {
    /// Serves until a signal stops the server.
    pub(super) fn serve(self, settings: &Settings, logs: &Logs, driver: Driver) -> Result<(), StartError> {
        let Self { sockets, policy, engine, control, forwarding, page, manager } = self;
        let policy = Live::new(policy);
        let Engine { stores, upkeep, probe, .. } = engine;
        let counters = match page {
            Some(_) => Counters::detailed(settings.workers + settings.connections),
            None => Counters::default(),
        };
        let clock = counters.clock();
        let server = Server {
            sockets: &sockets,
            policy: &policy,
            counters: &counters,
            shield: &Shield::new(settings.limits.clone()),
            stores,
            upkeep,
            cleanup: settings.cleanup,
            reload: &mut || {
                logs.reopen();
                log::info!("{counters}");
                forwarding.iter().flat_map(Forwarding::report).for_each(|line| log::info!("{line}"));
                rules::reload(settings, &policy.snapshot())
            },
            usage: &|batch| {
                logs.usage(batch);
                if let Some(forwarding) = &forwarding {
                    forwarding.hand_over(batch);
                }
            },
            supervisor: Some(Supervisor { period: manager.period(), tell: &mut |news| manager.tell(news) }),
        };
        let page = match page {
            Some((status, rows)) => Some((status, facts(settings, &sockets, &counters, rows)?)),
            None => None,
        };
        let (running, ended) = UnixStream::pair().map_err(StartError::SocketPair)?;
        let served = thread::scope(|scope| {
            if let Some((status, facts)) = &page {
                scope.spawn(|| status.serve(&ended, facts, &counters, probe));
            }
            if let Some(control) = &control {
                scope.spawn(|| control.serve(&ended, clock));
            }
            // Dropped on every way out, also by a panic; the other threads end with it.
            let _running = running;
            driver.serve(server)
        });
        log::info!("{counters}");
        forwarding.into_iter().flat_map(Forwarding::stop).for_each(|line| log::info!("{line}"));
        Ok(served?)
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
