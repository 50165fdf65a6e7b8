//! Whether the server's threads get on.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::Tick;

use crate::heartbeat::{Heartbeat, State, Vitals};

/// A worker that has been stuck for longer than this is a trouble. Until then, a disk is slow.
const STUCK: Duration = Duration::from_secs(2);
/// The thread that watches the workers looks ten times a second.
const WATCH_STUCK: Duration = Duration::from_secs(5);
/// A task of upkeep that takes longer than this is a trouble. Rewriting a file of a gigabyte takes a minute.
const UPKEEP_STUCK: Duration = Duration::from_secs(300);

/// A thread of the server that does not get on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StuckThread {
    /// There is no worker.
    NoWorker,
    /// The worker with this number, counted from 1, has ended.
    WorkerEnded(usize),
    /// The worker with this number has not moved since then.
    Worker(usize, Tick),
    /// The thread with this number, of those that count, has not moved since then.
    Writer(usize, Tick),
    /// The thread that watches the workers has not moved since then.
    Watch(Tick),
    /// A task of the store's upkeep has not ended since then.
    Upkeep(Tick),
}

impl StuckThread {
    /// Whether a new start of the server helps: another process finds the same disk.
    pub(crate) const fn is_mended_by_restart(self) -> bool {
        !matches!(self, Self::Upkeep(_) | Self::Writer(..))
    }
}

/// The words for `/healthz` and the log; the time is the caller's to add.
impl fmt::Display for StuckThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorker => f.write_str("no worker is running"),
            Self::WorkerEnded(number) => write!(f, "worker {number} has ended"),
            Self::Worker(number, _) => write!(f, "worker {number} is stuck"),
            Self::Writer(number, _) => write!(f, "writer {number} of the database is stuck"),
            Self::Watch(_) => f.write_str("the thread that watches the workers is stuck"),
            Self::Upkeep(_) => f.write_str("a sync or a cleanup of the database does not end"),
        }
    }
}

/// What the threads of a server show of themselves.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    workers: Mutex<Vec<Arc<WatchedThread>>>,
    /// The threads that count, if workers do not.
    writers: Mutex<Vec<Arc<WatchedThread>>>,
    /// When the watching thread last looked.
    looked: AtomicU64,
    /// Since when a task of upkeep is under way; 0 for none.
    upkeep_since: AtomicU64,
    /// The server stops: a worker may end.
    stopping: AtomicBool,
}

/// A thread with a store, and what the watching thread has found.
#[derive(Debug)]
pub(crate) struct WatchedThread {
    pub(crate) vitals: Arc<Vitals>,
    /// Since when it is stuck; 0 if it gets on.
    stuck_since: AtomicU64,
}

impl Liveness {
    /// Returns the heartbeat of one more worker.
    pub(crate) fn add(&self) -> Heartbeat {
        add(&self.workers)
    }

    /// Returns the heartbeat of one more thread that counts.
    pub(crate) fn add_writer(&self) -> Heartbeat {
        add(&self.writers)
    }

    /// Returns all workers.
    pub(crate) fn workers(&self) -> Vec<Arc<WatchedThread>> {
        lock(&self.workers).clone()
    }

    /// Returns all threads that count.
    pub(crate) fn writers(&self) -> Vec<Arc<WatchedThread>> {
        lock(&self.writers).clone()
    }

    /// The watching thread looks.
    pub(crate) fn looked(&self, now: Tick) {
        self.looked.store(encode(now), Ordering::Relaxed);
    }

    /// The server stops.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// A task of upkeep begins, or ends with `None`.
    pub(crate) fn upkeep(&self, since: Option<Tick>) {
        self.upkeep_since.store(since.map_or(0, encode), Ordering::Relaxed);
    }

