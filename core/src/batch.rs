//! Many datagrams at once: received together, one trip to the store, answered together.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::Range;

use crate::accept::{Judged, Reason, UNAVAILABLE, calls, conclude, judge};
use crate::digest::Digest;
use crate::operation::Operation;
use crate::policy::Policy;
use crate::reply::{Outcome, Refusal, write_reply};
use crate::store::{StoreAnswer, StoreCall};
use crate::time::UnixTime;
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
    user: Range<usize>,
    op: Range<usize>,
    thread: Option<Range<usize>>,
    digests: Range<usize>,
    calls: Range<usize>,
    budget: usize,
    verdict: Result<Operation, Refusal>,
    outcome: Outcome,
    reply: Range<usize>,
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
        // A send to port 0 fails; a request from there is forged.
        if peer.port() == 0 {
            return Err(Reason::SourcePortZero);
        }
        let mut digests = core::mem::take(&mut self.scratch);
        digests.clear();
        let judged = judge(policy, datagram, now, &mut digests);
        if let Ok(judged) = &judged {
            let asks_store = judged.verdict.is_ok_and(Operation::needs_digest);
            match waiting {
                Some(waiting) if asks_store => waiting.push(peer, judged, &digests),
                _ => self.push(peer, judged, &digests),
            }
        }
        self.scratch = digests;
        judged.map(drop)
    }

    fn push(&mut self, peer: SocketAddr, judged: &Judged<'_>, digests: &[Digest]) {
        let (digests_before, calls_before) = (self.digests.len(), self.calls.len());
        self.digests.extend_from_slice(digests);
        if let Ok(operation) = judged.verdict {
            self.calls.extend(calls(operation, digests));
        }
        let request = Accepted {
            peer,
            user: keep(&mut self.text, judged.request.user),
            op: keep(&mut self.text, judged.request.op),
            thread: judged.request.thread.map(|thread| keep(&mut self.text, thread)),
            digests: digests_before..self.digests.len(),
            calls: calls_before..self.calls.len(),
            budget: judged.budget,
            verdict: judged.verdict,
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
            user: text(&request.user),
            op: text(&request.op),
            digests: self.digests.get(request.digests.clone()).unwrap_or_default(),
            refusal: request.outcome.err(),
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
