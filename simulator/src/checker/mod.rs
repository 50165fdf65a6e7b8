//! Checks the invariants of a run from outside the server, with models of its own: of the rules, the records, the guard
//! and the timetable of upkeep.

mod guard_model;
mod order_model;
mod pending;
mod record_model;
mod reply;
mod upkeep_model;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use pyzord_core::{Ignored, Now, Record, StoreAnswer, StoreCall, StoreError, StoreOp, Tick};

use crate::invariant::{Checked, Invariant};
use crate::payload::{Content, Datagram};
use crate::rules::{Expected, Rules};
pub(crate) use guard_model::GuardModel;
use order_model::OrderModel;
use pending::PendingCopy;
use record_model::RecordModel;
use reply::Reply;
pub(crate) use upkeep_model::UpkeepModel;

/// The longest time to the reply to a copy, even with a full receive buffer and a database that hangs.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time to the reply to a copy that needs no database, even with a full receive buffer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest stop, even with a full receive buffer and a database that hangs.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// The shortest time between two attempts of a link to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// The most attempts of a link to connect in [`CONNECT_WINDOW`].
const CONNECT_ATTEMPTS: usize = 16;
const CONNECT_WINDOW: Duration = Duration::from_secs(10);
/// The longest time until a link is connected again to a healthy database.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The most batches in flight per connection.
const IN_FLIGHT: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// The copies that were received and have no reply yet, oldest first.
    pending: BTreeMap<u64, PendingCopy>,
    pub(crate) records: RecordModel,
    pub(crate) upkeep: UpkeepModel,
    pub(crate) order: OrderModel,
    guard: GuardModel,
    /// The latest end of a stop that has begun. During a stop no upkeep is due.
    stops_by: Option<Tick>,
    connects: BTreeMap<usize, Vec<Tick>>,
    pub(crate) answered: u64,
}

/// A copy in a batch, and the number of its store calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchEntry {
    pub(crate) copy: u64,
    pub(crate) calls: usize,
}

impl Checker {
    /// Creates a checker of servers with this guard.
    pub(crate) fn new(guard: GuardModel) -> Self {
        Self { guard, ..Self::default() }
    }

    /// Records that a running server received a datagram.
    pub(crate) fn received(&mut self, datagram: &Datagram, now: Tick) {
        self.pending.insert(datagram.copy, PendingCopy::new(datagram, now));
    }

    /// Checks that the server was right to accept or to ignore a copy under `rules`. Returns the store calls of an
    /// accepted copy.
    pub(crate) fn accepted(
        &mut self,
        copy: u64,
        rules: &Rules,
        now: Now,
        accepted: Result<(), Ignored>,
    ) -> Checked<Option<BatchEntry>> {
        let Some(pending) = self.pending.get_mut(&copy) else {
            return Err(Invariant::AnsweredOnce.broken(format!("copy {copy} was processed and not received")));
        };
        let expected = rules.expected(&pending.payload, pending.source.port(), now.wall.micros());
        let outlook = self.guard.expected(expected, pending.source, &pending.payload, now.tick, accepted)?;
        let expected = outlook.expected;
        (pending.expected, pending.done) = (Some(expected), outlook.done);
        pending.excused |= expected == Expected::Code(500);
        if accepted.is_err() {
            let correct = matches!(expected, Expected::NoReply | Expected::Unknown);
            self.pending.remove(&copy);
            let detail = || format!("copy {copy} is a request and was ignored: {accepted:?}");
            return Invariant::AnsweredOnce.holds(correct, detail).map(|()| None);
        }
        pending.check_may_be_answered(copy)?;
        let calls = self.granted_calls(copy);
        for call in &calls {
            self.records.granted(*call);
        }
        Ok(Some(BatchEntry { copy, calls: calls.len() }))
    }

    /// Checks the calls that the server is about to make for these copies.
    pub(crate) fn asks(&self, asked: &[BatchEntry], calls: &[StoreCall]) -> Checked {
        let granted: Vec<StoreCall> = asked.iter().flat_map(|entry| self.granted_calls(entry.copy)).collect();
        let is_repeated = |entry: &BatchEntry| {
            self.pending
                .get(&entry.copy)
                .is_some_and(|pending| pending.expected == Some(Expected::AlreadyCounted))
        };
        let repeated = asked.iter().any(is_repeated);
        let invariant = if repeated { Invariant::CopiesCountOnce } else { Invariant::OnlyGrantedCalls };
        let asked: Vec<StoreCall> = calls.iter().map(|call| StoreCall::new(call.digest, call.op)).collect();
        invariant.holds(granted == asked, || format!("granted was {granted:?}, the store is asked {calls:?}"))
    }

