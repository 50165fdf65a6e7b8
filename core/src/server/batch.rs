//! Batches of requests: accepted, asked, answered. Each state is a type, and each step consumes the one before.

use core::cell::Cell;
use core::mem;
use core::net::SocketAddr;

use crate::counted::Counted;
use crate::guard::{GuardMemory, Lock, Seen};
use crate::ignored::Ignored;
use crate::protocol::operation::Operation;
use crate::protocol::refusal::Refusal;
use crate::server::handle::Server;
use crate::server::judge::{collect_digests, judge, parse, signature_of_count};
use crate::server::peer::Peer;
use crate::server::requests::{Arrival, Requests, bug, replies, usage};
use crate::server::usage::Usage;
use crate::store::{StoreAnswer, StoreCall, StoreError};
use crate::time::{Now, Tick};

/// Requests that are being received. One datagram is a batch of one.
///
/// [`accept`](Self::accept) judges a datagram; [`ask`](Self::ask) ends the batch. Its buffers come back with
/// [`Answered::clear`], so a datagram costs no allocation.
///
/// A batch keeps two sets: requests that are ready to be answered, and requests that wait for the store.
#[derive(Debug)]
pub struct Batch<P = SocketAddr> {
    ready: Requests<P>,
    waiting: Requests<P>,
    /// The place of the last request.
    place: usize,
}

/// A batch that has ended: its calls are put to the store, or its requests are refused.
///
/// Signed counts in it are in flight: until it is resolved or failed, copies of them are ignored. After half a minute a
/// batch counts as lost, by a panic say: then copies are refused, as they may have been counted.
#[derive(Debug)]
#[must_use = "requests that are dropped here are never answered"]
pub struct Asked<P = SocketAddr> {
    ready: Requests<P>,
    waiting: Requests<P>,
    /// The place of the last request.
    place: usize,
}

/// Requests with their replies.
#[derive(Debug)]
#[must_use = "replies must be sent"]
pub struct Answered<P = SocketAddr> {
    ready: Requests<P>,
    waiting: Requests<P>,
    bugs: Cell<u64>,
}

impl<P> Default for Batch<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> Batch<P> {
    /// Returns an empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self { ready: Requests::default(), waiting: Requests::default(), place: 0 }
    }

    /// Returns the number of requests that will be answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }

    /// Whether no request will be answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of requests that wait for the store.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the calls of the requests that wait for the store.
    #[must_use]
    pub fn calls(&self) -> &[StoreCall] {
        self.waiting.calls()
    }

    /// Returns the peer of each request that waits for the store, and its calls.
    pub fn asking(&self) -> impl Iterator<Item = (&P, &[StoreCall])> {
        self.waiting.asking()
    }

    /// Ends the batch: no more datagrams are accepted.
    pub fn ask(self) -> Asked<P> {
        Asked { ready: self.ready, waiting: self.waiting, place: self.place }
    }

    /// Drops the batch after a panic. The store was not asked, so that the next copy of a signed count is counted.
    pub fn abandon<L: Lock<GuardMemory>>(mut self, server: &Server<L>) {
        self.waiting.refuse(StoreError::Unavailable, &server.guard, &Cell::new(0));
    }

    /// Moves the requests that wait for the store into `spare`, which must be empty and lends its buffers, and ends that
    /// batch.
    ///
    /// This is for a store that may keep its clients waiting, in a thread of its own: the requests that stay are
    /// answered at once.
    pub fn split(&mut self, mut spare: Self) -> Asked<P> {
        debug_assert!(spare.is_empty(), "the spare batch has requests");
        spare.place = self.place;
        mem::swap(&mut self.waiting, &mut spare.waiting);
        spare.ask()
    }

    /// Moves the requests that wait for the store behind those of `other`, if `moves` is true for their calls. Both keep
    /// their order. Returns the number of moved requests.
    ///
    /// This is for a store of which some calls may keep their clients waiting: the requests that stay are executed at
    /// once.
    pub fn part(&mut self, other: &mut Self, moves: impl FnMut(&[StoreCall]) -> bool) -> usize {
        let moved = self.waiting.part(&mut other.waiting, other.place, moves);
        other.place += moved;
        moved
    }
}

