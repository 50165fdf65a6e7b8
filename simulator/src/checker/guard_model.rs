//! The model of the guard: signed counts, and the requests of each host. It keeps all of them for the lifetime of a
//! server, where the guard has tables of a fixed size.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Ignored, Rate, Tick};

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
    requests: HostLimit,
    failures: HostLimit,
    signed: BTreeMap<Arc<[u8]>, SignedCount>,
}

/// A signed count that was granted.
#[derive(Clone, Copy, Debug)]
struct SignedCount {
    /// Whether it was acknowledged; otherwise it waits for the store.
    acknowledged: bool,
    forgotten: Tick,
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
    pub(crate) fn new(copies: bool, requests: Option<Rate>, failures: Option<Rate>) -> Self {
        let limit = |rate| HostLimit { rate, used: BTreeMap::new() };
        Self { copies, requests: limit(requests), failures: limit(failures), signed: BTreeMap::new() }
    }

    /// Forgets everything: the server has ended, and the next one starts empty.
    pub(super) fn ended(&mut self) {
        *self = Self::new(self.copies, self.requests.rate, self.failures.rate);
    }

    /// Returns what becomes of a datagram for which the rules expect `expected`, after earlier requests.
    pub(super) fn expected(
        &mut self,
        expected: Expected,
        source: SocketAddr,
        payload: &Payload,
        now: Tick,
        accepted: Result<(), Ignored>,
    ) -> Checked<Expected> {
        if source.port() == 0 {
            return Ok(expected);
        }
        if accepted == Err(Ignored::TooManyRequests) {
            return self.requests.refused(source.ip(), cost(payload), now).map(|()| Expected::NoReply);
        }
        self.requests.passed(source.ip(), cost(payload), now)?;
        if accepted == Err(Ignored::TooManyFailures) {
            // Wrong signatures with a forged address must not affect correct requests from that address.
            let detail = || format!("{source} is refused for wrong signatures, and {expected:?} is expected");
            Invariant::AllWithinLimitsAreServed.holds(expected == Expected::Code(401), detail)?;
            return self.failures.refused(source.ip(), 1, now).map(|()| Expected::NoReply);
        }
        if expected == Expected::Code(401) {
            return self.failures.passed(source.ip(), 1, now).map(|()| expected);
        }
        if !self.copies || !is_signed_count(expected, payload) {
            return Ok(expected);
        }
        match self.signed.get(&*payload.bytes).filter(|count| count.forgotten > now) {
            Some(SignedCount { acknowledged: true, .. }) => Ok(Expected::AlreadyCounted),
            Some(_) => {
                let detail =
                    || format!("a copy is accepted while the first one waits: {:?}", payload.content);
                Invariant::CopiesCountOnce.holds(accepted.is_err(), detail).map(|()| Expected::NoReply)
            }
            None => {
                let count = SignedCount { acknowledged: false, forgotten: now.after(WINDOW) };
                self.signed.insert(payload.bytes.as_slice().into(), count);
                Ok(expected)
            }
        }
    }

    /// Records the reply to a request.
    pub(super) fn answered(&mut self, expected: Option<Expected>, payload: &Payload, code: u16) {
        if !expected.is_some_and(|expected| is_signed_count(expected, payload)) {
            return;
        }
        if code != 200 {
            self.signed.remove(&*payload.bytes);
        } else if let Some(count) = self.signed.get_mut(&*payload.bytes) {
            count.acknowledged = true;
        }
    }
}

fn is_signed_count(expected: Expected, payload: &Payload) -> bool {
    let counts = matches!(expected, Expected::Report | Expected::Whitelist);
    counts && matches!(&payload.content, Content::Request(request) if request.signer.is_some())
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
