//! Threads for the requests that no worker executes itself: those for a database server, those that count if a count may
//! have to wait, and large ones.
//!
//! A worker hands over the requests that ask a remote store and goes on receiving. A thread of the pool takes the batch,
//! asks its store and sends the replies. The number of batches is fixed: when all of them are in flight, the database
//! is too slow for the load, and requests are answered `temporarily unavailable` at once. So a database that hangs
//! delays no ping and fills no memory. A thread whose store has no connection fails its batches at once, and so would be
//! free for the next one before all others: it takes none as long as another thread has a connection.
//!
//! Large datagrams go to a [backlog](crate::backlog), with any store. The threads take them one at a time, in turn with
//! the batches of small requests, and one thread of several never takes any.
//!
//! Requests that share a digest keep the order in which they were handed over. The [queue](crate::queue) keeps that of the
//! batches. A large request is judged once all batches were taken that came before it, and one at a time; then it is
//! admitted to the order of the queue. What comes after it from its sender and shares a digest goes to the backlog, too,
//! until it is admitted; with a local store, where workers do not queue, until it is executed. Workers that read beside the
//! pool look for [counts under way](crate::CountsUnderWay) first: those of the queue, and of the large requests that are
//! admitted.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::{Answered, Asked, Batch, Store};

use crate::backlog::{Arrived, Backlog, Large, Pushed};
use crate::datagrams::Path;
use crate::heartbeat::Heartbeat;
use crate::mentions::{Mentions, Senders};
use crate::order::Ticket;
use crate::queue::{Admission, Next, Queue};
use crate::responder::Responder;
use crate::serving_store::ServingStore;
use crate::stop::Stop;
use crate::under_way::{CountsUnderWay, Splitter};

/// How often a thread looks for its connection while it takes no work.
const LOOK: Duration = Duration::from_millis(20);

/// A store on its way to its thread.
#[derive(Debug)]
pub(crate) struct PoolStore<S> {
    pub(crate) store: S,
    /// For a store that may be stuck.
    pub(crate) heartbeat: Option<Heartbeat>,
}

/// Requests that wait for stores that do not answer.
pub(crate) enum Unserved {
    Judged(Asked<Path>),
    Large(Large<Path>),
}

/// Requests on their way from the workers to other threads.
pub(crate) struct Pool {
    inner: Mutex<Inner>,
    /// The senders of the large requests in the backlog.
    senders: Arc<Senders>,
    /// The counts in the queue, if workers read beside it.
    under_way: Option<Arc<CountsUnderWay>>,
    /// There is work for a thread that takes some.
    work: Condvar,
    /// Threads that take no work may have to.
    change: Condvar,
}