impl<P: Peer> Batch<P> {
    /// Judges a datagram that `peer` sent. If it succeeds, there will be one reply to the peer.
    ///
    /// # Errors
    /// The datagram is not answered, for the reason given. The batch is unchanged, and the peer is dropped: a transport
    /// that has to reject a request keeps what it needs for that.
    pub fn accept<L: Lock<GuardMemory>>(
        &mut self,
        server: &Server<L>,
        peer: P,
        datagram: &[u8],
        now: Now,
    ) -> Result<(), Ignored> {
        if !peer.is_answerable() {
            return Err(Ignored::Unanswerable);
        }
        let network = peer.network();
        server.guard.admit(network, now.tick)?;
        let request = &parse(datagram)?;
        // Before the signature: its check takes longer than reading the headers.
        server.guard.admit_digests(network, request.digest_count(), now.tick)?;
        self.place += 1;
        let arrival = Arrival { place: self.place, peer, received: now.tick, size: datagram.len(), request };
        match judge(&server.policy, request, datagram.len(), now.wall) {
            Ok(_) if server.has_forwarded(request) => self.ready.push_refused(arrival, Refusal::OwnForward),
            Ok(operation) => return self.accept_operation(server, arrival, operation, now.tick),
            Err(Refusal::Signature(cause)) => {
                server.guard.answer_failure(network, now.tick)?;
                self.ready.push_refused(arrival, Refusal::Signature(cause));
            }
            Err(refusal) => self.ready.push_refused(arrival, refusal),
        }
        Ok(())
    }

    fn accept_operation<L: Lock<GuardMemory>>(
        &mut self,
        server: &Server<L>,
        arrival: Arrival<'_, P>,
        operation: Operation,
        now: Tick,
    ) -> Result<(), Ignored> {
        let op = operation.store_op();
        let set = if op.is_some() { &mut self.waiting } else { &mut self.ready };
        let digests = set.digests.len();
        // A bad digest refuses a copy, too: the memory of signed counts is asked only about what would be counted.
        if let Err(refusal) = collect_digests(arrival.request, operation, &mut set.digests) {
            self.ready.push_refused(arrival, refusal);
            return Ok(());
        }
        let Some(op) = op else {
            self.ready.push_ready(arrival, operation, digests);
            return Ok(());
        };
        let guard = &server.guard;
        let signature = signature_of_count(arrival.request, op).filter(|_| guard.remembers());
        let (user, count) = (arrival.request.user, self.waiting.digests.len() - digests);
        let seen = signature.map_or(Seen::Never, |signature| guard.look(user, signature, count, now));
        match seen {
            Seen::Never => self.waiting.push_waiting(arrival, operation, op, digests, signature, None),
            Seen::Failed(done) => {
                self.waiting.push_waiting(arrival, operation, op, digests, signature, Some(done));
            }
            Seen::Counted => {
                // A copy of what was counted is answered as the first one was, and not counted.
                let start = self.ready.digests.len();
                self.ready.digests.extend(self.waiting.digests.drain(digests..));
                self.ready.push_ready(arrival, operation, start);
            }
            Seen::Unknown => {
                self.waiting.digests.truncate(digests);
                self.ready.push_refused(arrival, Refusal::Store(StoreError::Unknown));
            }
            Seen::InFlight => {
                self.waiting.digests.truncate(digests);
                return Err(Ignored::InFlight);
            }
            Seen::NoRoom => {
                self.waiting.digests.truncate(digests);
                return Err(Ignored::Overloaded);
            }
        }
        Ok(())
    }
}

impl<P> Asked<P> {
    /// Returns what to ask the store, for all requests; possibly nothing.
    #[must_use]
    pub fn calls(&self) -> &[StoreCall] {
        self.waiting.calls()
    }

    /// Returns the number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }

    /// Returns the number of requests that wait for the store.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is no request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the requests of `batch` that wait for the store, so that they share one trip.
    pub fn join(&mut self, batch: &mut Batch<P>) {
        self.waiting.append(&mut batch.waiting, self.place);
        self.place += batch.place;
    }