    /// Returns the store calls that the rules grant to a copy.
    fn granted_calls(&self, copy: u64) -> Vec<StoreCall> {
        let Some(PendingCopy { expected: Some(expected), payload, done, .. }) = self.pending.get(&copy)
        else {
            return Vec::new();
        };
        let Content::Request(request) = &payload.content else { return Vec::new() };
        let op = match expected {
            Expected::Report => StoreOp::Report,
            Expected::Whitelist => StoreOp::Whitelist,
            _ => StoreOp::Read,
        };
        let count = expected.calls(request.digests.len());
        let digests = request.digests.iter().take(count).zip(0..);
        digests
            .filter(|(_, place)| !done.contains(place))
            .map(|(digest, _)| StoreCall::new(*digest, op))
            .collect()
    }

    /// Records the answers that the server has to the calls of these copies.
    pub(crate) fn settles(&mut self, asked: &[BatchEntry], calls: &[StoreCall], answers: &[StoreAnswer]) {
        let mut answered = calls.iter().zip(answers);
        for BatchEntry { copy, calls } in asked {
            let own: Vec<_> = answered.by_ref().take(*calls).collect();
            for (call, answer) in &own {
                if let Some(mark) = call.mark {
                    self.guard.settles(mark, **answer);
                }
            }
            if let Some(pending) = self.pending.get_mut(copy) {
                let is_repeated =
                    |(_, answer): &(_, &StoreAnswer)| **answer == Err(StoreError::AlreadyCounted);
                pending.repeated = own.iter().map(is_repeated).collect();
            }
        }
    }

    /// Checks the store after it executed those of `calls` that are `applied`, with these answers. `stored` returns its
    /// records.
    pub(crate) fn applied(
        &mut self,
        now: Now,
        asked: &[BatchEntry],
        calls: &[StoreCall],
        applied: &[bool],
        answers: &[StoreAnswer],
        stored: impl FnMut(StoreCall) -> Record,
    ) -> Checked {
        self.order.applied(asked, calls, applied)?;
        let counted: Vec<bool> = applied
            .iter()
            .zip(answers)
            .map(|(applied, answer)| *applied && *answer != Err(StoreError::AlreadyCounted))
            .collect();
        for (call, counted) in calls.iter().zip(&counted) {
            if let (Some(mark), true) = (call.mark, counted) {
                self.guard.counted(mark)?;
            }
        }
        let records = self.records.applied(now.wall, calls, &counted, stored)?;
        let mut records = records.into_iter().zip(applied);
        for BatchEntry { copy, calls } in asked {
            let own: Vec<(Record, &bool)> = records.by_ref().take(*calls).collect();
            // A copy may have its reply already: the connection to a remote database was lost before.
            if let (Some(pending), Some((first, _))) = (self.pending.get_mut(copy), own.first()) {
                pending.record = Some(*first);
                pending.excused |= own.iter().any(|(_, applied)| !**applied);
            }
        }
        self.upkeep.touched(calls);
        Ok(())
    }

    /// Checks the bytes that the server sends to `peer` as its reply to a copy. Returns the code.
    pub(crate) fn replied(
        &mut self,
        copy: u64,
        peer: SocketAddr,
        bytes: &[u8],
        now: Tick,
        local: bool,
    ) -> Checked<u16> {
        let calls = self.granted_calls(copy);
        let Some(mut pending) = self.pending.remove(&copy) else {
            return Err(Invariant::AnsweredOnce.broken(format!("copy {copy} has another reply")));
        };
        self.order.answered(copy);
        pending.check_may_be_answered(copy)?;
        let reply = Reply::parse(bytes)?;
        pending.check_reply(copy, peer, bytes.len(), &reply)?;
        if !local && calls.is_empty() {
            let waited = now.since(pending.arrived);
            let detail = || format!("copy {copy} needs no database and has waited for {waited:?}");
            Invariant::PingsNeverWait.holds(waited <= PING_TIMEOUT, detail)?;
        }
        self.guard.answered(pending.expected, &pending.payload);
        pending.repeated.resize(calls.len(), false);
        for (call, repeated) in calls.into_iter().zip(&pending.repeated) {
            match reply.code {
                // An earlier call has counted what is acknowledged now.
                200 if *repeated => self.records.unanswered(call),
                200 => self.records.acknowledged(call)?,
                _ => self.records.unanswered(call),
            }
        }
        self.answered += 1;
        Ok(reply.code)
    }

