//! Requests on their way to a reply, in buffers that are used again.

use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;

use crate::counted::Counted;
use crate::guard::{Guard, GuardMemory, Lock, Places};
use crate::protocol::digest::Digest;
use crate::protocol::operation::Operation;
use crate::protocol::refusal::Refusal;
use crate::protocol::request::Request;
use crate::protocol::write::{Assurance, Outcome, Success, budget, write_reply};
use crate::server::judge::{calls, conclude, conclude_without_store};
use crate::server::peer::Peer;
use crate::server::usage::Usage;
use crate::store::{StoreAnswer, StoreCall, StoreError, StoreOp};
use crate::time::Tick;

/// Accepted requests. All texts, digests, calls and replies are in buffers that the requests share.
#[derive(Debug)]
pub(super) struct Requests<P> {
    entries: Vec<Entry<P>>,
    /// The parts of the datagrams that replies and usage repeat.
    text: Vec<u8>,
    pub(super) digests: Vec<Digest>,
    calls: Vec<StoreCall>,
    /// For each call whether it has counted, so that it is forwarded.
    counted: Vec<bool>,
    replies: Vec<u8>,
}

#[derive(Debug)]
struct Entry<P> {
    /// The place of the request among all requests of its batch.
    place: usize,
    peer: P,
    received: Tick,
    user: Span,
    op: Span,
    thread: Option<Span>,
    digests: Span,
    /// The largest reply, in bytes.
    budget: usize,
    forwarded: bool,
    fate: Fate,
    reply: Span,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// The operation of a request that waits for the store.
    operation: Option<Operation>,
    /// The signature of a signed count, by which a copy is known.
    signature: Option<Digest>,
    /// Whether it is the repeat of a signed count that failed.
    repeated: bool,
    /// What the store is asked for it.
    calls: Span,
    outcome: Outcome,
    /// Whether the store has failed, and nothing was counted, by this copy or an earlier one.
    uncounted: bool,
}

/// A part of a buffer.
#[derive(Clone, Copy, Default, Debug)]
struct Span {
    start: usize,
    end: usize,
}

/// A request, and what its transport knows of it.
#[derive(Debug)]
pub(super) struct Arrival<'a, P> {
    /// Its place among all requests of its batch.
    pub(super) place: usize,
    pub(super) peer: P,
    pub(super) received: Tick,
    /// The size of its datagram, in bytes.
    pub(super) size: usize,
    pub(super) request: &'a Request<'a>,
}

impl<P> Default for Requests<P> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            text: Vec::new(),
            digests: Vec::new(),
            calls: Vec::new(),
            counted: Vec::new(),
            replies: Vec::new(),
        }
    }
}

