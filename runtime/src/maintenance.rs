//! The work of the thread that waits for commands.

use std::fmt;
use std::time::Duration;

use pyzord_core::{Policy, Schedule, Store, Task, Tick};

use crate::clock::Clock;
use crate::heartbeat::Heartbeats;
use crate::reloadable::Reloadable;
use crate::supervisor::{StatusChange, Supervisor};

/// Called for a reload: returns the policy that replaces the current one, or `None` to keep it.
pub(crate) type Reload<'a> = &'a mut (dyn FnMut() -> Option<Policy> + Send);

/// What the thread that waits for commands does between them: the store's upkeep, reloads, the service manager.
pub(crate) struct Maintenance<'c, 'a, S> {
    pub(crate) clock: Clock,
    pub(crate) policy: &'c Reloadable<Policy>,
    pub(crate) heartbeats: &'c Heartbeats,
    pub(crate) schedule: Schedule,
    pub(crate) store: S,
    pub(crate) reload: Reload<'a>,
    pub(crate) supervisor: Option<Supervisor<'a>>,
    /// When [`StatusChange::Alive`] was last due.
    pub(crate) alive_at: Tick,
}

impl<S: Store> Maintenance<'_, '_, S> {
    /// Does what is due, and returns the time until something is due again, at most. It blocks as long as the store
    /// does.
    pub(crate) fn run(&mut self) -> Duration {
        self.policy.release();
        self.upkeep();
        let upkeep = self.schedule.next_deadline().since(self.clock.tick());
        self.report_alive().min(upkeep)
    }

    /// Tells the service manager that every worker runs.
    pub(crate) fn started(&mut self) {
        self.notify(StatusChange::Started);
    }

    /// Replaces the policy.
    pub(crate) fn reload(&mut self) {
        self.notify(StatusChange::Reloading);
        if let Some(policy) = (self.reload)() {
            self.policy.replace(policy);
        }
        self.notify(StatusChange::Reloaded);
    }

    /// Tells the service manager that the server stops.
    pub(crate) fn stopping(&mut self) {
        self.notify(StatusChange::Stopping);
    }

    /// Syncs the store for the last time.
    pub(crate) fn finish(mut self) {
        if let Err(failure) = self.store.upkeep(self.clock.now(), Task::Sync) {
            log::error!("the last sync of the database failed, recent counts may be lost: {failure}");
        }
    }

    fn upkeep(&mut self) {
        let began = self.clock.now();
        let Some(task) = self.schedule.poll(began) else { return };
        let progress = self.store.upkeep(began, task);
        if let Err(failure) = &progress {
            log::error!("upkeep of the database failed, next attempt in a minute: {failure}");
        }
        self.schedule.done(task, progress.ok(), began.tick, self.clock.tick());
    }

    /// Tells the service manager that the server is alive, if that is due and true. Returns the time until it is due
    /// again.
    fn report_alive(&mut self) -> Duration {
        let Some(period) = self.supervisor.as_ref().and_then(|supervisor| supervisor.period) else {
            return Duration::MAX;
        };
        let now = self.clock.tick();
        if now.since(self.alive_at) >= period {
            self.alive_at = now;
            if self.heartbeats.all_beat() {
                self.notify(StatusChange::Alive);
            }
        }
        self.alive_at.after(period).since(now)
    }

    fn notify(&mut self, change: StatusChange) {
        if let Some(supervisor) = &mut self.supervisor {
            (supervisor.notify)(change);
        }
    }
}

impl<S> fmt::Debug for Maintenance<'_, '_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}
