//! What a server must remember of earlier requests: signed counts, and how much each host has asked for. Written down
//! without its tables: all that was, for as long as the server lives.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Rate, Reason, Tick};

use crate::invariant::{Checked, Invariant};
use crate::law::Verdict;
use crate::message::{Content, Parcel};

/// A signature is valid for ten minutes, the last moment included.
const WINDOW: Duration = Duration::from_secs(601);
/// Workers read their clocks, and judge what they have received a little later.
const SLACK: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Whether the server remembers signed counts.
    copies: bool,
    requests: Limit,
    failures: Limit,
    counts: BTreeMap<Arc<[u8]>, Count>,
}

/// A signed count that was granted.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Whether it was acknowledged; else it waits for the store.
    acknowledged: bool,
    forgotten: Tick,
}

/// So much at once and so much in the long run, for each host.
#[derive(Debug)]
struct Limit {
    rate: Rate,
    passed: BTreeMap<IpAddr, Vec<Tick>>,
}

impl Past {
    pub(crate) fn new(copies: bool, requests: Rate, failures: Rate) -> Self {
        let limit = |rate| Limit { rate, ..Limit::default() };
        Self { copies, requests: limit(requests), failures: limit(failures), counts: BTreeMap::new() }
    }

    /// There is no server any more: the next one knows nothing.
    pub(super) fn ended(&mut self) {
        *self = Self::new(self.copies, self.requests.rate, self.failures.rate);
    }

    /// What must become of a datagram which is the law's `verdict`, as the past is.
    pub(super) fn verdict(
        &mut self,
        verdict: Verdict,
        source: SocketAddr,
        parcel: &Parcel,
        now: Tick,
        accepted: Result<(), Reason>,
    ) -> Checked<Verdict> {
        if source.port() == 0 {
            return Ok(verdict);
        }
        if accepted == Err(Reason::TooManyRequests) {
            return self.requests.refused(source.ip(), now).map(|()| Verdict::Silence);
        }
        self.requests.passed(source.ip(), now)?;
        if accepted == Err(Reason::TooManyFailures) {
            // Whoever forges an address can send wrong signatures in its name.
            let detail = || format!("{source} is refused for wrong signatures, and law says {verdict:?}");
            Invariant::TheHonestAreServed.holds(verdict == Verdict::Code(401), detail)?;
            return self.failures.refused(source.ip(), now).map(|()| Verdict::Silence);
        }
        if verdict == Verdict::Code(401) {
            return self.failures.passed(source.ip(), now).map(|()| verdict);
        }
        if !self.copies || !is_signed_count(verdict, parcel) {
            return Ok(verdict);
        }
        match self.counts.get(&*parcel.bytes).filter(|count| count.forgotten > now) {
            Some(Count { acknowledged: true, .. }) => Ok(Verdict::Again),
            Some(_) => {
                let detail = || format!("a copy is taken while the first one waits: {:?}", parcel.content);
                Invariant::CopiesCountOnce.holds(accepted.is_err(), detail).map(|()| Verdict::Silence)
            }
            None => {
                let count = Count { acknowledged: false, forgotten: now.after(WINDOW) };
                self.counts.insert(parcel.bytes.as_slice().into(), count);
                Ok(verdict)
            }
        }
    }

    /// A request that had this verdict was answered.
    pub(super) fn answered(&mut self, verdict: Option<Verdict>, parcel: &Parcel, code: u16) {
        if !verdict.is_some_and(|verdict| is_signed_count(verdict, parcel)) {
            return;
        }
        if code != 200 {
            self.counts.remove(&*parcel.bytes);
        } else if let Some(count) = self.counts.get_mut(&*parcel.bytes) {
            count.acknowledged = true;
        }
    }
}

fn is_signed_count(verdict: Verdict, parcel: &Parcel) -> bool {
    let counts = matches!(verdict, Verdict::Report | Verdict::Whitelist);
    counts && matches!(&parcel.content, Content::Request(message) if message.signer.is_some())
}

impl Limit {
    /// The server has looked at something of a host.
    fn passed(&mut self, host: IpAddr, now: Tick) -> Checked {
        let Rate { per_second, burst, .. } = self.rate;
        if per_second == 0 {
            return Ok(());
        }
        let passed = self.passed.entry(host).or_default();
        passed.push(now);
        for (begin, number) in passed.iter().rev().zip(1_u64..) {
            let seconds = (now.since(*begin) + SLACK).as_secs();
            let most = u64::from(burst) + u64::from(per_second) * (seconds + 1);
            Invariant::LimitsHold
                .holds(number <= most, || format!("{number} of {host} in {seconds} s: {:?}", self.rate))?;
        }
        Ok(())
    }

    /// The server did not look at something of a host, who must have asked for all that he may.
    fn refused(&self, host: IpAddr, now: Tick) -> Checked {
        let Rate { per_second, burst, .. } = self.rate;
        let refill = Duration::from_secs(u64::from(burst)) / per_second.max(1) + SLACK;
        let passed = self.passed.get(&host).into_iter().flatten();
        let lately = passed.filter(|passed| now.since(**passed) <= refill).count() as u64;
        let over = per_second != 0 && lately >= burst.into();
        let detail = || format!("{host} is refused after {lately} in {refill:?}: {:?}", self.rate);
        Invariant::TheHonestAreServed.holds(over, detail)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self { rate: Rate::UNLIMITED, passed: BTreeMap::new() }
    }
}
