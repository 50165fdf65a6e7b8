//! All figures of a running server, whether a status page shows them or not.

use std::sync::Arc;

use pyzord_core::Tick;
use pyzord_runtime::{Clock, Counters};

use super::rates::Rates;
use super::snapshot::{Facts, Snapshot};
use super::{document, exposition};
use crate::health::Health;

/// How many of the networks with the most datagrams are listed.
const TOP_CLIENTS: usize = 20;

/// The sources of the figures. The status page and the control socket read them, and no worker waits for a reader.
#[derive(Debug)]
pub(crate) struct Figures {
    facts: Facts,
    counters: Arc<Counters>,
    health: Health,
    rates: Rates,
}

impl Figures {
    pub(crate) fn new(facts: Facts, counters: Arc<Counters>, health: Health) -> Self {
        Self { facts, counters, health, rates: Rates::default() }
    }

    /// Keeps the present counts, from which later rates are made. To be called every few seconds.
    pub(crate) fn sample(&self) {
        self.rates.sample(self.clock().tick(), &self.counters.counts(), &self.counters.details(0));
    }

    /// Returns the status document: JSON on one line. It waits at most half a second for a database that hangs.
    ///
    /// # Errors
    /// Only by a bug: all that it has can be written as JSON.
    pub(crate) fn document(&self) -> serde_json::Result<String> {
        document::write(&self.snapshot())
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
            counts,
            details,
        }
    }
}
