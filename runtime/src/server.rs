//! What a server is made of, whatever drives it.

use std::fmt;
use std::sync::atomic::AtomicBool;

use pyzord_core::{Batch, CleanupAge, Policy, Schedule, Store};

use crate::answer::Answerer;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::live::Live;
use crate::pool::Pool;
use crate::shield::Shield;
use crate::socket::Sockets;
use crate::supervisor::{Duties, Pulse, Pulses, Supervisor};
use crate::worker::{Backend, Worker};

/// Something that the server is told from outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Read the accounts and access files again.
    Reload,
    /// Answer what was received, sync the store, and return.
    Stop,
}

/// What the log says of a command: the consequence.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload => "Reloading configuration.",
            Self::Stop => "Shutting down.",
        })
    }
}

/// Stores, by how long they may keep a request waiting.
#[derive(Clone, Debug)]
pub enum Stores<S> {
    /// Those that answer at once, from memory or a file: one for each worker, which asks it itself.
    Local(Vec<S>),
    /// Those that wait for a network: each has a thread of its own, so that a database that hangs keeps nobody from
    /// what needs no database.
    Remote {
        /// How many workers receive.
        workers: usize,
        /// One for each connection.
        stores: Vec<S>,
    },
}

impl<S> Stores<S> {
    /// How many workers receive.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self {
            Self::Local(stores) => stores.len(),
            Self::Remote { workers, .. } => *workers,
        }
    }
}

/// All that a server is made of.
pub struct Server<'a, S> {
    /// Where requests come in: one socket for each worker, or one for several. What comes to one that has no worker is
    /// lost.
    pub sockets: &'a Sockets,
    /// The access rules; a reload replaces them.
    pub policy: &'a Live<Policy>,
    /// What happened so far.
    pub counters: &'a Counters,
    /// The limits, and what is remembered of earlier requests.
    pub shield: &'a Shield,
    /// The stores, and with them the number of workers.
    pub stores: Stores<S>,
    /// The store that upkeep is done with.
    pub upkeep: S,
    /// When records expire.
    pub cleanup: CleanupAge,
    /// Gives the policy that replaces the current one; serving goes on while it is called.
    pub reload: &'a mut (dyn FnMut() -> Policy + Send),
    /// Logs the usage of a batch, and forwards what it counted; called once for each, after its replies were sent.
    pub usage: &'a (dyn Fn(&Batch) + Sync),
    /// Who is told how the server is doing.
    pub supervisor: Option<Supervisor<'a>>,
}

impl<S> fmt::Debug for Server<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("sockets", self.sockets).finish_non_exhaustive()
    }
}

/// What every worker and every thread of the pool is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The clock of all of them.
    pub clock: Clock,
    /// Batches for the remote stores.
    pub pool: Pool,
    /// Set when the server stops.
    pub stop: AtomicBool,
    pub(crate) pulses: Pulses,
    sockets: &'a Sockets,
    answerer: Answerer<'a>,
    pub(crate) policy: &'a Live<Policy>,
}

impl<'a> Parts<'a> {
    /// The parts of a server, with room in the pool for its remote stores.
    #[must_use]
    pub fn new<S>(server: &Server<'a, S>) -> Self {
        let remote = match &server.stores {
            Stores::Local(_) => 0,
            Stores::Remote { stores, .. } => stores.len(),
        };
        let Server { sockets, policy, counters, shield, usage, .. } = *server;
        let clock = counters.clock();
        let answerer = Answerer { socket: sockets.first(), counters, shield, usage, clock, shard: None };
        Self {
            clock,
            pool: Pool::new(remote),
            stop: AtomicBool::new(false),
            pulses: Pulses::default(),
            sockets,
            answerer,
            policy,
        }
    }

    /// A back end for each worker, and the stores that want a thread of their own with
    /// [`serve_remote`](Self::serve_remote).
    pub fn split<S: Store>(&'a self, stores: Stores<S>) -> (Vec<Backend<'a, S>>, Vec<S>) {
        let sockets = self.sockets.for_workers();
        match stores {
            Stores::Local(stores) => {
                let backends = stores.into_iter().zip(sockets);
                (backends.map(|(store, socket)| Backend::local(socket, store)).collect(), Vec::new())
            }
            Stores::Remote { workers, stores } => {
                let sockets = sockets.take(workers);
                (sockets.map(|socket| Backend::remote(socket, &self.pool)).collect(), stores)
            }
        }
    }

    /// A worker. It stays in the thread that makes it.
    pub fn worker<S: Store>(&'a self, backend: Backend<'a, S>) -> Worker<'a, S> {
        Worker::new(self.answerer(), self.policy.watch(), backend, &self.stop)
    }

    /// Answers the batches that wait for a remote store, until the pool is closed. It blocks.
    pub fn serve_remote(&self, store: impl Store) {
        self.pool.run(store, self.answerer());
    }

    /// Each thread keeps its details in a place of its own.
    fn answerer(&self) -> Answerer<'a> {
        Answerer { shard: self.answerer.counters.shard(), ..self.answerer }
    }

    /// A new worker's sign of life. Take all of them before the first of the [`duties`](Self::duties) is done.
    pub fn pulse(&self) -> Pulse {
        self.pulses.add()
    }

    /// What the thread that waits for commands does between them.
    pub fn duties<'s, S: Store>(
        &'a self,
        upkeep: S,
        cleanup: CleanupAge,
        supervisor: Option<Supervisor<'s>>,
    ) -> Duties<'a, 's, S> {
        Duties::new(self, Schedule::new(cleanup, self.clock.tick()), upkeep, supervisor)
    }
}

/// Does the upkeep that is due, if any is. It blocks for as long as the store does.
pub(crate) fn run_task(schedule: &mut Schedule, store: &mut impl Store, clock: Clock) {
    let began = clock.now();
    let Some(task) = schedule.poll(began) else { return };
    let progress = store.upkeep(began, task);
    if let Err(failure) = &progress {
        log::error!("upkeep failed and will be tried again in a minute: {failure}");
    }
    schedule.done(task, progress.ok(), began.tick, clock.tick());
}
