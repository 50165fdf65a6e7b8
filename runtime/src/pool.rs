//! Threads for the requests that no worker executes itself: those for a database server, and large ones.
//!
//! A worker hands over the requests that ask a remote store and goes on receiving. A thread of the pool takes the batch,
//! asks its store and sends the replies. The number of batches is fixed: when all of them are in flight, the database
//! is too slow for the load, and requests are answered `temporarily unavailable` at once. So a database that hangs
//! delays no ping and fills no memory. A thread whose store has no connection fails its batches at once, and so would be
//! free for the next one before all others: it takes none as long as another thread has a connection.
//!
//! Large datagrams go to a [backlog](crate::backlog), with any store. The threads take them one at a time, in turn with
//! the batches of small requests, and one thread of several never takes any.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::{Asked, Batch, Ignored, IpNet, Now, Store, StoreAnswer};

use crate::backlog::{Backlog, Large};
use crate::datagrams::Path;
use crate::queue::{Next, Queue};
use crate::responder::Responder;
use crate::stop::Stop;

/// How often a thread looks for its connection while it takes no work.
const LOOK: Duration = Duration::from_millis(20);

/// How long a client waits for a reply. A request that has waited longer is sent again, so it is not executed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Requests on their way from the workers to other threads.
pub(crate) struct Pool {
    inner: Mutex<Inner>,
    /// There is work for a thread that takes some.
    work: Condvar,
    /// Threads that take no work may have to.
    change: Condvar,
}

struct Inner {
    queue: Queue<Path>,
    backlog: Backlog<Path>,
    /// How many threads may execute a large request at once, and how many do.
    most_large: usize,
    large: usize,
    /// The last work was a large request: now it is a batch's turn.
    was_large: bool,
    /// Threads that wait for work. A wake-up is a system call, so it is left out when there is none.
    idle: usize,
    /// Threads whose store has a connection.
    prepared: usize,
}

/// What a thread does next.
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation for each batch")]
enum Turn {
    Execute(Work),
    /// Look whether there is a connection.
    Prepare,
    End,
}

