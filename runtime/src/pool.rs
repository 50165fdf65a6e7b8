//! Threads that wait for a database server, so that no worker does.
//!
//! A worker hands over a batch of requests that ask the store, and goes on receiving. The thread that takes the batch
//! asks its store and sends the replies. There is a fixed number of batches: when all of them are in flight, the
//! database is too slow for what is asked of it, and requests are answered `temporarily unavailable` at once. So a
//! database that hangs keeps nobody from a ping and fills no memory.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyzord_core::{Batch, Store};

use crate::answer::Answerer;
use crate::datagrams::Outbox;
use crate::queue::{Next, Queue};

/// Batches on their way between the workers and the threads with a store.
pub struct Pool {
    inner: Mutex<Inner>,
    work: Condvar,
}

struct Inner {
    queue: Queue,
    /// How many threads wait for work: a wake-up is a system call, whether anybody waits or not.
    idle: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool for this many stores.
    pub(crate) fn new(stores: usize) -> Self {
        Self { inner: Mutex::new(Inner { queue: Queue::new(stores), idle: 0 }), work: Condvar::new() }
    }

    /// Takes the requests of `batch` and leaves it empty. `false` when too many are in flight: it is as it was.
    pub(crate) fn submit(&self, batch: &mut Batch) -> bool {
        let mut inner = self.lock();
        let (taken, idle) = (inner.queue.submit(batch), inner.idle);
        drop(inner);
        if taken && idle > 0 {
            self.work.notify_one();
        }
        taken
    }

    /// No more batches will come: the threads end when none is left.
    pub fn close(&self) {
        self.lock().queue.close();
        self.work.notify_all();
    }

    /// What a thread with a store does until the pool is closed.
    pub(crate) fn run(&self, mut store: impl Store, answerer: Answerer<'_>) {
        let (mut answers, mut outbox) = (Vec::new(), Outbox::new());
        while let Some(mut batch) = self.next() {
            // A bug must not end the thread, or its connection is gone and nobody knows.
            let answered = catch_unwind(AssertUnwindSafe(|| {
                answers.clear();
                answerer.ask(&mut store, answerer.clock.now(), batch.calls(), &mut answers);
                answerer.answer(&mut batch, &answers, &mut outbox);
            }));
            if answered.is_err() {
                answerer.shard.inspect(|shard| shard.internal_error());
                log::error!("a batch of requests was dropped after an internal error");
            }
            self.lock().queue.give_back(batch);
        }
    }

    fn next(&self) -> Option<Batch> {
        let mut inner = self.lock();
        loop {
            match inner.queue.take() {
                Next::Batch(batch) => return Some(batch),
                Next::End => return None,
                Next::Nothing => {
                    inner.idle += 1;
                    inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                    inner.idle -= 1;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds this lock, and if it did, the queue would still be whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
