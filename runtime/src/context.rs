//! What the threads of a running server share.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyzord_core::{Schedule, Store, Tick};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::datagrams::Outbox;
use crate::guard::SharedServer;
use crate::liveness::{Liveness, WatchedThread};
use crate::maintenance::Maintenance;
use crate::order::Ticket;
use crate::pool::{Executor, Pool, PoolStore, Unserved};
use crate::reloadable::Reloadable;
use crate::responder::{OnAnswered, Responder};
use crate::service::{Service, Stores};
use crate::socket::Sockets;
use crate::stand_in::StandIn;
use crate::stop::Stop;
use crate::upkeep::Upkeep;
use crate::worker::{Backend, Worker};
use crate::worker_sockets::{Place, Senders};

/// The most calls that a worker puts to a local store at once: one for each request of a full batch.
const WORKER_SLICE: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// The most calls of a large request that a local store gets at once. Some 0.3 ms of new records for gdbm: as long waits a
/// worker's request for its lock.
const LARGE_SLICE: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// What the threads of a running server share, and the parts that a runtime drives.
///
/// [`serve`](crate::serve) splits a [`Service`] with [`parts`](Self::parts) and gives each back end, each store of the pool and
/// the maintenance a thread. At the end it calls [`stop`](Self::stop) and, once all workers have ended,
/// [`close_pool`](Self::close_pool).
pub(crate) struct WorkerContext<'a> {
    clock: Clock,
    sockets: &'a Sockets,
    server: Reloadable<SharedServer>,
    counters: &'a Counters,
    on_answered: OnAnswered<'a>,
    pool: Pool,
    /// The pool has stores for all requests, not only for large ones.
    asks_pool: bool,
    /// The most calls of the pool's threads at once.
    pool_slice: NonZeroUsize,
    stop: Stop,
    workers_ended: AtomicBool,
    pool_ended: AtomicBool,
    end_upkeep: AtomicBool,
}

/// The parts of a server that a runtime drives.
#[derive(Debug)]
pub(crate) struct ServiceParts<'c, 'a, S> {
    /// One for each worker: make it a [worker](WorkerContext::worker) in the worker's thread.
    pub(crate) backends: Vec<Backend<'c, S>>,
    /// Stores that need a thread of their own, for [`WorkerContext::serve_pool`].
    pub(crate) pool_stores: Vec<PoolStore<S>>,
    /// The work of the thread that waits for commands.
    pub(crate) maintenance: Maintenance<'c, 'a>,
    /// The work of a thread that may wait for the store as long as it takes.
    pub(crate) upkeep: Upkeep<'c, S>,
}

impl<'a> WorkerContext<'a> {
    /// Returns the context of a service.
    #[must_use]
    pub(crate) fn new<S>(service: &Service<'a, S>) -> Self {
        let (pool, pool_slice) = match &service.stores {
            Stores::Local { .. } => (Pool::new(0), LARGE_SLICE),
            // A trip to a server costs more than the calls in it, and its other clients are not kept waiting.
            Stores::Remote { stores, .. } => (Pool::new(stores.len()), NonZeroUsize::MAX),
            // So does a transaction, and no read waits for it.
            Stores::Split { writers, .. } => (Pool::beside_readers(writers.len()), NonZeroUsize::MAX),
        };
        let Service { sockets, counters, on_answered, .. } = *service;
        Self {
            clock: counters.clock(),
            sockets,
            server: Reloadable::new(Arc::new(service.server.clone())),
            counters,
            on_answered,
            pool,
            asks_pool: !matches!(service.stores, Stores::Local { .. }),
            pool_slice,
            stop: Stop::default(),
            workers_ended: AtomicBool::new(false),
            pool_ended: AtomicBool::new(false),
            end_upkeep: AtomicBool::new(false),
        }
    }

    /// Splits the service of this context.
    pub(crate) fn parts<'c, 's, S: Store>(&'c self, service: Service<'s, S>) -> ServiceParts<'c, 's, S> {
        let Service { stores, upkeep, cleanup, reload, supervisor, .. } = service;
        let sockets = self.sockets.for_workers();
        let (backends, pool_stores) = match stores {
            Stores::Local { workers, large } => {
                let backends = workers.into_iter().zip(sockets);
                let local = |(store, place)| Backend::local(place, store, &self.pool, self.liveness().add());
                (backends.map(local).collect(), vec![PoolStore { store: large, heartbeat: None }])
            }
            Stores::Remote { workers, stores } => {
                let remote = |place| Backend::remote(place, &self.pool, self.liveness().add());
                let stores = stores.into_iter().map(|store| PoolStore { store, heartbeat: None });
                (sockets.take(workers).map(remote).collect(), stores.collect())
            }
            Stores::Split { readers, writers } => {
                let backends = readers.into_iter().zip(sockets);
                let split = |(store, place)| Backend::split(place, store, &self.pool, self.liveness().add());
                let watched = |store| PoolStore { store, heartbeat: Some(self.liveness().add_writer()) };
                (backends.map(split).collect(), writers.into_iter().map(watched).collect())
            }
        };
        let upkeep = Upkeep {
            clock: self.clock,
            schedule: Schedule::new(cleanup, self.clock.tick()),
            store: upkeep,
            counters: self.counters,
            end: &self.end_upkeep,
        };
        let maintenance = Maintenance {
            clock: self.clock,
            server: &self.server,
            liveness: self.liveness(),
            reload,
            alive_at: supervisor
                .as_ref()
                .and_then(|supervisor| supervisor.period)
                .map_or_else(Tick::default, |period| self.clock.tick().after(period)),
            supervisor,
        };
        ServiceParts { backends, pool_stores, maintenance, upkeep }
    }

