//! Many datagrams at once: received together, one trip to the store, answered together.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use crate::accept::{Judged, Reason, UNAVAILABLE, calls, conclude, judge};
use crate::client::Count;
use crate::digest::Digest;
use crate::guard::{Memory, Seen};
use crate::operation::Operation;
use crate::policy::Policy;
use crate::reply::{Outcome, Refusal, write_reply};
use crate::request::ANONYMOUS;
use crate::store::{StoreAnswer, StoreCall};
use crate::time::{Now, Tick, UnixTime};
use crate::usage::Usage;

/// The requests of one batch. It owns its buffers and is used again for the next batch, so a datagram costs
/// no allocation.
///
/// Use it in this order: [`accept`](Self::accept) each datagram, give [`calls`](Self::calls) to the store,
/// [`resolve`](Self::resolve) with its answers, send [`replies`](Self::replies), log
/// [`usage`](Self::usage), [`clear`](Self::clear).
#[derive(Debug, Default)]
pub struct Batch {
    requests: Vec<Accepted>,
    /// The text of all requests that the replies and the usage log repeat.
    text: Vec<u8>,
    digests: Vec<Digest>,
    calls: Vec<StoreCall>,
    replies: Vec<u8>,
    /// The digests of the request that is being judged.
    scratch: Vec<Digest>,
}

#[derive(Debug)]
struct Accepted {
    peer: SocketAddr,
    received: Tick,
    user: Range<usize>,
    op: Range<usize>,
    thread: Option<Range<usize>>,
    digests: Range<usize>,
    calls: Range<usize>,
    budget: usize,
    forwarded: bool,
    verdict: Result<Operation, Refusal>,
    repeat: Repeat,
    outcome: Outcome,
    reply: Range<usize>,
}

/// Whether a request is one of those that must not be counted again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Repeat {
    /// Any number of copies does no harm, or nobody could tell them from other requests.
    Harmless,
    /// The first copy of a signed count, by its signature.
    First(Digest),
    /// It was counted before, and is answered again.
    Known,
}

impl Repeat {
    fn of(judged: &Judged<'_>, peer: IpAddr, memory: &mut impl Memory, now: Tick) -> Result<Self, Reason> {
        let operation = match judged.verdict {
            Ok(operation) => operation,
            Err(Refusal::Signature(_)) => return memory.answer_failure(peer, now).map(|()| Self::Harmless),
            Err(_) => return Ok(Self::Harmless),
        };
        let counts = matches!(operation, Operation::Report | Operation::Whitelist);
        if !counts || judged.request.user == ANONYMOUS {
            return Ok(Self::Harmless);
        }
        // A valid signature is 40 hex digits.
        let Some(signature) = judged.request.signature.and_then(Digest::parse) else {
            return Ok(Self::Harmless);
        };
        match memory.look(signature, now) {
            Seen::Never => Ok(Self::First(signature)),
            Seen::Counted => Ok(Self::Known),
            Seen::InFlight => Err(Reason::InFlight),
        }
    }
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges one datagram that `peer` sent.
    ///
    /// # Errors
    /// Says why the datagram will not be answered; the batch is as it was.
    pub fn accept(
        &mut self,
        policy: &Policy,
        peer: SocketAddr,
        datagram: &[u8],
        now: UnixTime,
    ) -> Result<(), Reason> {
        self.accept_apart(None, policy, peer, datagram, now)
    }

    /// Like [`accept`](Self::accept), but a request that asks the store goes into `waiting`: for a store that may keep
    /// its clients waiting, so that requests which need none never do.
    ///
    /// # Errors
    /// Says why the datagram will not be answered; both batches are as they were.
    pub fn accept_apart(
        &mut self,
        waiting: Option<&mut Self>,
        policy: &Policy,
        peer: SocketAddr,
        datagram: &[u8],
        now: UnixTime,
    ) -> Result<(), Reason> {
        let now = Now { wall: now, tick: Tick::default() };
        self.accept_with(&mut (), waiting, policy, peer, datagram, now)
    }

    /// Like [`accept_apart`](Self::accept_apart), with the memory of earlier requests; [settle](Self::settle) the batch
    /// with it after it was resolved.
    ///
    /// # Errors
    /// Says why the datagram will not be answered; both batches are as they were.
    pub fn accept_with(
        &mut self,
        memory: &mut impl Memory,
        waiting: Option<&mut Self>,
        policy: &Policy,
        peer: SocketAddr,
        datagram: &[u8],
        now: Now,
    ) -> Result<(), Reason> {
        // A send to port 0 fails; a request from there is forged.
        if peer.port() == 0 {
            return Err(Reason::SourcePortZero);
        }
        let address = peer.ip().to_canonical();
        memory.admit(address, now.tick)?;
        let mut digests = core::mem::take(&mut self.scratch);
        digests.clear();
        let judged = judge(policy, datagram, now.wall, &mut digests);
        let accepted = judged.and_then(|judged| {
            let repeat = Repeat::of(&judged, address, memory, now.tick)?;
            let asks_store = judged.verdict.is_ok_and(Operation::needs_digest) && repeat != Repeat::Known;
            let batch = waiting.filter(|_| asks_store).unwrap_or(&mut *self);
            batch.push(peer, now.tick, &judged, &digests, repeat);
            Ok(())
        });
        self.scratch = digests;
        accepted
    }

