//! Threads that wait for a database server, so that no worker does.
//!
//! A worker hands over a batch of requests that ask the store, and goes on receiving. The thread that takes the batch
//! asks its store and sends the replies. There is a fixed number of batches: when all of them are in flight, the
//! database is too slow for what is asked of it, and requests are answered `temporarily unavailable` at once. So a
//! database that hangs keeps nobody from a ping and fills no memory.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyzord_core::{Batch, Store};

use crate::answer::Answerer;
use crate::clock::Clock;

/// Batches for each store: one that it works on and some that wait, so that it has always work under load.
const BATCHES_PER_STORE: usize = 4;

/// Batches on their way between the workers and the threads with a store.
pub struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    waiting: VecDeque<Batch>,
    free: Vec<Batch>,
    closed: bool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool for this many stores.
    pub(crate) fn new(stores: usize) -> Self {
        let free = (0..stores * BATCHES_PER_STORE).map(|_| Batch::new()).collect();
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), free, closed: false }),
            work: Condvar::new(),
        }
    }

    /// Takes the requests of `batch` and leaves it empty. `false` when too many are in flight: it is as it was.
    pub(crate) fn submit(&self, batch: &mut Batch) -> bool {
        let mut state = self.lock();
        let Some(empty) = state.free.pop() else { return false };
        state.waiting.push_back(std::mem::replace(batch, empty));
        drop(state);
        self.work.notify_one();
        true
    }

    /// No more batches will come: the threads end when none is left.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// What a thread with a store does until the pool is closed.
    pub(crate) fn run(&self, mut store: impl Store, answerer: Answerer<'_>, clock: Clock) {
        let mut answers = Vec::new();
        while let Some(mut batch) = self.next() {
            // A bug must not end the thread, or its connection is gone and nobody knows.
            let answered = catch_unwind(AssertUnwindSafe(|| {
                answers.clear();
                store.execute(clock.now(), batch.calls(), &mut answers);
                answerer.answer(&mut batch, &answers);
            }));
            if answered.is_err() {
                log::error!("a batch of requests was dropped after an internal error");
            }
            batch.clear();
            self.lock().free.push(batch);
        }
    }

    fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.waiting.pop_front() {
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock, and if it did, the queues would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
