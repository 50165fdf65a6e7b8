//! The model of the guard: signed counts, and the requests of each host. It keeps all of them for the lifetime of a
//! server, where the guard has tables of a fixed size.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pyzord_core::{Digest, Ignored, Mark, Rate, Request, StoreAnswer, StoreError, Tick};

use crate::invariant::{Checked, Invariant};
use crate::payload::{Content, Payload};
use crate::rules::Expected;

/// A signature is valid for ten minutes, the last second included.
const WINDOW: Duration = Duration::from_secs(601);
/// A worker reads its clock when it receives a batch, and accepts the datagrams a little later.
const SLACK: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct GuardModel {
    /// Whether the server remembers signed counts.
    copies: bool,
    /// Whether the database keeps marks.
    marks: bool,
    requests: HostLimit,
    failures: HostLimit,
    signed: BTreeMap<Digest, SignedCount>,
    /// The marks of counts, as long as none of them may be counted again.
    counted: BTreeSet<Mark>,
    /// Until when this holds for each signature.
    marked_until: BTreeMap<Digest, Tick>,
}

/// Places of digests in a request.
pub(super) type Places = BTreeSet<u8>;

/// A signed count that was granted.
#[derive(Clone, Debug)]
struct SignedCount {
    /// Whether it waits for the store.
    waits: bool,
    /// The places that are not asked for again.
    done: Places,
    /// Those of them that may not have been counted.
    unknown: Places,
    forgotten: Tick,
}

/// What becomes of a datagram after earlier requests.
pub(super) struct Outlook {
    pub(super) expected: Expected,
    /// The places of digests that earlier copies have settled.
    pub(super) done: Places,
}

/// A rate per host, `None` for no limit, and what each host used of it.
#[derive(Debug, Default)]
struct HostLimit {
    rate: Option<Rate>,
    used: BTreeMap<IpAddr, Vec<Use>>,
}

/// What a datagram has cost.
#[derive(Clone, Copy, Debug)]
struct Use {
    at: Tick,
    cost: u64,
    passed: bool,
}

impl GuardModel {
    pub(crate) fn new(copies: bool, marks: bool, requests: Option<Rate>, failures: Option<Rate>) -> Self {
        let limit = |rate| HostLimit { rate, used: BTreeMap::new() };
        let (requests, failures) = (limit(requests), limit(failures));
        Self { copies, marks, requests, failures, ..Self::default() }
    }

    /// Forgets everything: the server has ended, and the next one starts empty. The database may keep its marks.
    pub(super) fn ended(&mut self) {
        let ended = std::mem::take(self);
        *self = Self::new(ended.copies, ended.marks, ended.requests.rate, ended.failures.rate);
        if self.marks {
            (self.counted, self.marked_until) = (ended.counted, ended.marked_until);
        }
    }

    /// Records that the store has counted.
    pub(super) fn counted(&mut self, mark: Mark) -> Checked {
        let first = self.counted.insert(mark);
        Invariant::CopiesCountOnce.holds(first, || format!("{mark:?} is counted again"))
    }

    /// Records the answer that the server has to a call.
    pub(super) fn settles(&mut self, mark: Mark, answer: StoreAnswer) {
        let Some(count) = self.signed.get_mut(&mark.signature) else { return };
        match answer {
            Ok(_) | Err(StoreError::AlreadyCounted) => drop(count.done.insert(mark.place)),
            Err(StoreError::Unknown) => {
                count.done.insert(mark.place);
                count.unknown.insert(mark.place);
            }
            Err(_) => (),
        }
    }

