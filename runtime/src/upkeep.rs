//! The thread that does the store's upkeep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_core::{ExpiryWait, Progress, Schedule, Store, StoreFailure, Task};

use crate::clock::Clock;
use crate::counters::Counters;

/// The longest sleep: nothing depends on it.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Does the store's upkeep. A task takes as long as the disk does: no other thread waits for it, but the end of the
/// server.
#[derive(Debug)]
pub(crate) struct Upkeep<'c, S> {
    pub(crate) clock: Clock,
    pub(crate) schedule: Schedule,
    pub(crate) store: S,
    pub(crate) counters: &'c Counters,
    /// Set when all requests are answered. Unpark the thread after it.
    pub(crate) end: &'c AtomicBool,
}

impl<S: Store> Upkeep<'_, S> {
    /// Does what is due until the end, and then the last sync.
    pub(crate) fn run(mut self) {
        self.counters.expired(self.store.expired());
        while !self.end.load(Ordering::Acquire) {
            let wait = self.schedule.next_deadline().since(self.clock.tick());
            if wait > Duration::ZERO {
                thread::park_timeout(wait.min(LONGEST_SLEEP));
                continue;
            }
            self.work();
        }
        if let Err(failure) = self.store.upkeep(self.clock.now(), Task::Sync) {
            log::error!("the last sync of the database failed, recent counts may be lost: {failure}");
        }
    }

    fn work(&mut self) {
        let began = self.clock.now();
        let Some(task) = self.schedule.poll(began) else { return };
        let liveness = self.counters.liveness();
        liveness.upkeep(Some(began.tick));
        let progress = self.store.upkeep(began, task);
        liveness.upkeep(None);
        self.count_expired(task, &progress);
        if let Err(failure) = &progress {
            log::error!("upkeep of the database failed, next attempt in a minute: {failure}");
        }
        let before = self.schedule.waiting();
        self.schedule.done(task, progress.ok(), began.tick, self.clock.tick());
        log_expiry(before, self.schedule.waiting());
    }

    fn count_expired(&self, task: Task, progress: &Result<Progress, StoreFailure>) {
        if let Task::Expire(_) = task {
            self.counters.expired(self.store.expired());
            if let Ok(Progress::Done) = progress {
                self.counters.expiry_ended(self.clock.now().wall);
            }
        }
    }
}

/// Logs when expiry begins or ceases to wait.
fn log_expiry(before: Option<ExpiryWait>, now: Option<ExpiryWait>) {
    match (before, now) {
        (Some(before), Some(now)) if before.is_like(&now) => (),
        (_, Some(wait)) => log::warn!(
            "expiry waits, no record is removed: {wait}; set the clock, or run `pyzorctl expiry --now` if the clock is right"
        ),
        (Some(_), None) => log::info!("expiry waits no more"),
        (None, None) => (),
    }
}