/// What a thread of the pool executes.
enum Work {
    Batch(Asked<Path>),
    Large(Large<Path>),
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Returns a pool for this number of remote stores. With none, a thread executes large requests alone.
    pub(crate) fn new(stores: usize) -> Self {
        let inner = Inner {
            queue: Queue::new(stores),
            backlog: Backlog::new(),
            most_large: stores.saturating_sub(1).max(1),
            large: 0,
            was_large: false,
            idle: 0,
            prepared: 0,
        };
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

    /// Takes a large datagram. Returns whether all fit; otherwise one was dropped, this or another.
    pub(crate) fn submit_large(&self, sender: IpNet, path: Path, datagram: &[u8], received: Now) -> bool {
        let mut inner = self.lock();
        let (fits, idle) = (inner.backlog.push(sender, path, datagram, received), inner.idle);
        drop(inner);
        if idle > 0 {
            self.work.notify_one();
        }
        fits
    }

    /// Closes the pool: no more requests come, and its threads end when none is left.
    pub(crate) fn close(&self) {
        self.lock().queue.close();
        self.work.notify_all();
        self.change.notify_all();
    }

    /// Executes requests with a store until the pool is closed. Those that are taken too late after a stop are refused.
    pub(crate) fn run(&self, store: impl Store, responder: Responder<'_>, stop: &Stop) {
        let mut executor = Executor::new(store, responder, stop);
        let mut prepared = false;
        loop {
            self.count(&mut prepared, executor.prepare());
            match self.next(prepared) {
                Turn::Execute(work) => self.execute(work, &mut executor),
                Turn::Prepare => (),
                Turn::End => break,
            }
        }
        self.count(&mut prepared, false);
    }

    /// Executes what waits now, in a test without threads.
    #[cfg(test)]
    pub(crate) fn run_waiting(&self, executor: &mut Executor<'_, impl Store>) {
        loop {
            let next = self.lock().next();
            let Some(Some(work)) = next else { return };
            self.execute(work, executor);
        }
    }

    fn execute(&self, work: Work, executor: &mut Executor<'_, impl Store>) {
        match work {
            Work::Batch(asked) => {
                let batch = executor.execute(asked);
                self.lock().queue.give_back(batch);
            }
            Work::Large(large) => {
                executor.execute_large(&large);
                let mut inner = self.lock();
                inner.large -= 1;
                inner.backlog.give_back(large.bytes);
            }
        }
    }

    /// Adds a thread to those whose store has a connection, or takes it out.
    fn count(&self, counted: &mut bool, prepared: bool) {
        if mem::replace(counted, prepared) == prepared {
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
            if takes {
                match inner.next() {
                    Some(Some(work)) => return Turn::Execute(work),
                    Some(None) => return Turn::End,
                    None => (),
                }
            } else if inner.queue.is_closed() {
                return Turn::End;
            } else if inner.has_work() && inner.idle > 0 {
                // The wake-up was meant for a thread that takes work.
                self.work.notify_one();
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

impl Inner {
    fn has_work(&self) -> bool {
        self.queue.waiting() > 0 || self.may_take_large()
    }

    fn may_take_large(&self) -> bool {
        !self.backlog.is_empty() && self.large < self.most_large
    }

    /// Returns the next work: `Some(None)` if there is none, now and later.
    fn next(&mut self) -> Option<Option<Work>> {
        if self.may_take_large()
            && !(self.was_large && self.queue.waiting() > 0)
            && let Some(large) = self.backlog.take()
        {
            self.was_large = true;
            self.large += 1;
            return Some(Some(Work::Large(large)));
        }
        self.was_large = false;
        match self.queue.take() {
            Next::Batch(batch) => Some(Some(Work::Batch(batch))),
            // The threads that execute large requests take the others.
            Next::Closed => Some(None),
            Next::Empty => None,
        }
    }
}

/// What a thread executes requests with.
pub(crate) struct Executor<'a, S> {
    store: S,
    responder: Responder<'a>,
    stop: &'a Stop,
    answers: Vec<StoreAnswer>,
    /// Empty, for a large request.
    batch: Batch<Path>,
}

impl<'a, S: Store> Executor<'a, S> {
    pub(crate) fn new(store: S, responder: Responder<'a>, stop: &'a Stop) -> Self {
        Self { store, responder, stop, answers: Vec::new(), batch: Batch::new() }
    }

    /// Returns whether the store has a connection.
    fn prepare(&mut self) -> bool {
        let Self { store, responder, .. } = self;
        let now = responder.clock.now();
        // A panic must not end the thread: its connection would be gone, unnoticed.
        catch_unwind(AssertUnwindSafe(|| store.prepare(now))).unwrap_or_else(|_| {
            responder.store_failed();
            false
        })
    }

    /// Answers a batch and returns it empty.
    fn execute(&mut self, asked: Asked<Path>) -> Batch<Path> {
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let Self { store, responder, stop, answers, .. } = self;
            responder.refresh();
            let now = responder.clock.now();
            let answered = if stop.is_overdue(now.tick) {
                responder.give_up(asked)
            } else {
                let executed = responder.execute(store, now, asked.calls(), answers);
                responder.conclude(asked, executed, answers)
            };
            responder.send(&answered);
            answered.clear()
        }));
        answered.unwrap_or_else(|_| {
            self.responder.batch_lost();
            Batch::new()
        })
    }

    /// Judges a large request and answers it, unless its client has given up.
    fn execute_large(&mut self, large: &Large<Path>) {
        if self.responder.clock.tick().since(large.received.tick) > LONGEST_WAIT {
            self.responder.ignored(Ignored::Overloaded);
            return;
        }
        let mut batch = mem::take(&mut self.batch);
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            self.responder.refresh();
            batch.accept(&self.responder.server, large.peer, &large.bytes, large.received)
        }));
        match accepted {
            Ok(Ok(())) => batch = self.execute(batch.ask()),
            Ok(Err(reason)) => self.responder.ignored(reason),
            Err(_) => {
                self.responder.batch_lost();
                batch.abandon(&self.responder.server);
                batch = Batch::new();
            }
        }
        self.batch = batch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{Guard, Limits, Policy, Server, Tick, UnixTime};

    const NOW: Now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::new(Duration::ZERO) };
    const REPORT: &[u8] = b"Op: report\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nPV: 2.1\n\n";

    fn path() -> Path {
        Path { peer: "192.0.2.1:9".parse().unwrap(), local: None }
    }

    fn add_large(pool: &Pool) {
        assert!(pool.submit_large("192.0.2.1/32".parse().unwrap(), path(), REPORT, NOW));
    }

    fn add_small(pool: &Pool) {
        let server: Server = Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]));
        let mut batch = Batch::new();
        batch.accept(&server, path(), REPORT, NOW).unwrap();
        assert!(pool.submit(&mut batch));
    }

    /// Takes the next work: `L` or `S`, `-` for none now, `.` for none any more.
    fn next(pool: &Pool) -> char {
        let next = pool.lock().next();
        match next {
            Some(Some(Work::Large(_))) => 'L',
            Some(Some(Work::Batch(_))) => 'S',
            Some(None) => '.',
            None => '-',
        }
    }

    #[test]
    fn one_connection_takes_large_and_small_requests_in_turn() {
        let pool = Pool::new(1);
        (0..3).for_each(|_| add_large(&pool));
        let mut order = String::new();
        for _ in 0..4 {
            add_small(&pool);
            let next = next(&pool);
            order.push(next);
            if next == 'L' {
                pool.lock().large -= 1;
            }
        }
        assert_eq!(order, "LSLS");
    }

    #[test]
    fn one_connection_of_several_is_kept_for_small_requests() {
        let pool = Pool::new(3);
        (0..5).for_each(|_| add_large(&pool));
        assert_eq!([next(&pool), next(&pool), next(&pool)], ['L', 'L', '-']);
        add_small(&pool);
        assert_eq!([next(&pool), next(&pool)], ['S', '-']);
        pool.lock().large -= 1;
        assert_eq!([next(&pool), next(&pool)], ['L', '-']);
        pool.close();
        assert_eq!(next(&pool), '.', "the others take what is left");
        pool.lock().large = 0;
        assert_eq!([next(&pool), next(&pool), next(&pool)], ['L', 'L', '.']);
    }
}