    /// Returns what becomes of a datagram for which the rules expect `expected`, after earlier requests.
    pub(super) fn expected(
        &mut self,
        expected: Expected,
        source: SocketAddr,
        payload: &Payload,
        now: Tick,
        accepted: Result<(), Ignored>,
    ) -> Checked<Outlook> {
        let first = |expected| Ok(Outlook { expected, done: Places::new() });
        if source.port() == 0 {
            return first(expected);
        }
        if accepted == Err(Ignored::TooManyRequests) {
            self.requests.refused(source.ip(), cost(payload), now)?;
            return first(Expected::NoReply);
        }
        self.requests.passed(source.ip(), cost(payload), now)?;
        if accepted == Err(Ignored::TooManyFailures) {
            // Wrong signatures with a forged address must not affect correct requests from that address.
            let detail = || format!("{source} is refused for wrong signatures, and {expected:?} is expected");
            Invariant::AllWithinLimitsAreServed.holds(expected == Expected::Code(401), detail)?;
            self.failures.refused(source.ip(), 1, now)?;
            return first(Expected::NoReply);
        }
        if expected == Expected::Code(401) {
            self.failures.passed(source.ip(), 1, now)?;
            return first(expected);
        }
        let signed = signed_count(expected, payload).filter(|_| self.copies);
        let Some((signature, digests)) = signed else { return first(expected) };
        match self.signed.get_mut(&signature).filter(|count| count.forgotten > now) {
            Some(count) if count.waits => {
                let detail =
                    || format!("a copy is accepted while the first one waits: {:?}", payload.content);
                Invariant::CopiesCountOnce.holds(accepted.is_err(), detail)?;
                first(Expected::NoReply)
            }
            Some(count) if count.done.len() < digests => {
                count.waits = true;
                Ok(Outlook { expected, done: count.done.clone() })
            }
            Some(count) if count.unknown.is_empty() => first(Expected::AlreadyCounted),
            // It must not be counted again, and must not be said to be counted.
            Some(_) => first(Expected::Code(500)),
            None => {
                let (done, unknown) = (Places::new(), Places::new());
                let count = SignedCount { waits: true, done, unknown, forgotten: now.after(WINDOW) };
                self.signed.insert(signature, count);
                if self.marked_until.get(&signature).is_none_or(|until| *until <= now) {
                    self.counted.retain(|mark| mark.signature != signature);
                    self.marked_until.insert(signature, now.after(WINDOW));
                }
                first(expected)
            }
        }
    }

    /// Records the reply to a request.
    pub(super) fn answered(&mut self, expected: Option<Expected>, payload: &Payload) {
        let signed = expected.and_then(|expected| signed_count(expected, payload));
        if let Some(count) = signed.and_then(|(signature, _)| self.signed.get_mut(&signature)) {
            count.waits = false;
        }
    }
}

/// Returns the signature and the number of digests of a signed count.
fn signed_count(expected: Expected, payload: &Payload) -> Option<(Digest, usize)> {
    let Content::Request(request) = &payload.content else { return None };
    if !matches!(expected, Expected::Report | Expected::Whitelist) || request.signer.is_none() {
        return None;
    }
    let signature = Request::parse(&payload.bytes)?.signature.and_then(Digest::parse)?;
    Some((signature, request.digests.len()))
}

/// Returns what a datagram costs of the limit of requests: as much as it has digests, and at least 1.
fn cost(payload: &Payload) -> u64 {
    let Content::Request(request) = &payload.content else { return 1 };
    (request.digests.len() as u64 + u64::from(request.bad_digest)).max(1)
}

impl HostLimit {
    /// Checks that the server may process one more datagram of a host.
    fn passed(&mut self, host: IpAddr, cost: u64, now: Tick) -> Checked {
        let Some(rate) = self.rate else { return Ok(()) };
        let used = self.used.entry(host).or_default();
        used.push(Use { at: now, cost, passed: true });
        let (mut sum, mut largest) = (0, 0);
        for Use { at, cost, .. } in used.iter().rev().filter(|used| used.passed) {
            (sum, largest) = (sum + cost, largest.max(*cost));
            let seconds = (now.since(*at) + SLACK).as_secs();
            // A request that costs more than a burst passes if all of the burst is there.
            let most =
                u64::from(rate.burst.get()).max(largest) + u64::from(rate.per_second.get()) * (seconds + 1);
            Invariant::LimitsHold
                .holds(sum <= most, || format!("{sum} digests of {host} in {seconds} s: {rate:?}"))?;
        }
        Ok(())
    }

    /// Checks that a host whose datagram was refused has used its rate.
    fn refused(&mut self, host: IpAddr, cost: u64, now: Tick) -> Checked {
        let Some(rate) = self.rate else {
            return Err(
                Invariant::AllWithinLimitsAreServed.broken(format!("{host} is refused and has no limit"))
            );
        };
        let burst = u64::from(rate.burst.get());
        let used = self.used.entry(host).or_default();
        // The host may still pay for its largest request.
        let largest = used.iter().map(|used| used.cost).max().unwrap_or_default();
        let refill = Duration::from_secs(burst + largest) / rate.per_second.get() + SLACK;
        let recent = used.iter().filter(|used| now.since(used.at) <= refill);
        let recent: u64 = recent.map(|used| used.cost).sum();
        // One of its tokens was taken before its digests were known.
        used.push(Use { at: now, cost: 1, passed: false });
        let detail = || format!("{host} is refused {cost} after {recent} in {refill:?}: {rate:?}");
        // The clock of the worker that took the earlier tokens may be ahead.
        let most = burst.saturating_sub(u64::from(rate.per_second.get()));
        Invariant::AllWithinLimitsAreServed.holds(recent > 0 && recent + cost > most, detail)
    }
}