impl<P> Requests<P> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn calls(&self) -> &[StoreCall] {
        &self.calls
    }

    /// Adds a refused request.
    pub(super) fn push_refused(&mut self, arrival: Arrival<'_, P>, refusal: Refusal) {
        self.push(arrival, self.digests.len(), Fate::without_store(Err(refusal)));
    }

    /// Adds a request that is answered without the store. Its digests are those from `digests` on.
    pub(super) fn push_ready(&mut self, arrival: Arrival<'_, P>, operation: Operation, digests: usize) {
        self.push(arrival, digests, Fate::without_store(conclude_without_store(operation)));
    }

    /// Adds a request that asks the store about its digests, those from `digests` on. `signature` is that of a signed
    /// count, and `failed` has the places that are not counted again if an earlier copy of it has failed.
    pub(super) fn push_waiting(
        &mut self,
        arrival: Arrival<'_, P>,
        operation: Operation,
        op: StoreOp,
        digests: usize,
        signature: Option<Digest>,
        failed: Option<Places>,
    ) {
        let start = self.calls.len();
        let done = failed.unwrap_or_default();
        self.calls.extend(calls(op, self.digests.split_at(digests).1, signature, done));
        let calls = Span { start, end: self.calls.len() };
        // Until the store has answered, the request has failed.
        let outcome = Err(Refusal::Store(StoreError::Unavailable));
        let (operation, repeated) = (Some(operation), failed.is_some());
        let fate = Fate { operation, signature, repeated, calls, outcome, uncounted: false };
        self.push(arrival, digests, fate);
    }

    fn push(&mut self, arrival: Arrival<'_, P>, digests: usize, fate: Fate) {
        let Arrival { place, peer, received, size, request } = arrival;
        let entry = Entry {
            place,
            peer,
            received,
            user: keep(&mut self.text, request.user),
            op: keep(&mut self.text, request.op),
            thread: request.thread.map(|thread| keep(&mut self.text, thread)),
            digests: Span { start: digests, end: self.digests.len() },
            budget: budget(size),
            forwarded: request.forwarded.is_some(),
            fate,
            reply: Span::default(),
        };
        self.entries.push(entry);
    }

    /// Concludes the requests from the answers to [`calls`](Self::calls), and has the guard settle each signed count.
    pub(super) fn conclude<L: Lock<GuardMemory>>(
        &mut self,
        answers: &[StoreAnswer],
        guard: &Guard<L>,
        bugs: &Cell<u64>,
    ) {
        self.counted.clear();
        self.counted.resize(self.calls.len(), false);
        for fate in self.entries.iter_mut().map(|entry| &mut entry.fate) {
            let Some(operation) = fate.operation else {
                bug(bugs, "a request without an operation waits for the store");
                continue;
            };
            let Some(answers) = answers.get(fate.calls.range()) else {
                bug(bugs, "the store has not answered all calls");
                fate.settle(part(&self.calls, fate.calls, bugs), |_| Err(StoreError::Unknown), guard);
                continue;
            };
            fate.outcome = conclude(operation, answers);
            let refuses = |answer: &StoreAnswer| answer.is_err_and(StoreError::is_refusal);
            fate.uncounted = !fate.repeated && answers.iter().all(refuses);
            let settled = fate.settle(
                part(&self.calls, fate.calls, bugs),
                |index| answers.get(index).copied().unwrap_or(Err(StoreError::Unknown)),
                guard,
            );
            if fate.outcome.is_ok() && !settled {
                // All that was asked for is counted; of what was not asked for again it is unknown.
                fate.outcome = Err(Refusal::Store(StoreError::Unknown));
            }
            let counted = self.counted.get_mut(fate.calls.range()).into_iter().flatten();
            for (counted, answer) in counted.zip(answers) {
                // What another server has counted is forwarded there.
                *counted = answer.is_ok() || fate.repeated && *answer == Err(StoreError::AlreadyCounted);
            }
        }
    }

    /// Refuses all requests for this error of the store, and has the guard settle each signed count.
    pub(super) fn refuse<L: Lock<GuardMemory>>(
        &mut self,
        error: StoreError,
        guard: &Guard<L>,
        bugs: &Cell<u64>,
    ) {
        for fate in self.entries.iter_mut().map(|entry| &mut entry.fate) {
            fate.outcome = Err(Refusal::Store(error));
            fate.uncounted = !fate.repeated && error.is_refusal();
            fate.settle(part(&self.calls, fate.calls, bugs), |_| Err(error), guard);
        }
    }

    /// Writes the replies. `copies_once` is whether the guard remembers signed counts.
    pub(super) fn write(&mut self, copies_once: bool, bugs: &Cell<u64>) {
        for entry in &mut self.entries {
            let thread = entry.thread.map(|thread| part(&self.text, thread, bugs));
            let start = self.replies.len();
            let assurance = if entry.forwarded {
                Assurance { copies_once, uncounted: entry.fate.uncounted }
            } else {
                Assurance::default()
            };
            write_reply(&mut self.replies, entry.fate.outcome, thread, assurance, entry.budget);
            entry.reply = Span { start, end: self.replies.len() };
        }
    }

    fn reply<'a>(&'a self, entry: &'a Entry<P>, bugs: &Cell<u64>) -> (&'a P, &'a [u8]) {
        (&entry.peer, part(&self.replies, entry.reply, bugs))
    }

    fn usage<'a>(&'a self, entry: &'a Entry<P>, bugs: &Cell<u64>) -> Usage<'a, P> {
        Usage {
            peer: &entry.peer,
            received: entry.received,
            user: part(&self.text, entry.user, bugs),
            op: part(&self.text, entry.op, bugs),
            digests: part(&self.digests, entry.digests, bugs),
            refusal: entry.fate.outcome.err(),
            hit: entry.fate.operation == Some(Operation::Check)
                && matches!(entry.fate.outcome, Ok(Success::Counts { reports: 1.., .. })),
        }
    }

    pub(super) fn counted<'a>(&'a self, bugs: &'a Cell<u64>) -> impl Iterator<Item = Counted>
    where
        P: Peer,
    {
        // A forwarded request is not forwarded again, or servers that forward to each other would never end.
        self.entries.iter().filter(|entry| !entry.forwarded).flat_map(|entry| {
            let calls = part(&self.calls, entry.fate.calls, bugs);
            let counted = self.counted.get(entry.fate.calls.range()).unwrap_or_default();
            let counted = calls.iter().zip(counted).filter(|(_, counted)| **counted);
            counted.filter_map(|(call, _)| Counted::by(call, entry.peer.network()))
        })
    }

    /// Moves the requests of `other` behind those of this set, their places behind `place`, and keeps the buffers of both.
    pub(super) fn append(&mut self, other: &mut Self, place: usize) {
        let [text, digests, calls, replies] =
            [self.text.len(), self.digests.len(), self.calls.len(), self.replies.len()];
        self.entries.extend(other.entries.drain(..).map(|entry| Entry {
            place: entry.place + place,
            user: entry.user.shifted(text),
            op: entry.op.shifted(text),
            thread: entry.thread.map(|thread| thread.shifted(text)),
            digests: entry.digests.shifted(digests),
            fate: Fate { calls: entry.fate.calls.shifted(calls), ..entry.fate },
            reply: entry.reply.shifted(replies),
            ..entry
        }));
        self.text.append(&mut other.text);
        self.digests.append(&mut other.digests);
        self.calls.append(&mut other.calls);
        self.counted.append(&mut other.counted);
        self.replies.append(&mut other.replies);
    }

    /// Moves those requests behind the ones of `other` for whose calls `moves` is true, their places behind `place`. Both
    /// sets keep their order. Returns the number of moved requests.
    pub(super) fn part(
        &mut self,
        other: &mut Self,
        place: usize,
        mut moves: impl FnMut(&[StoreCall]) -> bool,
    ) -> usize {
        let Self { entries, text, digests, calls, .. } = self;
        let (mut text_end, mut digests_end, mut calls_end, mut moved) = (0, 0, 0, 0);
        let parted = entries.extract_if(.., |entry| {
            let goes = moves(calls.get(entry.fate.calls.range()).unwrap_or_default());
            if goes {
                // Now: what stays moves down over these parts.
                moved += 1;
                entry.place = place + moved;
                entry.texts().for_each(|span| *span = copy(text, *span, &mut other.text));
                entry.digests = copy(digests, entry.digests, &mut other.digests);
                entry.fate.calls = copy(calls, entry.fate.calls, &mut other.calls);
            } else {
                entry.texts().for_each(|span| *span = move_down(text, *span, &mut text_end));
                entry.digests = move_down(digests, entry.digests, &mut digests_end);
                entry.fate.calls = move_down(calls, entry.fate.calls, &mut calls_end);
            }
            goes
        });
        other.entries.extend(parted);
        text.truncate(text_end);
        digests.truncate(digests_end);
        calls.truncate(calls_end);
        moved
    }

    /// Returns the peer and the calls of each request.
    pub(super) fn asking(&self) -> impl Iterator<Item = (&P, &[StoreCall])> {
        self.entries
            .iter()
            .map(|entry| (&entry.peer, self.calls.get(entry.fate.calls.range()).unwrap_or_default()))
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.digests.clear();
        self.calls.clear();
        self.counted.clear();
        self.replies.clear();
    }
}