    /// Records that the server was killed: the copies that it had received get no reply, and may have been counted.
    pub(crate) fn crashed(&mut self) {
        let copies: Vec<u64> = self.pending.keys().copied().collect();
        for copy in copies {
            for call in self.granted_calls(copy) {
                self.records.unanswered(call);
            }
            self.pending.remove(&copy);
        }
        (self.connects, self.stops_by) = (BTreeMap::new(), None);
        self.order = OrderModel::default();
        self.upkeep.ended();
        self.guard.ended();
    }

    /// Records that a stop begins.
    pub(crate) fn stops(&mut self, now: Tick) {
        self.stops_by.get_or_insert(now.after(STOP_TIMEOUT));
    }

    /// Checks that a stopped server has answered all.
    pub(crate) fn stopped(&mut self) -> Checked {
        let left = self.pending.len();
        Invariant::StopsAnswerAll.holds(left == 0, || format!("{left} copies have no reply after a stop"))?;
        self.crashed();
        Ok(())
    }

    /// Checks the number of batches in flight after one more was queued for the remote stores.
    pub(crate) fn batch_in_flight(&self, connections: usize, in_flight: usize) -> Checked {
        Invariant::InFlightIsBounded.holds(in_flight <= connections * IN_FLIGHT, || {
            format!("{in_flight} batches are in flight for {connections} connections")
        })
    }

    /// Checks that a batch was refused because too many are in flight.
    pub(crate) fn batch_refused(
        &mut self,
        connections: usize,
        in_flight: usize,
        asked: &[BatchEntry],
    ) -> Checked {
        self.excuse(asked);
        Invariant::RefusedForAReason.holds(in_flight >= connections * IN_FLIGHT, || {
            format!("a batch is refused while {in_flight} are in flight for {connections} connections")
        })
    }

    /// Checks that requests were refused because too many wait for others.
    pub(crate) fn wait_refused(&mut self, waiting: usize, asked: &[BatchEntry]) -> Checked {
        self.excuse(asked);
        Invariant::RefusedForAReason
            .holds(waiting > 0, || "requests find no room where none waits".to_owned())
    }

    /// Allows the code 500 for a batch whose connection was lost.
    pub(crate) fn excuse(&mut self, asked: &[BatchEntry]) {
        for BatchEntry { copy, .. } in asked {
            let pending = self.pending.get_mut(copy);
            debug_assert!(pending.is_some(), "copy {copy} is in a batch and not pending");
            if let Some(pending) = pending {
                pending.excused = true;
            }
        }
    }

    /// Checks a link without a connection to a database that is healthy since `healthy`. The link lost its last
    /// connection at `lost`.
    pub(crate) fn unconnected(&self, link: usize, healthy: Option<Tick>, lost: Tick, now: Tick) -> Checked {
        let in_time = healthy.is_none_or(|since| now.since(since.max(lost)) <= RECONNECT_TIMEOUT);
        let detail = || {
            format!(
                "link {link} has no connection; the database is healthy since {healthy:?}; lost at {lost:?}"
            )
        };
        Invariant::Recovers.holds(in_time, detail)
    }

    /// Checks the pauses between attempts to connect, before another one.
    pub(crate) fn connects(&mut self, link: usize, now: Tick) -> Checked {
        let attempts = self.connects.entry(link).or_default();
        attempts.retain(|attempt| now.since(*attempt) < CONNECT_WINDOW);
        let spaced = attempts.last().is_none_or(|last| now.since(*last) >= CONNECT_PAUSE);
        attempts.push(now);
        let few = attempts.len() <= CONNECT_ATTEMPTS;
        let detail = || format!("link {link} tried to connect at {attempts:?}");
        Invariant::ConnectsAreSpaced.holds(spaced && few, detail)
    }

    /// Checks the invariants that depend on time alone.
    pub(crate) fn time_passed(&self, now: Tick) -> Checked {
        if let Some((copy, oldest)) = self.pending.first_key_value() {
            let waited = now.since(oldest.arrived);
            let detail = || format!("copy {copy} has waited for {waited:?}");
            Invariant::AnsweredSoon.holds(waited <= REPLY_TIMEOUT, detail)?;
        }
        let Some(by) = self.stops_by else { return self.upkeep.in_time(now) };
        Invariant::StopsEnd.holds(now <= by, || format!("a stop has not ended after {STOP_TIMEOUT:?}"))
    }
}
