//! What one worker does with the datagrams that have come in.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_core::{Batch, Now, Policy, Store, StoreAnswer};

use crate::answer::Answerer;
use crate::counters::Tally;
use crate::datagrams::{Inbox, Outbox, Path, Wait};
use crate::live::Watcher;
use crate::metrics::Running;
use crate::pool::Pool;

/// After an error of the socket itself, which would come again at once.
const PAUSE: Duration = Duration::from_millis(10);
/// Batches that are still answered after a stop: more than the receive buffer holds, so only a flood is cut off.
const LAST_BATCHES: usize = 4096;

/// Where a worker's requests come in, and who asks the store for it.
#[derive(Debug)]
pub struct Backend<'a, S> {
    socket: &'a UdpSocket,
    kind: Kind<'a, S>,
}

#[derive(Debug)]
enum Kind<'a, S> {
    /// The worker itself: the store answers at once.
    Local { store: S, answers: Vec<StoreAnswer> },
    /// A thread that may be kept waiting. The batch collects the requests for it.
    Remote { pool: &'a Pool, waiting: Batch },
}

impl<'a, S> Backend<'a, S> {
    pub(crate) fn local(socket: &'a UdpSocket, store: S) -> Self {
        Self { socket, kind: Kind::Local { store, answers: Vec::new() } }
    }

    pub(crate) fn remote(socket: &'a UdpSocket, pool: &'a Pool) -> Self {
        Self { socket, kind: Kind::Remote { pool, waiting: Batch::new() } }
    }

    /// The worker's socket, for a runtime that waits for it.
    #[must_use]
    pub fn socket(&self) -> &'a UdpSocket {
        self.socket
    }
}

/// One of those who receive, and answer what they received.
pub struct Worker<'a, S> {
    answerer: Answerer<'a>,
    policy: Watcher<'a, Policy>,
    backend: Kind<'a, S>,
    stop: &'a AtomicBool,
    /// Says for as long as it lives that this worker runs.
    _running: Option<Running<'a>>,
    /// When the batch was received.
    now: Now,
    inbox: Inbox,
    outbox: Outbox,
    batch: Batch,
}

impl<S> fmt::Debug for Worker<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("answerer", &self.answerer).finish_non_exhaustive()
    }
}

impl<'a, S: Store> Worker<'a, S> {
    pub(crate) fn new(
        answerer: Answerer<'a>,
        policy: Watcher<'a, Policy>,
        backend: Backend<'a, S>,
        stop: &'a AtomicBool,
    ) -> Self {
        let Backend { socket, kind } = backend;
        let answerer = Answerer { socket, ..answerer };
        let (now, batch) = (answerer.clock.now(), Batch::new());
        let (inbox, outbox) = (Inbox::new(), Outbox::new());
        let running = answerer.counters.worker();
        Self { answerer, policy, backend: kind, stop, _running: running, now, inbox, outbox, batch }
    }

    /// Answers what is left in the receive buffer: what a stop does last.
    pub fn drain(&mut self) {
        let mut left = LAST_BATCHES;
        while left > 0 && self.serve(Wait::No) {
            left -= 1;
        }
    }

    /// Receives, judges and answers one batch. Whether there was anything to receive.
    ///
    /// Every error that a peer could provoke is counted and survived, and so is a panic in a store.
    pub fn serve(&mut self, wait: Wait) -> bool {
        // A bug must not end a worker, or the server goes on with fewer of them and nobody knows. The buffers are
        // cleared before they are used again, so nothing half-done is seen.
        let served = catch_unwind(AssertUnwindSafe(|| {
            let received = self.receive(wait);
            if received {
                self.answer();
            }
            received
        }));
        self.batch.clear();
        if let Kind::Remote { waiting, .. } = &mut self.backend {
            waiting.clear();
        }
        if let Some(shard) = self.answerer.shard {
            shard.idle();
        }
        served.unwrap_or_else(|_| {
            self.answerer.shard.inspect(|shard| shard.internal_error());
            log::error!("a batch of requests was dropped after an internal error");
            true
        })
    }

    fn receive(&mut self, wait: Wait) -> bool {
        let mut tally = Tally::default();
        let (batch, policy) = (&mut self.batch, &mut self.policy);
        let Answerer { clock, shard, .. } = self.answerer;
        let mut shield = self.answerer.shield;
        let mut waiting = match &mut self.backend {
            Kind::Local { .. } => None,
            Kind::Remote { waiting, .. } => Some(waiting),
        };
        // The clock is read once the first datagram is there, and the rules are those of that moment, not those of
        // the one at which the wait for it began.
        let mut moment = None;
        let stop = self.stop;
        let received = self.inbox.receive(self.answerer.socket, wait, |Path { peer, .. }, datagram| {
            if datagram.is_empty() && stop.load(Ordering::Relaxed) {
                // One that woke this worker.
                return;
            }
            tally.received += 1;
            let now = *moment.get_or_insert_with(|| clock.now());
            let policy = policy.current();
            if let Some(shard) = shard {
                shard.heard(peer.ip());
            }
            let accepted =
                batch.accept_with(&mut shield, waiting.as_deref_mut(), policy, peer, datagram, now);
            if let Err(reason) = accepted {
                tally.ignored(reason);
            }
        });
        self.now = moment.unwrap_or(self.now);
        self.answerer.counters.add(&tally);
        if let Some(shard) = shard.filter(|_| tally.received > 0) {
            shard.received(tally.received, self.now.tick);
        }
        if tally.over_limit > 0 {
            shield.notices().iter().for_each(|notice| log::warn!("{notice}"));
        }
        if let Err(error) = &received {
            self.survive(error);
        }
        tally.received > 0
    }

    fn answer(&mut self) {
        match &mut self.backend {
            Kind::Local { store, answers } => {
                answers.clear();
                if !self.batch.calls().is_empty() {
                    self.answerer.ask(store, self.now, self.batch.calls(), answers);
                }
                self.answerer.answer(&mut self.batch, answers, &mut self.outbox);
            }
            Kind::Remote { pool, waiting } => {
                // Handed over first: the database works on it while the others are answered.
                let refused = !waiting.is_empty() && !pool.submit(waiting);
                if !self.batch.is_empty() {
                    self.answerer.answer(&mut self.batch, &[], &mut self.outbox);
                }
                if refused {
                    self.answerer.shard.inspect(|shard| shard.overloaded(waiting.len()));
                    // No answer from a store is `temporarily unavailable`.
                    self.answerer.answer(waiting, &[], &mut self.outbox);
                }
            }
        }
    }

    /// A time-out is no error; after any other the socket may well go on, so the server does.
    fn survive(&self, error: &io::Error) {
        let expected = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut, io::ErrorKind::Interrupted];
        if !expected.contains(&error.kind()) {
            self.answerer.counters.receive_error();
            log::debug!("receiving failed: {error}");
            thread::sleep(PAUSE);
        }
    }
}