    fn push(
        &mut self,
        peer: SocketAddr,
        received: Tick,
        judged: &Judged<'_>,
        digests: &[Digest],
        repeat: Repeat,
    ) {
        let (digests_before, calls_before) = (self.digests.len(), self.calls.len());
        self.digests.extend_from_slice(digests);
        if let (Ok(operation), true) = (judged.verdict, repeat != Repeat::Known) {
            self.calls.extend(calls(operation, digests));
        }
        let request = Accepted {
            peer,
            received,
            user: keep(&mut self.text, judged.request.user),
            op: keep(&mut self.text, judged.request.op),
            thread: judged.request.thread.map(|thread| keep(&mut self.text, thread)),
            digests: digests_before..self.digests.len(),
            calls: calls_before..self.calls.len(),
            budget: judged.budget,
            forwarded: judged.request.forwarded,
            verdict: judged.verdict,
            repeat,
            outcome: judged.verdict.and_then(|operation| conclude(operation, &[])),
            reply: 0..0,
        };
        self.requests.push(request);
    }

    /// What to ask the store, for all requests; possibly nothing.
    #[must_use]
    pub fn calls(&self) -> &[StoreCall] {
        &self.calls
    }

    /// Makes the replies. `answers` are the store's to [`calls`](Self::calls), one each; a missing one counts
    /// as [`StoreError::Unavailable`](crate::StoreError::Unavailable).
    pub fn resolve(&mut self, answers: &[StoreAnswer]) {
        for request in &mut self.requests {
            if let (Ok(operation), false) = (request.verdict, request.calls.is_empty()) {
                let answers = answers.get(request.calls.clone()).unwrap_or(&UNAVAILABLE);
                request.outcome = conclude(operation, answers);
            }
            let thread = request.thread.clone().and_then(|thread| self.text.get(thread));
            let start = self.replies.len();
            write_reply(&mut self.replies, request.outcome, thread, request.budget);
            request.reply = start..self.replies.len();
        }
    }

    /// Tells the memory which signed counts of a resolved batch were counted.
    pub fn settle(&self, memory: &mut impl Memory) {
        for request in &self.requests {
            if let Repeat::First(signature) = request.repeat {
                memory.settle(signature, request.outcome.is_ok());
            }
        }
    }

    /// The replies and to whom they go, in the order of the requests. Empty until the batch is resolved.
    pub fn replies(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let reply = |request: &Accepted| self.replies.get(request.reply.clone()).unwrap_or_default();
        self.requests
            .iter()
            .map(move |request| (request.peer, reply(request)))
            .filter(|(_, bytes)| !bytes.is_empty())
    }

    /// What the usage log says of each request, in their order.
    pub fn usage(&self) -> impl Iterator<Item = Usage<'_>> {
        let text = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        self.requests.iter().map(move |request| Usage {
            peer: request.peer,
            received: request.received,
            user: text(&request.user),
            op: text(&request.op),
            digests: self.digests.get(request.digests.clone()).unwrap_or_default(),
            refusal: request.outcome.err(),
        })
    }

    /// What a resolved batch has counted and other servers may be told: one item a digest, a repeated one each time. A
    /// request that another server sent on is left out, or servers that tell each other would never end; and so is one
    /// that failed, since its client will try again.
    pub fn counted(&self) -> impl Iterator<Item = Count> {
        let counts =
            |request: &&Accepted| request.outcome.is_ok() && !request.forwarded && !request.calls.is_empty();
        self.requests.iter().filter(counts).flat_map(|request| {
            let calls = self.calls.get(request.calls.clone()).unwrap_or_default();
            calls.iter().filter_map(|call| Count::of(call, request.peer.ip()))
        })
    }

    /// Takes over the requests of `other`, behind those that are there, and leaves it empty with its buffers: requests
    /// that wait for the same store make one trip.
    pub fn append(&mut self, other: &mut Self) {
        let [text, digests, calls, replies] =
            [self.text.len(), self.digests.len(), self.calls.len(), self.replies.len()];
        self.requests.extend(other.requests.drain(..).map(|request| Accepted {
            user: shift(request.user, text),
            op: shift(request.op, text),
            thread: request.thread.map(|thread| shift(thread, text)),
            digests: shift(request.digests, digests),
            calls: shift(request.calls, calls),
            reply: shift(request.reply, replies),
            ..request
        }));
        self.text.append(&mut other.text);
        self.digests.append(&mut other.digests);
        self.calls.append(&mut other.calls);
        self.replies.append(&mut other.replies);
    }

    /// How many requests will be answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether no datagram was accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Empties the batch; its buffers stay.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.text.clear();
        self.digests.clear();
        self.calls.clear();
        self.replies.clear();
    }
}

fn shift(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

fn keep(text: &mut Vec<u8>, part: &[u8]) -> Range<usize> {
    let start = text.len();
    text.extend_from_slice(part);
    start..text.len()
}
