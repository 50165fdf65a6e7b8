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

/// A rate per host, `None` for no limit, and when each host used it.
#[derive(Debug, Default)]
struct HostLimit {
    rate: Option<Rate>,
    passed: BTreeMap<IpAddr, Vec<Tick>>,
}

impl GuardModel {
    pub(crate) fn new(copies: bool, requests: Option<Rate>, failures: Option<Rate>) -> Self {
        let limit = |rate| HostLimit { rate, passed: BTreeMap::new() };
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
            return self.requests.refused(source.ip(), now).map(|()| Expected::NoReply);
        }
        self.requests.passed(source.ip(), now)?;
        if accepted == Err(Ignored::TooManyFailures) {
            // Wrong signatures with a forged address must not affect correct requests from that address.
            let detail = || format!("{source} is refused for wrong signatures, and {expected:?} is expected");
            Invariant::AllWithinLimitsAreServed.holds(expected == Expected::Code(401), detail)?;
            return self.failures.refused(source.ip(), now).map(|()| Expected::NoReply);
        }
        if expected == Expected::Code(401) {
            return self.failures.passed(source.ip(), now).map(|()| expected);
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

impl HostLimit {
    /// Checks that the server may process one more datagram of a host.
    fn passed(&mut self, host: IpAddr, now: Tick) -> Checked {
        let Some(rate) = self.rate else { return Ok(()) };
        let passed = self.passed.entry(host).or_default();
        passed.push(now);
        for (begin, number) in passed.iter().rev().zip(1_u64..) {
            let seconds = (now.since(*begin) + SLACK).as_secs();
            let most = u64::from(rate.burst.get()) + u64::from(rate.per_second.get()) * (seconds + 1);
            Invariant::LimitsHold
                .holds(number <= most, || format!("{number} of {host} in {seconds} s: {rate:?}"))?;
        }
        Ok(())
    }

    /// Checks that a host whose datagram was refused has used its rate.
    fn refused(&self, host: IpAddr, now: Tick) -> Checked {
        let Some(rate) = self.rate else {
            return Err(
                Invariant::AllWithinLimitsAreServed.broken(format!("{host} is refused and has no limit"))
            );
        };
        let burst = u64::from(rate.burst.get());
        let refill = Duration::from_secs(burst) / rate.per_second.get() + SLACK;
        let passed = self.passed.get(&host).into_iter().flatten();
        let recent = passed.filter(|passed| now.since(**passed) <= refill).count() as u64;
        let detail = || format!("{host} is refused after {recent} in {refill:?}: {rate:?}");
        Invariant::AllWithinLimitsAreServed.holds(recent >= burst, detail)
    }
}
