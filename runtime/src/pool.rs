//! Threads that wait for a database server, so that no worker does.
//!
//! A worker hands over the requests that ask the store and goes on receiving. A thread of the pool takes the batch,
//! asks its store and sends the replies. The number of batches is fixed: when all of them are in flight, the database
//! is too slow for the load, and requests are answered `temporarily unavailable` at once. So a database that hangs
//! delays no ping and fills no memory.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyzord_core::{Asked, Batch, Store};

use crate::datagrams::Path;
use crate::queue::{Next, Queue};
use crate::responder::Responder;
use crate::stop::Stop;

/// Batches on their way from the workers to the threads of remote stores.
pub(crate) struct Pool {
    inner: Mutex<Inner>,
    work: Condvar,
}

struct Inner {
    queue: Queue<Path>,
    /// Threads that wait for work. A wake-up is a system call, so it is left out when there is none.
    idle: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Returns a pool for this number of stores.
    pub(crate) fn new(stores: usize) -> Self {
        Self { inner: Mutex::new(Inner { queue: Queue::new(stores), idle: 0 }), work: Condvar::new() }
    }

    /// Takes the requests of `batch` that wait for the store. `false` if too many are in flight: then `batch` is
    /// unchanged.
    pub(crate) fn submit(&self, batch: &mut Batch<Path>) -> bool {
        if batch.waiting() == 0 {
            return true;
        }
        let mut inner = self.lock();
        let (taken, idle) = (inner.queue.submit(batch), inner.idle);
        drop(inner);
        if taken && idle > 0 {
            self.work.notify_one();
        }
        taken
    }

    /// Closes the pool: no more batches come, and its threads end when none is left.
    pub(crate) fn close(&self) {
        self.lock().queue.close();
        self.work.notify_all();
    }

    /// Executes batches with a store until the pool is closed. A batch that is taken too late after a stop is refused.
    pub(crate) fn run(&self, mut store: impl Store, mut responder: Responder<'_>, stop: &Stop) {
        let mut answers = Vec::new();
        while let Some(asked) = self.next() {
            // A panic must not end the thread: its connection would be gone, unnoticed.
            let answered = catch_unwind(AssertUnwindSafe(|| {
                responder.refresh_policy();
                let now = responder.clock.now();
                let answered = if stop.is_overdue(now.tick) {
                    responder.give_up(asked)
                } else {
                    responder.execute(&mut store, now, asked, &mut answers)
                };
                responder.send(&answered);
                answered.clear()
            }));
            let batch = answered.unwrap_or_else(|_| {
                responder.batch_lost();
                Batch::new()
            });
            self.lock().queue.give_back(batch);
        }
    }

    fn next(&self) -> Option<Asked<Path>> {
        let mut inner = self.lock();
        loop {
            match inner.queue.take() {
                Next::Batch(batch) => return Some(batch),
                Next::Closed => return None,
                Next::Empty => {
                    inner.idle += 1;
                    inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                    inner.idle -= 1;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds this lock, and the queue stays whole if it did.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
