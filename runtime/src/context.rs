//! What the threads of a running server share.

use std::fmt;
use std::net::UdpSocket;
use std::sync::Arc;

use pyzord_core::{Policy, Schedule, Store};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::datagrams::Outbox;
use crate::guard::SharedServer;
use crate::heartbeat::Heartbeats;
use crate::maintenance::Maintenance;
use crate::pool::Pool;
use crate::reloadable::Reloadable;
use crate::responder::{OnAnswered, Responder};
use crate::service::{Service, Stores};
use crate::socket::Sockets;
use crate::stop::Stop;
use crate::worker::{Backend, Worker};

/// What the threads of a running server share, and the parts that a runtime drives.
///
/// [`serve`](crate::serve) splits a [`Service`] with [`parts`](Self::parts) and gives each back end, each remote store and
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
    heartbeats: Heartbeats,
    stop: Stop,
}

/// The parts of a server that a runtime drives.
#[derive(Debug)]
pub(crate) struct ServiceParts<'c, 'a, S> {
    /// One for each worker: make it a [worker](WorkerContext::worker) in the worker's thread.
    pub(crate) backends: Vec<Backend<'c, S>>,
    /// Stores that need a thread of their own, for [`WorkerContext::serve_remote`].
    pub(crate) remote_stores: Vec<S>,
    /// The work of the thread that waits for commands.
    pub(crate) maintenance: Maintenance<'c, 'a, S>,
}

impl<'a> WorkerContext<'a> {
    /// Returns the context of a service.
    #[must_use]
    pub(crate) fn new<S>(service: &Service<'a, S>) -> Self {
        let remote_stores = match &service.stores {
            Stores::Local(_) => 0,
            Stores::Remote { stores, .. } => stores.len(),
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
            heartbeats: Heartbeats::default(),
            stop: Stop::default(),
        }
    }

    /// Splits the service of this context.
    pub(crate) fn parts<'c, 's, S: Store>(&'c self, service: Service<'s, S>) -> ServiceParts<'c, 's, S> {
        let Service { stores, upkeep, cleanup, reload, supervisor, .. } = service;
        let sockets = self.sockets.for_workers();
        let (backends, remote_stores) = match stores {
            Stores::Local(stores) => {
                let backends = stores.into_iter().zip(sockets);
                let local = |(store, socket)| Backend::local(socket, store, self.heartbeats.add());
                (backends.map(local).collect(), Vec::new())
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
        ServiceParts { backends, remote_stores, maintenance }
    }

    #[cfg(test)]
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns a worker, which stays in the thread that calls this.
    pub(crate) fn worker<'c, S: Store>(&'c self, backend: Backend<'c, S>) -> Worker<'c, S> {
        Worker::new(self.responder(backend.socket()), backend, &self.stop)
    }

    /// Answers the batches that wait for a remote store. It blocks until [`close_pool`](Self::close_pool).
    pub(crate) fn serve_remote(&self, store: impl Store) {
        self.pool.run(store, self.responder(self.sockets.first()), &self.stop);
    }

    /// Lets the workers end: each answers what is in its receive buffer first.
    pub(crate) fn stop(&self) {
        self.stop.begin(self.clock.tick());
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.has_begun()
    }

    /// Lets the threads of remote stores end, after all workers have: each answers what waits first.
    pub(crate) fn close_pool(&self) {
        self.pool.close();
    }

    fn responder<'c>(&'c self, socket: &'c UdpSocket) -> Responder<'c> {
        Responder {
            socket,
            server: self.server.clone(),
            policy: &self.policy,
            counters: self.counters,
            on_answered: self.on_answered,
            clock: self.clock,
            shard: self.counters.shard(),
            outbox: Outbox::new(self.sockets.lanes()),
        }
    }
}

impl fmt::Debug for WorkerContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext").field("sockets", self.sockets).finish_non_exhaustive()
    }
}