struct Inner {
    queue: Queue<Path>,
    backlog: Backlog<Path>,
    /// The workers ask a local store themselves.
    is_local: bool,
    /// A large request is being judged.
    judging: bool,
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
    Batch(Asked<Path>, Ticket),
    /// Requests for whose wait there is no room.
    Refused(Asked<Path>),
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
        Self::with_queue(stores, Queue::new(stores), None)
    }

    /// Returns a pool for this number of stores that count, beside which workers read.
    pub(crate) fn beside_readers(stores: usize) -> Self {
        let under_way = Arc::new(CountsUnderWay::new());
        Self::with_queue(stores, Queue::beside_readers(stores, Arc::clone(&under_way)), Some(under_way))
    }

    fn with_queue(stores: usize, queue: Queue<Path>, under_way: Option<Arc<CountsUnderWay>>) -> Self {
        let senders = Arc::new(Senders::new());
        let inner = Inner {
            queue,
            backlog: Backlog::new(Arc::clone(&senders)),
            is_local: stores == 0,
            judging: false,
            most_large: stores.saturating_sub(1).max(1),
            large: 0,
            was_large: false,
            idle: 0,
            prepared: 0,
        };
        Self { inner: Mutex::new(inner), senders, under_way, work: Condvar::new(), change: Condvar::new() }
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

    /// Returns the senders of the large requests that are not yet done.
    pub(crate) fn senders(&self) -> &Senders {
        &self.senders
    }

    /// Returns what tells the requests that a worker executes itself from those for this pool, if workers read beside it.
    pub(crate) fn splitter(&self) -> Option<Splitter> {
        self.under_way.clone().map(Splitter::new)
    }

    /// Whether a request with these mentions has to wait behind a large one.
    pub(crate) fn follows_large(&self, mentions: &Mentions) -> bool {
        self.lock().backlog.mentions(mentions)
    }

    /// Takes a large datagram, or one that follows a large one, if there is room.
    pub(crate) fn submit_large(&self, arrived: Arrived<'_, Path>) -> Pushed {
        let mut inner = self.lock();
        let batches = inner.queue.handed_over();
        let (pushed, idle) = (inner.backlog.push(arrived, batches), inner.idle);
        drop(inner);
        if idle > 0 {
            self.work.notify_one();
        }
        pushed
    }

    /// Takes requests to refuse them, as stores do not answer: those that wait for others, and with `all` those that wait for
    /// a store, too.
    pub(crate) fn take_unserved(&self, all: bool) -> Option<Unserved> {
        let mut inner = self.lock();
        if let Some(asked) = inner.queue.take_unserved(all) {
            return Some(Unserved::Judged(asked));
        }
        let large = if all { inner.backlog.take() } else { None }?;
        inner.backlog.remove(&large.mentions);
        Some(Unserved::Large(large))
    }

    /// Ends the order of a batch: requests with the same digests go on.
    pub(crate) fn end(&self, ticket: Ticket) {
        let mut inner = self.lock();
        inner.queue.end(ticket);
        let wakes = inner.idle > 0 && inner.queue.has_returned_work();
        drop(inner);
        if wakes {
            self.work.notify_one();
        }
    }

    /// Closes the pool: no more requests come, and its threads end when none is left.
    pub(crate) fn close(&self) {
        self.lock().queue.close();
        self.work.notify_all();
        self.change.notify_all();
    }

    /// Executes requests until the pool is closed. Those that are taken too late after a stop are refused.
    pub(crate) fn run(&self, mut executor: Executor<'_, impl Store>) {
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
            Work::Batch(asked, ticket) => {
                let is_large = ticket.is_large;
                let (batch, ticket) = executor.execute_with(asked, ticket, self);
                let mut inner = self.lock();
                if is_large {
                    inner.large_is_done();
                }
                inner.queue.reuse(batch);
                ticket.into_iter().for_each(|ticket| inner.queue.end(ticket));
            }
            Work::Refused(asked) => drop(executor.refuse(asked)),
            Work::Large(large) => {
                let Executor { responder, batch, .. } = executor;
                let judged = responder.judge(batch, &large);
                if let Some((asked, admission)) = self.admit(&large, judged) {
                    executor.batch = self.execute_large(asked, admission, executor);
                }
                let mut inner = self.lock();
                if inner.is_local {
                    inner.backlog.remove(&large.mentions);
                }
                inner.backlog.give_back(large);
                inner.large_is_done();
            }
        }
    }

    /// Admits a large request that was judged to the order of the queue; `None` if it is not answered.
    fn admit(&self, large: &Large<Path>, judged: Option<Asked<Path>>) -> Option<(Asked<Path>, Admission)> {
        let mut inner = self.lock();
        let admitted = judged.map(|mut asked| {
            let admission = inner.queue.admit(&mut asked);
            (asked, admission)
        });
        inner.judging = false;
        if !inner.is_local {
            inner.backlog.remove(&large.mentions);
        }
        let wakes = inner.idle > 0 && inner.may_take_large();
        drop(inner);
        if wakes {
            self.work.notify_one();
        }
        admitted
    }

    /// Executes a large request if it need not wait for others. Returns an empty batch.
    fn execute_large(
        &self,
        asked: Asked<Path>,
        admission: Admission,
        executor: &mut Executor<'_, impl Store>,
    ) -> Batch<Path> {
        match admission {
            Admission::Begins(ticket) => {
                let (batch, ticket) = executor.execute_with(asked, ticket, self);
                ticket.into_iter().for_each(|ticket| self.lock().queue.end(ticket));
                batch
            }
            Admission::Deferred => asked.into_spare(),
            Admission::Refused => executor.refuse(asked),
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
                    Some(Some(work)) => {
                        // No worker wakes a thread for what has waited for others.
                        if inner.idle > 0 && inner.queue.has_returned_work() {
                            self.work.notify_one();
                        }
                        return Turn::Execute(work);
                    }
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
        self.queue.has_work() || self.may_take_large()
    }

    fn may_take_large(&self) -> bool {
        let is_next = |batches| self.queue.has_taken(batches);
        !self.judging && self.large < self.most_large && self.backlog.next_batches().is_some_and(is_next)
    }

    /// Returns the next work: `Some(None)` if there is none, now and later.
    fn next(&mut self) -> Option<Option<Work>> {
        if !(self.was_large && self.queue.has_work())
            && let Some(large) = self.take_large()
        {
            return Some(Some(large));
        }
        self.was_large = false;
        match self.queue.take(self.large < self.most_large) {
            Next::Batch(batch, ticket) => {
                self.was_large = ticket.is_large;
                self.large += usize::from(ticket.is_large);
                Some(Some(Work::Batch(batch, ticket)))
            }
            Next::Refused(batch) => Some(Some(Work::Refused(batch))),
            // It may have waited for a batch of which nothing was left.
            Next::Empty => self.take_large().map(Some),
            // The threads that execute large requests take the others.
            Next::Closed => Some(self.take_large()),
        }
    }

    fn take_large(&mut self) -> Option<Work> {
        if !self.may_take_large() {
            return None;
        }
        let large = self.backlog.take()?;
        (self.was_large, self.judging) = (true, true);
        self.large += 1;
        Some(Work::Large(large))
    }

    /// One large request less is executed.
    fn large_is_done(&mut self) {
        self.large -= 1;
        self.queue.take_large_again();
    }
}