    /// Returns a thread that does not get on, if there is one.
    pub(crate) fn stuck(&self, now: Tick) -> Option<StuckThread> {
        let overdue = |since: Tick, limit| now.since(since) > limit;
        let workers = lock(&self.workers);
        if workers.is_empty() {
            return Some(StuckThread::NoWorker);
        }
        let worker = workers.iter().zip(1..).find_map(|(worker, number)| {
            if Vitals::state(worker.vitals.beat()) == State::Ended {
                return (!self.stopping.load(Ordering::Relaxed)).then_some(StuckThread::WorkerEnded(number));
            }
            let since = worker.stuck_since().filter(|since| overdue(*since, STUCK))?;
            Some(StuckThread::Worker(number, since))
        });
        let watch = || decode(&self.looked).filter(|at| overdue(*at, WATCH_STUCK)).map(StuckThread::Watch);
        let upkeep = || {
            let since = decode(&self.upkeep_since).filter(|since| overdue(*since, UPKEEP_STUCK));
            since.map(StuckThread::Upkeep)
        };
        let writer = || {
            let writers = lock(&self.writers);
            let overdue =
                |writer: &WatchedThread| writer.stuck_since().filter(|since| overdue(*since, STUCK));
            writers
                .iter()
                .zip(1..)
                .find_map(|(writer, number)| Some(StuckThread::Writer(number, overdue(writer)?)))
        };
        worker.or_else(watch).or_else(writer).or_else(upkeep)
    }
}

fn add(threads: &Mutex<Vec<Arc<WatchedThread>>>) -> Heartbeat {
    let (heartbeat, vitals) = Heartbeat::new();
    lock(threads).push(Arc::new(WatchedThread { vitals, stuck_since: AtomicU64::new(0) }));
    heartbeat
}

fn lock(threads: &Mutex<Vec<Arc<WatchedThread>>>) -> MutexGuard<'_, Vec<Arc<WatchedThread>>> {
    // No code panics while it holds this lock, and the list stays whole if it did.
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WatchedThread {
    /// Returns since when the thread is stuck.
    pub(crate) fn stuck_since(&self) -> Option<Tick> {
        decode(&self.stuck_since)
    }

    /// Records since when the thread is stuck; `None` if it gets on.
    pub(crate) fn set_stuck(&self, since: Option<Tick>) {
        self.stuck_since.store(since.map_or(0, encode), Ordering::Relaxed);
    }
}

/// A tick in nanoseconds, from 1 on.
fn encode(tick: Tick) -> u64 {
    u64::try_from(tick.since(Tick::default()).as_nanos()).unwrap_or(u64::MAX - 1) + 1
}

fn decode(cell: &AtomicU64) -> Option<Tick> {
    let nanos = cell.load(Ordering::Relaxed).checked_sub(1)?;
    Some(Tick::new(Duration::from_nanos(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    /// A server with half of its workers stuck or gone was called healthy.
    #[test]
    fn one_worker_that_does_not_get_on_is_named() {
        let liveness = Liveness::default();
        assert_eq!(liveness.stuck(at(0)), Some(StuckThread::NoWorker));
        let (_quick, other) = (liveness.add(), liveness.add());
        let second = &liveness.workers()[1];
        liveness.looked(at(1000));
        second.set_stuck(Some(at(1000)));
        assert_eq!(liveness.stuck(at(3000)), None, "slow is not stuck");
        assert_eq!(liveness.stuck(at(3001)), Some(StuckThread::Worker(2, at(1000))));
        second.set_stuck(None);
        assert_eq!(liveness.stuck(at(6000)), None);
        assert_eq!(liveness.stuck(at(6001)), Some(StuckThread::Watch(at(1000))));
        let _writers = [liveness.add_writer(), liveness.add_writer()];
        liveness.writers()[1].set_stuck(Some(at(4000)));
        assert_eq!(liveness.stuck(at(6000)), None, "slow is not stuck");
        assert_eq!(liveness.stuck(at(6001)), Some(StuckThread::Watch(at(1000))), "it looks at writers");
        liveness.looked(at(6000));
        assert_eq!(liveness.stuck(at(6001)), Some(StuckThread::Writer(2, at(4000))));
        liveness.writers()[1].set_stuck(None);
        liveness.looked(at(400_000));
        liveness.upkeep(Some(at(99_999)));
        assert_eq!(liveness.stuck(at(400_000)), Some(StuckThread::Upkeep(at(99_999))));
        liveness.upkeep(None);
        assert_eq!(liveness.stuck(at(400_000)), None);
        drop(other);
        assert_eq!(liveness.stuck(at(400_000)), Some(StuckThread::WorkerEnded(2)));
        liveness.stop();
        assert_eq!(liveness.stuck(at(400_000)), None, "it is meant to end");
    }
}
