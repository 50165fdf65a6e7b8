//! What the threads of a running server share.

use std::fmt;
use std::net::UdpSocket;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyzord_core::{Policy, Schedule, Store};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::datagrams::Outbox;
use crate::guard::SharedServer;
use crate::heartbeat::Heartbeats;
use crate::maintenance::Maintenance;
#[cfg(test)]
use crate::pool::Executor;
use crate::pool::Pool;
use crate::reloadable::Reloadable;
use crate::responder::{OnAnswered, Responder};
use crate::service::{Service, Stores};
use crate::socket::Sockets;
use crate::worker::{Backend, Worker};

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
    server: SharedServer,
    counters: &'a Counters,
    on_answered: OnAnswered<'a>,
    policy: Reloadable<Policy>,
    pool: Pool,
    /// The most calls of the pool's threads at once.
    pool_slice: NonZeroUsize,
    heartbeats: Heartbeats,
    stop: AtomicBool,
}

/// The parts of a server that a runtime drives.
#[derive(Debug)]
pub(crate) struct ServiceParts<'c, 'a, S> {
    /// One for each worker: make it a [worker](WorkerContext::worker) in the worker's thread.
    pub(crate) backends: Vec<Backend<'c, S>>,
    /// Stores that need a thread of their own, for [`WorkerContext::serve_pool`].
    pub(crate) pool_stores: Vec<S>,
    /// The work of the thread that waits for commands.
    pub(crate) maintenance: Maintenance<'c, 'a, S>,
}

impl<'a> WorkerContext<'a> {
    /// Returns the context of a service.
    #[must_use]
    pub(crate) fn new<S>(service: &Service<'a, S>) -> Self {
        let (remote_stores, pool_slice) = match &service.stores {
            Stores::Local { .. } => (0, LARGE_SLICE),
            // A trip to a server costs more than the calls in it, and its other clients are not kept waiting.
            Stores::Remote { stores, .. } => (stores.len(), NonZeroUsize::MAX),
        };
        let Service { sockets, counters, on_answered, .. } = *service;
        Self {
            clock: counters.clock(),
            sockets,
            server: service.server.clone(),
            counters,
            on_answered,
            policy: Reloadable::new(Arc::clone(service.server.policy())),
            pool: Pool::new(remote_stores),
            pool_slice,
            heartbeats: Heartbeats::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Splits the service of this context.
    pub(crate) fn parts<'c, 's, S: Store>(&'c self, service: Service<'s, S>) -> ServiceParts<'c, 's, S> {
        let Service { stores, upkeep, cleanup, reload, supervisor, .. } = service;
        let sockets = self.sockets.for_workers();
        let (backends, pool_stores) = match stores {
            Stores::Local { workers, large } => {
                let backends = workers.into_iter().zip(sockets);
                let local =
                    |(store, socket)| Backend::local(socket, store, &self.pool, self.heartbeats.add());
                (backends.map(local).collect(), vec![large])
            }
            Stores::Remote { workers, stores } => {
                let remote = |socket| Backend::remote(socket, &self.pool, self.heartbeats.add());
                (sockets.take(workers).map(remote).collect(), stores)
            }
        };
        let maintenance = Maintenance {
            clock: self.clock,
            policy: &self.policy,
            heartbeats: &self.heartbeats,
            schedule: Schedule::new(cleanup, self.clock.tick()),
            store: upkeep,
            reload,
            supervisor,
            alive_at: self.clock.tick(),
        };
        ServiceParts { backends, pool_stores, maintenance }
    }

    /// Returns a worker, which stays in the thread that calls this.
    pub(crate) fn worker<'c, S: Store>(&'c self, backend: Backend<'c, S>) -> Worker<'c, S> {
        Worker::new(self.responder(backend.socket(), WORKER_SLICE), backend, &self.stop)
    }

    /// Answers what waits in the pool. It blocks until [`close_pool`](Self::close_pool).
    pub(crate) fn serve_pool(&self, store: impl Store) {
        self.pool.run(store, self.responder(self.sockets.first(), self.pool_slice));
    }

    /// Executes what waits in the pool, in a test without threads.
    #[cfg(test)]
    pub(crate) fn serve_waiting<'c, S: Store>(&'c self, executor: &mut Executor<'c, S>) {
        self.pool.run_waiting(executor);
    }

    /// Returns what a thread of the pool executes requests with.
    #[cfg(test)]
    pub(crate) fn executor<'c, S: Store>(&'c self, store: S) -> Executor<'c, S> {
        Executor::new(store, self.responder(self.sockets.first(), self.pool_slice))
    }

    /// Lets the workers end: each answers what is in its receive buffer first.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Lets the threads of the pool end, after all workers have: each answers what waits first.
    pub(crate) fn close_pool(&self) {
        self.pool.close();
    }

    fn responder<'c>(&'c self, socket: &'c UdpSocket, slice: NonZeroUsize) -> Responder<'c> {
        Responder {
            socket,
            server: self.server.clone(),
            policy: &self.policy,
            counters: self.counters,
            on_answered: self.on_answered,
            clock: self.clock,
            shard: self.counters.shard(),
            outbox: Outbox::new(),
            slice,
        }
    }
}

impl fmt::Debug for WorkerContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext").field("sockets", self.sockets).finish_non_exhaustive()
    }
}
