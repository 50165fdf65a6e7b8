//! Who is told how the server is doing, such as a service manager, and how that is known.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::{Schedule, Store, Task, Tick};

use crate::clock::Clock;
use crate::server::{Parts, run_task};

/// What a supervisor is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum News {
    /// The rules are being read again.
    Reloading,
    /// The new rules hold.
    Reloaded,
    /// The server stops receiving, and answers what is left.
    Stopping,
    /// The main thread and every worker have got on since this was told last.
    Alive,
}

/// Somebody who is told how the server is doing, in the thread that waits for commands.
pub struct Supervisor<'a> {
    /// How often [`News::Alive`] is told while it is true; `None` is never. Less than three seconds may be too short
    /// for a worker that has nothing to do.
    pub period: Option<Duration>,
    /// Hears the news.
    pub tell: &'a mut (dyn FnMut(News) + Send),
}

impl fmt::Debug for Supervisor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("period", &self.period).finish_non_exhaustive()
    }
}

/// What the thread that waits for commands does between them.
#[derive(Debug)]
pub struct Duties<'p, 'a, S> {
    parts: &'p Parts<'p>,
    schedule: Schedule,
    store: S,
    supervisor: Option<Supervisor<'a>>,
    told: Tick,
}

impl<'p, 'a, S: Store> Duties<'p, 'a, S> {
    pub(crate) fn new(
        parts: &'p Parts<'p>,
        schedule: Schedule,
        store: S,
        supervisor: Option<Supervisor<'a>>,
    ) -> Self {
        Self { told: parts.clock.tick(), parts, schedule, store, supervisor }
    }

    /// Does what is due. Returns for how long nothing will be, at most. It blocks for as long as the store does.
    pub fn run(&mut self) -> Duration {
        let clock = self.parts.clock;
        self.parts.policy.release();
        run_task(&mut self.schedule, &mut self.store, clock);
        let upkeep = self.schedule.next_deadline();
        self.beat(clock).min(upkeep.since(clock.tick()))
    }

    /// Tells that the server is alive when it is time to, and it is. Returns how long it is until the next time.
    fn beat(&mut self, clock: Clock) -> Duration {
        let Some(period) = self.supervisor.as_ref().and_then(|supervisor| supervisor.period) else {
            return Duration::MAX;
        };
        let now = clock.tick();
        if now.since(self.told) >= period {
            self.told = now;
            if self.parts.pulses.all_beat() {
                self.tell(News::Alive);
            }
        }
        self.told.after(period).since(now)
    }

    /// Tells the supervisor, if there is one.
    pub fn tell(&mut self, news: News) {
        if let Some(supervisor) = &mut self.supervisor {
            (supervisor.tell)(news);
        }
    }

    /// The last sync of the store.
    pub fn finish(mut self) {
        if let Err(failure) = self.store.upkeep(self.parts.clock.now(), Task::Sync) {
            log::error!("the last sync failed: {failure}");
        }
    }
}

/// One worker's sign of life, which it gives at each turn of its loop.
#[derive(Debug)]
pub struct Pulse {
    turns: u64,
    seen: Arc<Cell>,
}

/// In a cache line of its own, since each worker writes one all the time.
#[derive(Default, Debug)]
#[repr(align(64))]
struct Cell(AtomicU64);

/// The worker waits for a datagram, for as long as it takes.
const RESTING: u64 = 0;
/// The worker is no more.
const ENDED: u64 = u64::MAX;

impl Pulse {
    /// One more turn.
    pub fn beat(&mut self) {
        self.turns += 1;
        self.seen.0.store(self.turns, Ordering::Relaxed);
    }

    /// From here to the next turn, taking long is no sign of trouble.
    pub fn rest(&self) {
        self.seen.0.store(RESTING, Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.seen.0.store(ENDED, Ordering::Relaxed);
    }
}

/// The signs of life of all workers, each with what it was when it was last looked at.
#[derive(Default, Debug)]
pub(crate) struct Pulses(Mutex<Vec<(Arc<Cell>, u64)>>);

impl Pulses {
    pub(crate) fn add(&self) -> Pulse {
        let seen = Arc::new(Cell::default());
        self.lock().push((Arc::clone(&seen), RESTING));
        Pulse { turns: 0, seen }
    }

    /// Whether every worker rests, or has had a turn since the last call.
    pub(crate) fn all_beat(&self) -> bool {
        let mut all = true;
        for (cell, last) in self.lock().iter_mut() {
            let now = cell.0.load(Ordering::Relaxed);
            all &= now == RESTING || now != ENDED && now != *last;
            *last = now;
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Cell>, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_without_a_pulse_is_noticed() {
        let pulses = Pulses::default();
        let (mut quick, mut stuck) = (pulses.add(), pulses.add());
        assert!(pulses.all_beat(), "workers rest until their first turn");
        quick.beat();
        stuck.beat();
        assert!(pulses.all_beat());
        quick.beat();
        assert!(!pulses.all_beat());
        quick.beat();
        stuck.rest();
        assert!(pulses.all_beat() && !pulses.all_beat(), "the first has not moved since");
        quick.rest();
        assert!(pulses.all_beat() && pulses.all_beat());
        drop(stuck);
        assert!(!pulses.all_beat() && !pulses.all_beat());
    }
}
