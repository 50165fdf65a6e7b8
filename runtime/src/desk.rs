//! What a worker does with a datagram: it is judged for the batch, or handed over unjudged.

use std::mem;

use pyzord_core::{Batch, Now, Store, StoreError};

use crate::backlog::{Arrived, Pushed, is_large};
use crate::counters::BatchCounts;
use crate::datagrams::Path;
use crate::heartbeat::Heartbeat;
use crate::mentions::Mentions;
use crate::pool::Pool;
use crate::responder::Responder;
use crate::serving_store::ServingStore;
use crate::under_way::{Execution, Splitter};

/// The batch of a worker, and what it needs to judge and answer it.
pub(crate) struct Desk<'a, S> {
    pub(crate) responder: Responder<'a>,
    store: WorkerStore<S>,
    pool: &'a Pool,
    pub(crate) heartbeat: Heartbeat,
    /// When the batch was received.
    pub(crate) now: Now,
    batch: Batch<Path>,
    /// Of the datagram that may be handed over; kept for its memory.
    mentions: Mentions,
}

#[derive(Debug)]
pub(crate) enum WorkerStore<S> {
    /// The worker asks the store, which answers at once.
    Local(ServingStore<S>),
    /// A thread of the pool asks a store, which may keep it waiting.
    Remote,
    /// The worker reads, and a thread of the pool counts.
    Split(Box<SplitStore<S>>),
    /// There is none for this worker, and requests that need it are refused.
    Away,
}

#[derive(Debug)]
pub(crate) struct SplitStore<S> {
    reader: ServingStore<S>,
    splitter: Splitter,
    /// Requests on their way to the pool; kept for its memory.
    handed: Batch<Path>,
}

impl<'a, S: Store> Desk<'a, S> {
    pub(crate) fn new(
        responder: Responder<'a>,
        store: WorkerStore<S>,
        pool: &'a Pool,
        heartbeat: Heartbeat,
    ) -> Self {
        let (now, batch, mentions) = (responder.clock.now(), Batch::new(), Mentions::default());
        Self { responder, store, pool, heartbeat, now, batch, mentions }
    }

    /// Adds a datagram to the batch, or hands it over.
    pub(crate) fn take(&mut self, path: Path, datagram: &[u8], counts: &mut BatchCounts) {
        if self.has_to_wait(path, datagram) {
            // What came before goes first.
            if self.pool.senders().may_share(&self.mentions, self.batch.calls()) {
                self.answer();
                self.heartbeat.work_on();
            }
            let Self { responder, pool, mentions, now, .. } = self;
            let sender = responder.server.guard().network(path.peer.ip());
            let pushed =
                pool.submit_large(Arrived { sender, peer: path, received: *now, datagram, mentions });
            // A small request is served all the same: others may have filled the backlog in the name of its sender.
            let is_served = pushed == Pushed::Full && !is_large(datagram.len());
            counts.overloaded += u64::from(pushed != Pushed::Fits && !is_served);
            if !is_served {
                return;
            }
        }
        if let Err(reason) = self.batch.accept(&self.responder.server, path, datagram, self.now) {
            counts.ignored(reason);
            self.responder.dropped(path, reason);
        }
    }

    /// Whether a datagram is for the backlog: it is large, or it comes after a large one of its sender with a digest of
    /// it. Reads what it mentions.
    fn has_to_wait(&mut self, path: Path, datagram: &[u8]) -> bool {
        let Self { responder, store, pool, mentions, .. } = self;
        let (is_large, senders) = (is_large(datagram.len()), pool.senders());
        // Without a store a large request is refused like the others: what its worker is stuck in came before it.
        if !is_large && senders.is_empty() || matches!(store, WorkerStore::Away) {
            return false;
        }
        let sender = senders.hash(responder.server.guard().network(path.peer.ip()));
        if !is_large && !senders.may_have(sender) {
            return false;
        }
        senders.read(sender, datagram, mentions);
        is_large || pool.follows_large(mentions)
    }

    /// Has the batch executed or hands it over, and sends its replies.
    pub(crate) fn answer(&mut self) {
        let mut batch = mem::take(&mut self.batch);
        if let WorkerStore::Split(split) = &mut self.store {
            split.hand_over(&mut self.responder, self.pool, &mut batch);
        }
        let (responder, heartbeat, now) = (&self.responder, &self.heartbeat, self.now);
        let answered = match &mut self.store {
            WorkerStore::Local(store) => {
                let Some(answered) = store.ask_watched(responder, heartbeat, now, batch.ask(), || ()) else {
                    return;
                };
                answered
            }
            WorkerStore::Split(split) => {
                let reader = &mut split.reader;
                let Some(answered) = reader.ask_watched(responder, heartbeat, now, batch.ask(), || ()) else {
                    return;
                };
                answered
            }
            // Handed over first: the database works on these while the others are answered.
            WorkerStore::Remote if self.pool.submit(&mut batch) => {
                batch.ask().resolve(&responder.server, &[])
            }
            WorkerStore::Remote => responder.refuse(batch.ask()),
            WorkerStore::Away => {
                responder.shard.inspect(|shard| shard.unavailable(batch.calls().len()));
                batch.ask().fail(&responder.server, StoreError::Unavailable)
            }
        };
        if answered.replies().next().is_some() {
            self.responder.send(&answered);
        }
        self.batch = answered.clear();
    }

    /// Drops the batch after a panic.
    pub(crate) fn abandon(&mut self) {
        // If the panic came before the store was asked, the batch is still here, and nothing of it is counted.
        mem::take(&mut self.batch).abandon(&self.responder.server);
        self.responder.batch_lost();
    }
}

impl<S> SplitStore<S> {
    pub(crate) fn new(reader: S, splitter: Splitter) -> Self {
        Self { reader: ServingStore::new(reader), splitter, handed: Batch::new() }
    }

    /// Hands those requests over that the worker does not execute itself, or refuses them. What is left in the batch is
    /// executed here.
    fn hand_over(&mut self, responder: &mut Responder<'_>, pool: &Pool, batch: &mut Batch<Path>) {
        if batch.calls().is_empty() {
            return;
        }
        let mut handed = mem::take(&mut self.handed);
        match self.splitter.split(batch, &mut handed) {
            Execution::Here => {}
            Execution::Elsewhere if pool.submit(batch) => {}
            Execution::Both if pool.submit(&mut handed) => handed = handed.ask().into_spare(),
            Execution::Elsewhere | Execution::Both => {
                let all = if handed.is_empty() { mem::take(batch) } else { handed };
                let answered = responder.refuse(all.ask());
                responder.send(&answered);
                handed = answered.clear();
            }
        }
        self.handed = handed;
    }
}