/// What a thread executes requests with.
pub(crate) struct Executor<'a, S> {
    store: ServingStore<S>,
    /// Shows the batch that the store executes, if another thread looks whether this one gets on.
    heartbeat: Option<Heartbeat>,
    responder: Responder<'a>,
    stop: &'a Stop,
    /// Empty, for a large request.
    batch: Batch<Path>,
}

impl<'a, S: Store> Executor<'a, S> {
    pub(crate) fn new(store: PoolStore<S>, responder: Responder<'a>, stop: &'a Stop) -> Self {
        let PoolStore { store, heartbeat } = store;
        Self { store: ServingStore::new(store), heartbeat, responder, stop, batch: Batch::new() }
    }

    /// Returns whether the store has a connection.
    fn prepare(&mut self) -> bool {
        let Self { store, responder, .. } = self;
        let now = responder.clock.now();
        // A panic must not end the thread: its connection would be gone, unnoticed.
        catch_unwind(AssertUnwindSafe(|| store.store().prepare(now))).unwrap_or_else(|_| {
            responder.store_failed();
            false
        })
    }

    /// Answers a batch and returns it empty, with its ticket unless the pool has taken that.
    fn execute_with(
        &mut self,
        asked: Asked<Path>,
        ticket: Ticket,
        pool: &Pool,
    ) -> (Batch<Path>, Option<Ticket>) {
        let Some(mut heartbeat) = self.heartbeat.take() else { return (self.execute(asked), Some(ticket)) };
        heartbeat.show_ticket(ticket);
        heartbeat.work();
        // Others may read what is counted before it is on the disk.
        let committed = || heartbeat.take_ticket().into_iter().for_each(|ticket| pool.end(ticket));
        let batch = self.answer(|executor| {
            let Self { store, responder, stop, .. } = executor;
            let now = responder.clock.now();
            if stop.is_overdue(now.tick) {
                return responder.give_up(asked);
            }
            let answered = store.ask_watched(responder, &heartbeat, now, asked, committed);
            // The watching thread may have sent the replies, so that none is left.
            answered.unwrap_or_else(|| Batch::new().ask().resolve(&responder.server, &[]))
        });
        heartbeat.wait();
        let ticket = heartbeat.take_ticket();
        self.heartbeat = Some(heartbeat);
        (batch, ticket)
    }

    /// Answers a batch and returns it empty.
    fn execute(&mut self, asked: Asked<Path>) -> Batch<Path> {
        self.answer(|executor| {
            let Self { store, responder, stop, .. } = executor;
            let now = responder.clock.now();
            if stop.is_overdue(now.tick) {
                return responder.give_up(asked);
            }
            store.ask(responder, now, asked)
        })
    }

    /// Refuses a batch for which there is no room, and returns it empty.
    fn refuse(&mut self, asked: Asked<Path>) -> Batch<Path> {
        self.answer(|executor| executor.responder.refuse(asked))
    }

    fn answer(&mut self, answer: impl FnOnce(&mut Self) -> Answered<Path>) -> Batch<Path> {
        let answered = catch_unwind(AssertUnwindSafe(|| {
            self.responder.refresh();
            let answered = answer(self);
            self.responder.send(&answered);
            answered.clear()
        }));
        answered.unwrap_or_else(|_| {
            self.responder.batch_lost();
            Batch::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{Guard, Limits, Now, Policy, Server, Tick, UnixTime};

    const NOW: Now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::new(Duration::ZERO) };
    const REPORT: &[u8] = b"Op: report\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nPV: 2.1\n\n";

    fn path() -> Path {
        Path { peer: "192.0.2.1:9".parse().unwrap(), local: None }
    }

    fn add_large(pool: &Pool) {
        let (sender, mentions) = ("192.0.2.1/32".parse().unwrap(), &Mentions::default());
        let large = Arrived { sender, peer: path(), received: NOW, datagram: REPORT, mentions };
        assert_eq!(pool.submit_large(large), Pushed::Fits);
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
            Some(Some(Work::Large(large))) => {
                // It is judged at once, and executed for long.
                assert!(pool.admit(&large, None).is_none());
                'L'
            }
            Some(Some(Work::Batch(..))) => 'S',
            Some(Some(Work::Refused(_))) => 'R',
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
