//! All figures of a running server, whether a status page shows them or not.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use pyzord_core::Tick;
use pyzord_runtime::{Clock, Counters, Counts, Details, ForwardingView};

use super::history::{History, Moment, Totals};
use super::rates::Rates;
use super::snapshot::{Facts, Snapshot, replies};
use super::{document, exposition};
use crate::health::Health;

/// How many of the networks with the most datagrams are listed.
const TOP_CLIENTS: usize = 20;
/// The pause between two looks at the counters, in milliseconds.
const PERIOD: u16 = 1000;

/// The sources of the figures. The status page and the control socket read them, and no worker waits for a reader.
#[derive(Debug)]
pub(crate) struct Figures {
    facts: Facts,
    counters: Arc<Counters>,
    health: Health,
    rates: Rates,
    history: History,
    /// `None` if nothing is forwarded.
    forwarding: Option<ForwardingView>,
}

impl Figures {
    pub(crate) fn new(
        facts: Facts,
        counters: Arc<Counters>,
        health: Health,
        forwarding: Option<ForwardingView>,
    ) -> Self {
        let history = History::new(moment(counters.clock()));
        Self { facts, counters, health, rates: Rates::default(), history, forwarding }
    }

    /// Returns the status document: JSON on one line. It waits at most half a second for a database that hangs.
    ///
    /// # Errors
    /// Only by a bug: all that it has can be written as JSON.
    pub(crate) fn document(&self) -> serde_json::Result<String> {
        document::write(&self.snapshot())
    }

    /// Returns the history: JSON on one line.
    ///
    /// # Errors
    /// Only by a bug, as for the status document.
    pub(crate) fn history(&self) -> serde_json::Result<String> {
        self.history.document(moment(self.clock()))
    }

    /// Keeps the rates of the last seconds and the history, until the peer of `end` is closed. It waits for no disk and no
    /// database.
    pub(crate) fn keep(&self, end: &UnixStream) {
        loop {
            match poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], PERIOD) {
                Ok(0) | Err(Errno::EINTR) => (),
                Ok(_) | Err(_) => return,
            }
            self.rates.sample(self.clock().tick(), &self.counters.counts(), &self.counters.details(0));
            self.history.observe(moment(self.clock()), self.health.last_verdict().level(), || self.totals());
        }
    }

    fn totals(&self) -> Totals {
        let (counts, details) = (self.counters.counts(), self.counters.details(0));
        let Facts { kernel_drops, tells_new_records, .. } = &self.facts;
        let kernel_drops = kernel_drops.count().unwrap_or(0);
        Totals {
            new_records: tells_new_records.then_some(details.new_records),
            ..totals(&counts, details, kernel_drops)
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn clock(&self) -> Clock {
        self.counters.clock()
    }

    /// Returns the metrics for Prometheus.
    pub(super) fn exposition(&self) -> String {
        exposition::write(&self.snapshot())
    }

    fn snapshot(&self) -> Snapshot<'_> {
        let now = self.clock().now();
        let verdict = self.health.verdict();
        let (counts, details) = (self.counters.counts(), self.counters.details(TOP_CLIENTS));
        Snapshot {
            rates: self.rates.read(now.tick, &counts, &details),
            facts: &self.facts,
            settings: self.facts.settings.current(),
            uptime: now.tick.since(Tick::default()),
            now,
            verdict,
            store_answers: self.health.store_answers(),
            records: self.health.records(),
            disk_use: self.health.disk_use(),
            kernel_drops: self.facts.kernel_drops.count(),
            errors: self.facts.logs.last_errors(),
            counts,
            details,
            forwarding: self.forwarding.as_ref().map(ForwardingView::targets).unwrap_or_default(),
        }
    }
}

fn moment(clock: Clock) -> Moment {
    let elapsed = clock.unsuspended().as_micros();
    Moment { wall: clock.now().wall, elapsed: i64::try_from(elapsed).unwrap_or(i64::MAX) }
}

fn totals(counts: &Counts, details: Details, kernel_drops: u64) -> Totals {
    let dropped =
        |reason| counts.dropped.iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| *count);
    let with_code = |wanted: fn(u16) -> bool| {
        let requests = details.requests.iter().filter(|(_, code, _)| wanted(*code));
        requests.map(|(_, _, count)| count).sum()
    };
    Totals {
        received: counts.received,
        answered: counts.answered,
        failed: with_code(|code| code == 500),
        refused: with_code(|code| !matches!(code, 200 | 500)),
        lost: kernel_drops
            + dropped("overloaded")
            + dropped("stale")
            + counts.replies_dropped
            + counts.send_errors,
        checks: replies(&details, "check"),
        hits: details.hits,
        reports: replies(&details, "report"),
        whitelists: replies(&details, "whitelist"),
        new_records: None,
        latency: details.latency,
    }
}
