//! The paths of the status page and their responses.

use pyzord_core::Tick;
use pyzord_runtime::{Clock, Counters};

use super::http::{HttpResponse, StatusCode};
use super::snapshot::{Facts, Snapshot};
use super::{document, exposition, page};
use crate::health::Health;

/// How many of the networks with the most datagrams are listed.
const TOP_CLIENTS: usize = 20;

/// Answers requests for all paths.
pub(super) struct Routes<'a> {
    facts: &'a Facts,
    counters: &'a Counters,
    clock: Clock,
    health: &'a Health,
}

impl<'a> Routes<'a> {
    pub(super) fn new(facts: &'a Facts, counters: &'a Counters, health: &'a Health) -> Self {
        Self { facts, counters, clock: counters.clock(), health }
    }

    /// Returns the response for a path.
    pub(super) fn answer(&self, path: &str) -> HttpResponse {
        match path {
            "/" => page::response().unwrap_or_else(|error| internal_error(path, &error)),
            "/healthz" => match self.health.trouble() {
                None => HttpResponse::text(StatusCode::Ok, "ok"),
                Some(trouble) => HttpResponse::text(StatusCode::Unavailable, &trouble.at(self.clock.now())),
            },
            "/metrics" => {
                let metrics = exposition::write(&self.snapshot());
                HttpResponse::new(StatusCode::Ok, exposition::CONTENT_TYPE, metrics)
            }
            "/status.json" => match document::write(&self.snapshot()) {
                Ok(json) => HttpResponse::new(StatusCode::Ok, "application/json", json),
                Err(error) => internal_error(path, &error),
            },
            _ => HttpResponse::bare(StatusCode::NotFound),
        }
    }

    fn snapshot(&self) -> Snapshot<'_> {
        let now = self.clock.now();
        let trouble = self.health.trouble();
        Snapshot {
            facts: self.facts,
            settings: self.facts.settings.current(),
            uptime: now.tick.since(Tick::default()),
            trouble_since: trouble.as_ref().and_then(|trouble| trouble.since_time(now)),
            trouble: trouble.map(|trouble| trouble.cause),
            store_answers: self.health.store_answers(),
            records: self.health.records(),
            counts: self.counters.counts(),
            details: self.counters.details(TOP_CLIENTS),
        }
    }
}

fn internal_error(path: &str, error: &dyn std::error::Error) -> HttpResponse {
    log::error!("status page: no reply for {path}: {error}");
    HttpResponse::bare(StatusCode::Internal)
}