    /// Returns a worker, which stays in the thread that calls this.
    pub(crate) fn worker<'c, S: Store>(&'c self, backend: Backend<'c, S>) -> Worker<'c, S> {
        Worker::new(self.responder(backend.senders(), WORKER_SLICE), backend, &self.stop)
    }

    /// Returns a worker for sockets whose own workers are stuck.
    pub(crate) fn substitute<'c, S: Store>(&'c self, place: &Place<'c>) -> Worker<'c, S> {
        let backend = Backend::standing_in(place.clone(), &self.pool, self.asks_pool);
        self.worker(backend)
    }

    /// Returns the thread that watches the others. Call it after [`parts`](Self::parts).
    pub(crate) fn stand_in<S: Store>(&self) -> StandIn<'_, S> {
        StandIn::new(self, self.responder(self.sockets.senders(), WORKER_SLICE))
    }

    /// Returns the workers and their sockets.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (Arc<WatchedThread>, Place<'_>)> {
        self.liveness().workers().into_iter().zip(self.sockets.for_workers())
    }

    /// Takes requests to refuse them, as [`Pool::take_unserved`] does.
    pub(crate) fn take_unserved(&self, all: bool) -> Option<Unserved> {
        self.pool.take_unserved(all)
    }

    /// Ends the order of a batch that was given up, as [`Pool::end`] does.
    pub(crate) fn end(&self, ticket: Ticket) {
        self.pool.end(ticket);
    }

    pub(crate) fn liveness(&self) -> &Liveness {
        self.counters.liveness()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Answers what waits in the pool. It blocks until [`close_pool`](Self::close_pool).
    pub(crate) fn serve_pool(&self, store: PoolStore<impl Store>) {
        self.pool.run(self.executor(store));
    }

    /// Executes what waits in the pool, in a test without threads.
    #[cfg(test)]
    pub(crate) fn serve_waiting<'c, S: Store>(&'c self, executor: &mut Executor<'c, S>) {
        self.pool.run_waiting(executor);
    }

    /// Returns what a thread of the pool executes requests with.
    pub(crate) fn executor<'c, S: Store>(&'c self, store: PoolStore<S>) -> Executor<'c, S> {
        Executor::new(store, self.responder(self.sockets.senders(), self.pool_slice), &self.stop)
    }

    /// Lets the workers end: each answers what is in its receive buffer first.
    pub(crate) fn stop(&self) {
        self.liveness().stop();
        self.stop.begin(self.clock.tick());
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.has_begun()
    }

    /// Lets the threads of the pool end, after all workers have: each answers what waits first.
    pub(crate) fn close_pool(&self) {
        self.pool.close();
    }

    /// Ends the watch of the workers, after all of them have ended.
    pub(crate) fn end_watch(&self) {
        self.workers_ended.store(true, Ordering::Relaxed);
    }

    /// Ends the watch of the pool's threads, after all of them have ended.
    pub(crate) fn end_pool_watch(&self) {
        self.pool_ended.store(true, Ordering::Relaxed);
    }

    /// Whether all threads of the pool have ended.
    pub(crate) fn has_pool_ended(&self) -> bool {
        self.pool_ended.load(Ordering::Relaxed)
    }

    /// Whether all workers have ended.
    pub(crate) fn have_workers_ended(&self) -> bool {
        self.workers_ended.load(Ordering::Relaxed)
    }

    /// Lets the upkeep end, after all requests are answered.
    pub(crate) fn end_upkeep(&self) {
        self.end_upkeep.store(true, Ordering::Release);
    }

    fn responder<'c>(&'c self, senders: Senders<'c>, slice: NonZeroUsize) -> Responder<'c> {
        Responder {
            senders,
            server: self.server.snapshot(),
            current: &self.server,
            counters: self.counters,
            on_answered: self.on_answered,
            clock: self.clock,
            shard: self.counters.shard(),
            outbox: Outbox::new(self.sockets.lanes()),
            slice,
        }
    }
}

impl fmt::Debug for WorkerContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext").field("sockets", self.sockets).finish_non_exhaustive()
    }
}
