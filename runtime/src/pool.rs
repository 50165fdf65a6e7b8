//! Threads that wait for a database server, so that no worker does.
//!
//! A worker hands over the requests that ask the store and goes on receiving. A thread of the pool takes the batch,
//! asks its store and sends the replies. The number of batches is fixed: when all of them are in flight, the database
//! is too slow for the load, and requests are answered `temporarily unavailable` at once. So a database that hangs
//! delays no ping and fills no memory.
//!
//! A thread whose store has no connection fails its batches at once, and so would be free for the next one before
//! all others. It takes none as long as another thread has a connection.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::{Asked, Batch, Store};

use crate::datagrams::Path;
use crate::queue::{Next, Queue};
use crate::responder::Responder;
use crate::stop::Stop;

/// How often a thread looks for its connection while it takes no batches.
const LOOK: Duration = Duration::from_millis(20);

/// Batches on their way from the workers to the threads of remote stores.
pub(crate) struct Pool {
    inner: Mutex<Inner>,
    /// There is a batch for a thread that takes batches.
    work: Condvar,
    /// Threads that take no batches may have to.
    change: Condvar,
}

struct Inner {
    queue: Queue<Path>,
    /// Threads that wait for work. A wake-up is a system call, so it is left out when there is none.
    idle: usize,
    /// Threads whose store has a connection.
    prepared: usize,
}

/// What a thread does next.
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation for each batch")]
enum Turn {
    Execute(Asked<Path>),
    /// Look whether there is a connection.
    Prepare,
    End,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Returns a pool for this number of stores.
    pub(crate) fn new(stores: usize) -> Self {
        let inner = Inner { queue: Queue::new(stores), idle: 0, prepared: 0 };
        Self { inner: Mutex::new(inner), work: Condvar::new(), change: Condvar::new() }
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
        self.change.notify_all();
    }

    /// Executes batches with a store until the pool is closed. A batch that is taken too late after a stop is refused.
    pub(crate) fn run(&self, mut store: impl Store, mut responder: Responder<'_>, stop: &Stop) {
        let mut answers = Vec::new();
        let mut prepared = false;
        loop {
            let now = responder.clock.now();
            // A panic must not end the thread: its connection would be gone, unnoticed.
            let is_prepared = catch_unwind(AssertUnwindSafe(|| store.prepare(now))).unwrap_or_else(|_| {
                responder.store_failed();
                false
            });
            self.count(&mut prepared, is_prepared);
            let asked = match self.next(prepared) {
                Turn::Execute(asked) => asked,
                Turn::Prepare => continue,
                Turn::End => break,
            };
            let answered = catch_unwind(AssertUnwindSafe(|| {
                responder.refresh_policy();
                let now = responder.clock.now();
                let answered = if stop.is_overdue(now.tick) {
                    responder.give_up(asked)
                } else {
                    let executed = responder.execute(&mut store, now, asked.calls(), &mut answers);
                    responder.conclude(asked, executed, &answers)
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
        self.count(&mut prepared, false);
    }

    /// Counts a thread among those whose store has a connection, or no longer.
    fn count(&self, counted: &mut bool, prepared: bool) {
        if std::mem::replace(counted, prepared) == prepared {
            return;
        }
        let mut inner = self.lock();
        if prepared {
            inner.prepared += 1;
        } else {
            inner.prepared -= 1;
            drop(inner);
            // It was maybe the last one: the others then fail what waits.
            self.change.notify_all();
        }
    }

    fn next(&self, prepared: bool) -> Turn {
        let mut inner = self.lock();
        loop {
            let takes = prepared || inner.prepared == 0;
            if !takes && inner.queue.is_closed() {
                return Turn::End;
            }
            if !takes && inner.queue.waiting() > 0 && inner.idle > 0 {
                // The wake-up was meant for a thread that takes batches.
                self.work.notify_one();
            }
            if takes {
                match inner.queue.take() {
                    Next::Batch(batch) => return Turn::Execute(batch),
                    Next::Closed => return Turn::End,
                    Next::Empty => (),
                }
            }
            if prepared {
                inner.idle += 1;
                inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.idle -= 1;
                continue;
            }
            let condvar = if takes { &self.work } else { &self.change };
            inner.idle += usize::from(takes);
            let (locked, waited) = condvar.wait_timeout(inner, LOOK).unwrap_or_else(PoisonError::into_inner);
            inner = locked;
            inner.idle -= usize::from(takes);
            if waited.timed_out() {
                return Turn::Prepare;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds this lock, and the queue stays whole if it did.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
