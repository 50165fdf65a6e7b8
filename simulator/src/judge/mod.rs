//! Watches a run from outside the server and knows what must be. It has models of its own: of the rules, of
//! the records, of who waits for what.

mod counts;
mod past;
mod replies;
mod upkeep;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Now, Reason, Record, StoreCall, StoreOp, Tick};

use crate::invariant::{Checked, Invariant};
use crate::law::{Rules, Verdict};
use crate::message::{Content, Datagram, Parcel};
use counts::Counts;
pub(crate) use past::Past;
pub(crate) use upkeep::Upkeep;

/// Every copy has its answer after this long, even behind a full receive buffer and a database that hangs.
const SOON: Duration = Duration::from_secs(10);
/// A stop takes no longer, even with a full receive buffer and a database that hangs.
const STOP: Duration = Duration::from_secs(15);
/// Attempts to connect over one link are this far apart.
const PAUSE: Duration = Duration::from_millis(100);
/// The most attempts over one link in [`WINDOW`].
const ATTEMPTS: usize = 16;
const WINDOW: Duration = Duration::from_secs(10);
/// A link has a connection again after so long, if the database is well.
const BACK: Duration = Duration::from_secs(2);
/// The most batches in flight for each connection.
const IN_FLIGHT: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// The copies that were received and not yet answered, oldest first.
    open: BTreeMap<u64, Copy>,
    pub(crate) counts: Counts,
    pub(crate) upkeep: Upkeep,
    past: Past,
    /// When a stop that has begun must have ended. There is no upkeep any more.
    stops_by: Option<Tick>,
    in_flight: usize,
    connects: BTreeMap<usize, Vec<Tick>>,
    pub(crate) answered: u64,
}

/// One datagram on its way through the server.
#[derive(Debug)]
struct Copy {
    source: SocketAddr,
    parcel: Arc<Parcel>,
    arrived: Tick,
    /// Known once it is judged.
    verdict: Option<Verdict>,
    /// What a read must say, known once the store was asked.
    record: Option<Record>,
    /// It may be answered with 500.
    excused: bool,
}

/// A copy in a batch, and how many calls of the batch are its.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) copy: u64,
    pub(crate) calls: usize,
}

impl Judge {
    /// A judge of servers that remember so much.
    pub(crate) fn new(past: Past) -> Self {
        Self { past, ..Self::default() }
    }

    /// A living server received a datagram.
    pub(crate) fn received(&mut self, datagram: &Datagram, now: Tick) {
        let Datagram { copy, source, parcel } = datagram.clone();
        self.open
            .insert(copy, Copy { source, parcel, arrived: now, verdict: None, record: None, excused: false });
    }

    /// The server judged a copy by `rules`. Gives what it must ask the store for it, if it goes on.
    pub(crate) fn judged(
        &mut self,
        copy: u64,
        rules: &Rules,
        now: Now,
        accepted: Result<(), Reason>,
    ) -> Checked<Option<Asked>> {
        let Some(open) = self.open.get_mut(&copy) else { return Ok(None) };
        let verdict = rules.verdict(&open.parcel, open.source.port(), now.wall.micros());
        let verdict = self.past.verdict(verdict, open.source, &open.parcel, now.tick, accepted)?;
        open.verdict = Some(verdict);
        if accepted.is_err() {
            let lawful = matches!(verdict, Verdict::Silence | Verdict::Unknown);
            self.open.remove(&copy);
            let detail = || format!("copy {copy} is a request and was ignored: {accepted:?}");
            return Invariant::AnsweredOnce.holds(lawful, detail).map(|()| None);
        }
        self.check_silence(copy)?;
        let calls = self.granted_calls(copy);
        for call in &calls {
            self.counts.granted(*call);
        }
        Ok(Some(Asked { copy, calls: calls.len() }))
    }

    /// The server is about to ask the store `calls` for these copies.
    pub(crate) fn asks(&self, asked: &[Asked], calls: &[StoreCall]) -> Checked {
        let granted: Vec<StoreCall> = asked.iter().flat_map(|asked| self.granted_calls(asked.copy)).collect();
        let is_copy = |asked: &Asked| {
            self.open.get(&asked.copy).is_some_and(|open| open.verdict == Some(Verdict::Again))
        };
        let copies = asked.iter().any(is_copy);
        let invariant = if copies { Invariant::CopiesCountOnce } else { Invariant::OnlyGrantedCalls };
        invariant.holds(granted == calls, || format!("granted was {granted:?}, the store is asked {calls:?}"))
    }

    /// What the law lets a copy ask the store.
    fn granted_calls(&self, copy: u64) -> Vec<StoreCall> {
        let Some(Copy { verdict: Some(verdict), parcel, .. }) = self.open.get(&copy) else {
            return Vec::new();
        };
        let Content::Request(message) = &parcel.content else { return Vec::new() };
        let op = match verdict {
            Verdict::Report => StoreOp::Report,
            Verdict::Whitelist => StoreOp::Whitelist,
            _ => StoreOp::Read,
        };
        let count = verdict.calls(message.digests.len());
        message.digests.iter().take(count).map(|digest| StoreCall { digest: *digest, op }).collect()
    }