/// Returns the replies of two sets, in the order in which their requests came in.
pub(super) fn replies<'a, P>(
    sets: [&'a Requests<P>; 2],
    bugs: &'a Cell<u64>,
) -> impl Iterator<Item = (&'a P, &'a [u8])> {
    in_order(sets).map(|(set, entry)| set.reply(entry, bugs))
}

/// Returns the usage of two sets, in the order in which their requests came in.
pub(super) fn usage<'a, P>(
    sets: [&'a Requests<P>; 2],
    bugs: &'a Cell<u64>,
) -> impl Iterator<Item = Usage<'a, P>> {
    in_order(sets).map(|(set, entry)| set.usage(entry, bugs))
}

fn in_order<P>([one, other]: [&Requests<P>; 2]) -> impl Iterator<Item = (&Requests<P>, &Entry<P>)> {
    let (mut left, mut right) = (one.entries.as_slice(), other.entries.as_slice());
    core::iter::from_fn(move || match (left.split_first(), right.split_first()) {
        (Some((entry, rest)), next) if next.is_none_or(|(next, _)| entry.place < next.place) => {
            left = rest;
            Some((one, entry))
        }
        (_, Some((entry, rest))) => {
            right = rest;
            Some((other, entry))
        }
        _ => None,
    })
}