    /// Moves the requests that wait for the store behind those of `other`, if `moves` is true for their calls. Both keep
    /// their order. Returns the number of moved requests.
    ///
    /// This is for requests that have to wait until the store has answered others.
    pub fn part(&mut self, other: &mut Self, moves: impl FnMut(&[StoreCall]) -> bool) -> usize {
        let moved = self.waiting.part(&mut other.waiting, other.place, moves);
        other.place += moved;
        moved
    }

    /// Returns the peer of each request that waits for the store, and its calls.
    pub fn asking(&self) -> impl Iterator<Item = (&P, &[StoreCall])> {
        self.waiting.asking()
    }

    /// Returns the buffers of a batch whose requests were all moved to others.
    #[must_use]
    pub fn into_spare(self) -> Batch<P> {
        debug_assert!(self.is_empty(), "the batch has requests");
        Batch { ready: self.ready, waiting: self.waiting, place: 0 }
    }

    /// Writes the replies from the store's `answers` to [`calls`](Self::calls), one for each call, and records which
    /// signed counts were counted.
    ///
    /// `server` is a handle of the server that accepted the requests. A missing answer is a bug of the store: its request
    /// is refused with 500, and the bug is counted in [`Answered::internal_errors`].
    pub fn resolve<L: Lock<GuardMemory>>(
        mut self,
        server: &Server<L>,
        answers: &[StoreAnswer],
    ) -> Answered<P> {
        let bugs = Cell::new(0);
        if answers.len() > self.calls().len() {
            bug(&bugs, "the store has given more answers than it was asked for");
        }
        self.waiting.conclude(answers, &server.guard, &bugs);
        self.answer(server, bugs)
    }

    /// Refuses all requests that wait for the store. [`StoreError::Unavailable`]: it was not asked, and the next copy of a
    /// signed count is counted. [`StoreError::Unknown`]: it may have counted, and no copy is; if it may still count, call
    /// [`Answered::settle`] when it has answered.
    pub fn fail<L: Lock<GuardMemory>>(mut self, server: &Server<L>, error: StoreError) -> Answered<P> {
        let bugs = Cell::new(0);
        self.waiting.refuse(error, &server.guard, &bugs);
        self.answer(server, bugs)
    }

    fn answer<L: Lock<GuardMemory>>(mut self, server: &Server<L>, bugs: Cell<u64>) -> Answered<P> {
        let copies_once = server.guard.remembers();
        self.ready.write(copies_once, &bugs);
        self.waiting.write(copies_once, &bugs);
        Answered { ready: self.ready, waiting: self.waiting, bugs }
    }
}

impl<P> Answered<P> {
    /// Returns the replies and their peers, in the order of the requests; batches that were joined follow each other.
    pub fn replies(&self) -> impl Iterator<Item = (&P, &[u8])> {
        replies([&self.ready, &self.waiting], &self.bugs)
    }

    /// Returns what the usage log says of each request, in their order.
    pub fn usage(&self) -> impl Iterator<Item = Usage<'_, P>> {
        usage([&self.ready, &self.waiting], &self.bugs)
    }

    /// Returns what was counted and may be forwarded to other servers, with an item for each time a digest was counted,
    /// also in a request that was refused because others of its digests were not. Requests that another server has
    /// forwarded are left out.
    pub fn counted(&self) -> impl Iterator<Item = Counted>
    where
        P: Peer,
    {
        self.waiting.counted(&self.bugs)
    }

    /// Records what became of the signed counts of a batch that was [failed](Asked::fail) with [`StoreError::Unknown`]
    /// while the store worked on it. `answers` are the store's late answers to all calls. Call it once; until then, and
    /// where an answer is missing, no copy of such a request counts.
    pub fn settle<L: Lock<GuardMemory>>(&self, server: &Server<L>, answers: &[StoreAnswer]) {
        server.guard.settle_late(self.waiting.calls(), answers);
    }

    /// Returns the number of internal errors so far. Read it after the other methods, which find some of them. Any is a
    /// bug in this crate or in a store: show it to an operator.
    #[must_use]
    pub const fn internal_errors(&self) -> u64 {
        self.bugs.get()
    }

    /// Empties the batch and returns it with its buffers.
    pub fn clear(mut self) -> Batch<P> {
        self.ready.clear();
        self.waiting.clear();
        Batch { ready: self.ready, waiting: self.waiting, place: 0 }
    }
}