    /// The store did those of `calls` that are `applied`. `stored` gives its records after that.
    pub(crate) fn applied(
        &mut self,
        now: pyzord_core::UnixTime,
        asked: &[Asked],
        calls: &[StoreCall],
        applied: &[bool],
        stored: impl FnMut(StoreCall) -> Record,
    ) -> Checked {
        let records = self.counts.applied(now, calls, applied, stored)?;
        let mut records = records.into_iter().zip(applied);
        for Asked { copy, calls } in asked {
            let own: Vec<(Record, &bool)> = records.by_ref().take(*calls).collect();
            if let (Some(open), Some((first, _))) = (self.open.get_mut(copy), own.first()) {
                open.record = Some(*first);
                open.excused |= own.iter().any(|(_, applied)| !**applied);
            }
        }
        self.upkeep.touched(calls);
        Ok(())
    }

    /// A copy is gone without an answer, and may or may not have been counted.
    pub(crate) fn dropped(&mut self, copy: u64) {
        for call in self.granted_calls(copy) {
            self.counts.unanswered(call);
        }
        self.open.remove(&copy);
    }

    /// The server was killed: what it had received has no answer.
    pub(crate) fn crashed(&mut self) {
        let copies: Vec<u64> = self.open.keys().copied().collect();
        copies.into_iter().for_each(|copy| self.dropped(copy));
        (self.in_flight, self.connects, self.stops_by) = (0, BTreeMap::new(), None);
        self.upkeep.ended();
        self.past.ended();
    }

    /// The server is told to stop.
    pub(crate) fn stops(&mut self, now: Tick) {
        self.stops_by.get_or_insert(now.after(STOP));
    }

    /// The server has stopped.
    pub(crate) fn stopped(&mut self) -> Checked {
        let left = self.open.len();
        Invariant::StopsAnswerAll
            .holds(left == 0, || format!("{left} copies have no answer after a stop"))?;
        self.crashed();
        Ok(())
    }

    /// A batch was handed over to the remote stores, of which there are so many.
    pub(crate) fn batch_in_flight(&mut self, connections: usize) -> Checked {
        self.in_flight += 1;
        let in_flight = self.in_flight;
        Invariant::InFlightIsBounded.holds(in_flight <= connections * IN_FLIGHT, || {
            format!("{in_flight} batches are in flight for {connections} connections")
        })
    }

    /// A batch was refused, as too many are in flight.
    pub(crate) fn batch_refused(&mut self, connections: usize, asked: &[Asked]) -> Checked {
        let in_flight = self.in_flight;
        self.excuse(asked);
        Invariant::RefusedForACause.holds(in_flight == connections * IN_FLIGHT, || {
            format!("a batch is refused while {in_flight} are in flight for {connections} connections")
        })
    }

    /// A batch has no answers, since its connection was lost.
    pub(crate) fn excuse(&mut self, asked: &[Asked]) {
        for Asked { copy, .. } in asked {
            if let Some(open) = self.open.get_mut(copy) {
                open.excused = true;
            }
        }
    }

    /// A link has no connection to a database that has been well since `well`, and it last lost one at
    /// `lost`.
    pub(crate) fn unconnected(&self, link: usize, well: Option<Tick>, lost: Tick, now: Tick) -> Checked {
        let away = well.is_none_or(|since| now.since(since.max(lost)) <= BACK);
        let detail = || format!("link {link} is not back, the database is since {well:?}; lost at {lost:?}");
        Invariant::ComesBack.holds(away, detail)
    }

    pub(crate) fn batch_landed(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A link tries to connect.
    pub(crate) fn connects(&mut self, link: usize, now: Tick) -> Checked {
        let attempts = self.connects.entry(link).or_default();
        attempts.retain(|attempt| now.since(*attempt) < WINDOW);
        let spaced = attempts.last().is_none_or(|last| now.since(*last) >= PAUSE);
        attempts.push(now);
        let few = attempts.len() <= ATTEMPTS;
        let detail = || format!("link {link} tried to connect at {attempts:?}");
        Invariant::ConnectsAreSpaced.holds(spaced && few, detail)
    }

    /// Whatever depends on time alone.
    pub(crate) fn time_passed(&self, now: Tick) -> Checked {
        if let Some((copy, oldest)) = self.open.first_key_value() {
            let waited = now.since(oldest.arrived);
            let detail = || format!("copy {copy} has waited for {waited:?}");
            Invariant::AnsweredSoon.holds(waited <= SOON, detail)?;
        }
        let Some(by) = self.stops_by else { return self.upkeep.in_time(now) };
        Invariant::StopsEnd.holds(now <= by, || format!("a stop has not ended {STOP:?} later"))
    }
}