impl<P> Entry<P> {
    /// Returns the parts of the text.
    fn texts(&mut self) -> impl Iterator<Item = &mut Span> {
        [&mut self.user, &mut self.op].into_iter().chain(&mut self.thread)
    }
}

impl Fate {
    /// Returns the fate of a request that is answered without the store.
    fn without_store(outcome: Outcome) -> Self {
        Self {
            operation: None,
            signature: None,
            repeated: false,
            calls: Span::default(),
            outcome,
            uncounted: false,
        }
    }

    /// Has the guard record the answers to the calls of a signed count. Returns whether nothing of it is uncertain.
    fn settle<L: Lock<GuardMemory>>(
        &self,
        calls: &[StoreCall],
        answer: impl Fn(usize) -> StoreAnswer,
        guard: &Guard<L>,
    ) -> bool {
        let Some(signature) = self.signature else { return true };
        let answers = calls.iter().enumerate();
        guard.settle(signature, answers.filter_map(|(index, call)| Some((call.mark?.place, answer(index)))))
    }
}

impl Span {
    const fn range(self) -> Range<usize> {
        self.start..self.end
    }

    const fn shifted(self, by: usize) -> Self {
        Self { start: self.start + by, end: self.end + by }
    }
}

fn keep(text: &mut Vec<u8>, part: &[u8]) -> Span {
    let start = text.len();
    text.extend_from_slice(part);
    Span { start, end: text.len() }
}

/// Copies a part of a buffer to the end of another one. Returns where it is there.
fn copy<T: Copy>(buffer: &[T], span: Span, to: &mut Vec<T>) -> Span {
    let start = to.len();
    to.extend_from_slice(buffer.get(span.range()).unwrap_or_default());
    Span { start, end: to.len() }
}

/// Moves a part of a buffer down to `end`, which it moves up behind it. Parts have the order of their requests, so that
/// none is overwritten that has not yet moved.
fn move_down<T: Copy>(buffer: &mut [T], span: Span, end: &mut usize) -> Span {
    debug_assert!(*end <= span.start && span.end <= buffer.len(), "the parts of a buffer are not in order");
    let start = *end;
    if buffer.get(span.range()).is_some_and(|_| start <= span.start) {
        buffer.copy_within(span.range(), start);
    }
    *end = start + (span.end - span.start);
    Span { start, end: *end }
}

/// Returns a part of a buffer. Every span is made from the buffer that it belongs to; one that does not fit is a bug,
/// which is counted.
fn part<'a, T>(buffer: &'a [T], span: Span, bugs: &Cell<u64>) -> &'a [T] {
    buffer.get(span.range()).unwrap_or_else(|| {
        bug(bugs, "a span does not fit its buffer");
        &[]
    })
}

/// Counts a bug. A debug build panics.
#[cold]
pub(super) fn bug(bugs: &Cell<u64>, what: &str) {
    debug_assert!(false, "{what}");
    bugs.set(bugs.get().saturating_add(1));
}
