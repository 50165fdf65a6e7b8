//! What one worker does with the datagrams that have come in.

use std::fmt;
use std::io;
use std::mem;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_core::{Answered, Batch, Now, Store, StoreAnswer, StoreError};

use crate::counters::BatchCounts;
use crate::datagrams::{Inbox, Path, ReceiveMode};
use crate::heartbeat::Heartbeat;
use crate::metrics::Running;
use crate::pool::Pool;
use crate::responder::Responder;

/// The pause after an error of the socket itself, which would come again at once.
const PAUSE: Duration = Duration::from_millis(10);
/// Batches that are answered after a stop: more than the receive buffer holds, so only a flood is cut off.
const LAST_BATCHES: usize = 4096;

/// A worker's socket and store, on their way to the worker's thread.
#[derive(Debug)]
pub(crate) struct Backend<'a, S> {
    socket: &'a UdpSocket,
    store: WorkerStore<'a, S>,
    heartbeat: Heartbeat,
}

#[derive(Debug)]
enum WorkerStore<'a, S> {
    /// The worker asks the store, which answers at once.
    Local { store: S, answers: Vec<StoreAnswer> },
    /// A thread of the pool asks a store, which may keep it waiting.
    Remote(&'a Pool),
}

impl<'a, S> Backend<'a, S> {
    pub(crate) fn local(socket: &'a UdpSocket, store: S, heartbeat: Heartbeat) -> Self {
        Self { socket, store: WorkerStore::Local { store, answers: Vec::new() }, heartbeat }
    }

    pub(crate) fn remote(socket: &'a UdpSocket, pool: &'a Pool, heartbeat: Heartbeat) -> Self {
        Self { socket, store: WorkerStore::Remote(pool), heartbeat }
    }

    pub(crate) fn socket(&self) -> &'a UdpSocket {
        self.socket
    }
}

/// Receives datagrams at one socket and answers them.
pub(crate) struct Worker<'a, S> {
    responder: Responder<'a>,
    store: WorkerStore<'a, S>,
    stop: &'a AtomicBool,
    heartbeat: Heartbeat,
    /// Counts this worker as running.
    _running: Option<Running<'a>>,
    /// When the batch was received.
    now: Now,
    inbox: Inbox,
    batch: Batch<Path>,
}

impl<S> fmt::Debug for Worker<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("responder", &self.responder).finish_non_exhaustive()
    }
}

impl<'a, S: Store> Worker<'a, S> {
    pub(crate) fn new(responder: Responder<'a>, backend: Backend<'a, S>, stop: &'a AtomicBool) -> Self {
        let Backend { store, heartbeat, .. } = backend;
        let (now, inbox, batch) = (responder.clock.now(), Inbox::new(), Batch::new());
        let running = responder.counters.worker();
        Self { responder, store, stop, heartbeat, _running: running, now, inbox, batch }
    }

    /// Answers what is in the receive buffer after a stop.
    pub(crate) fn drain(&mut self) {
        let mut left = LAST_BATCHES;
        while left > 0 && self.serve(ReceiveMode::NonBlocking) {
            left -= 1;
        }
    }

    /// Receives, judges and answers one batch. Returns whether there was a datagram.
    ///
    /// An error that a peer can provoke is counted and survived, and so is a panic.
    pub(crate) fn serve(&mut self, mode: ReceiveMode) -> bool {
        self.heartbeat.beat();
        // A panic must not end a worker: the server would go on with fewer of them, unnoticed. It costs its batch, and
        // no half-done state is used again.
        let served = catch_unwind(AssertUnwindSafe(|| {
            let received = self.receive(mode);
            if received {
                self.answer();
            }
            received
        }));
        if let Some(shard) = self.responder.shard {
            shard.idle();
        }
        served.unwrap_or_else(|_| {
            // If the panic came before the store was asked, the batch is still here, and nothing of it is counted.
            mem::take(&mut self.batch).abandon(&self.responder.server);
            self.responder.batch_lost();
            true
        })
    }

    fn receive(&mut self, mode: ReceiveMode) -> bool {
        let mut counts = BatchCounts::default();
        let Self { responder, batch, inbox, stop, .. } = self;
        let (socket, clock, shard) = (responder.socket, responder.clock, responder.shard);
        // The clock is read when the first datagram is there, and the policy is the one of that moment, not of the
        // moment at which the wait began.
        let mut moment = None;
        let received = inbox.receive(socket, mode, |path, datagram| {
            if datagram.is_empty() && stop.load(Ordering::Relaxed) {
                // A stop sends empty datagrams to wake the workers.
                return;
            }
            counts.received += 1;
            let now = *moment.get_or_insert_with(|| {
                responder.refresh_policy();
                clock.now()
            });
            if let Some(shard) = shard {
                shard.heard(path.peer.ip());
            }
            if let Err(reason) = batch.accept(&responder.server, path, datagram, now) {
                counts.ignored(reason);
            }
        });
        self.now = moment.unwrap_or(self.now);
        self.responder.counters.add(&counts);
        if let Some(shard) = shard.filter(|_| counts.received > 0) {
            shard.received(counts.received, self.now.tick);
        }
        if counts.over_limit > 0 {
            self.responder.server.guard().take_exceeded().iter().for_each(|limit| log::warn!("{limit}"));
        }
        if let Err(error) = &received {
            self.survive(error);
        }
        counts.received > 0
    }

    fn answer(&mut self) {
        let mut batch = mem::take(&mut self.batch);
        let answered = match &mut self.store {
            WorkerStore::Local { store, answers } => {
                self.responder.execute(store, self.now, batch.ask(), answers)
            }
            // Handed over first: the database works on these while the others are answered.
            WorkerStore::Remote(pool) if pool.submit(&mut batch) => {
                batch.ask().resolve(&self.responder.server, &[])
            }
            WorkerStore::Remote(_) => self.refuse(batch),
        };
        if answered.replies().next().is_some() {
            self.responder.send(&answered);
        }
        self.batch = answered.clear();
    }

    /// Refuses the requests that wait for a store, because too many others do.
    fn refuse(&self, batch: Batch<Path>) -> Answered<Path> {
        self.responder.shard.inspect(|shard| shard.overloaded(batch.waiting()));
        batch.ask().fail(&self.responder.server, StoreError::Unavailable)
    }

    /// Handles an error of the receive. A time-out is none; after any other the server goes on.
    fn survive(&self, error: &io::Error) {
        let expected = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut, io::ErrorKind::Interrupted];
        if !expected.contains(&error.kind()) {
            self.responder.counters.receive_error();
            log::debug!("receiving failed: {error}");
            thread::sleep(PAUSE);
        }
    }
}
