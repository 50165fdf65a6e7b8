//! The work of the thread that waits for commands.

use std::fmt;
use std::time::Duration;

use pyzord_core::Tick;

use crate::clock::Clock;
use crate::guard::SharedServer;
use crate::liveness::Liveness;
use crate::reloadable::Reloadable;
use crate::service::NewRules;
use crate::supervisor::{StatusChange, Supervisor};

/// Called for a reload: returns what replaces the current rules, or `None` to keep them.
pub(crate) type Reload<'a> = &'a mut (dyn FnMut() -> Option<NewRules> + Send);

/// The longest wait for a command: replaced policies are freed then.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The time between two looks at threads that are stuck: the service manager is to know soon that they are not.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread that waits for commands does between them: reloads, and reports to the service manager. It never
/// waits for the store.
pub(crate) struct Maintenance<'c, 'a> {
    pub(crate) clock: Clock,
    pub(crate) server: &'c Reloadable<SharedServer>,
    pub(crate) liveness: &'c Liveness,
    pub(crate) reload: Reload<'a>,
    pub(crate) supervisor: Option<Supervisor<'a>>,
    /// When [`StatusChange::Alive`] is due.
    pub(crate) alive_at: Tick,
}

impl Maintenance<'_, '_> {
    /// Does what is due, and returns the time until something is due again, at most.
    pub(crate) fn run(&mut self) -> Duration {
        self.server.release();
        self.report_alive().min(LONGEST_WAIT)
    }

    /// Tells the service manager that every worker runs.
    pub(crate) fn started(&mut self) {
        self.notify(StatusChange::Started);
    }

    /// Replaces the policy and the limits.
    pub(crate) fn reload(&mut self) {
        self.notify(StatusChange::Reloading);
        if let Some(NewRules { policy, limits }) = (self.reload)() {
            self.server.replace(self.server.snapshot().reloaded(policy, limits));
        }
        self.notify(StatusChange::Reloaded);
    }

    /// Tells the service manager that the server stops.
    pub(crate) fn stopping(&mut self) {
        self.notify(StatusChange::Stopping);
    }

    /// Tells that the server has not stopped in time.
    pub(crate) fn stop_overdue(&mut self) {
        self.notify(StatusChange::StopOverdue);
    }

    /// Tells the service manager that the server is alive, if that is due and true. Returns the time until it is due
    /// again.
    fn report_alive(&mut self) -> Duration {
        let Some(period) = self.supervisor.as_ref().and_then(|supervisor| supervisor.period) else {
            return Duration::MAX;
        };
        let now = self.clock.tick();
        if self.alive_at <= now {
            let stuck = self.liveness.stuck(now).filter(|stuck| stuck.is_mended_by_restart());
            if stuck.is_none() {
                self.alive_at = now.after(period);
                self.notify(StatusChange::Alive);
            } else {
                self.alive_at = now.after(period.min(RETRY));
            }
        }
        self.alive_at.since(now)
    }

    fn notify(&mut self, change: StatusChange) {
        if let Some(supervisor) = &mut self.supervisor {
            (supervisor.notify)(change);
        }
    }
}

impl fmt::Debug for Maintenance<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").field("alive_at", &self.alive_at).finish_non_exhaustive()
    }
}
