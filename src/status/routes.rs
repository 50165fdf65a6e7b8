//! The paths of the status page and their responses.

use pyzord_core::{Store, Tick};
use pyzord_runtime::{Clock, Counters};

use super::health::HealthCheck;
use super::http::{HttpResponse, StatusCode};
use super::snapshot::{Facts, Snapshot};
use super::{document, exposition, page};

/// How many of the networks with the most datagrams are listed.
const TOP_CLIENTS: usize = 20;

/// Answers requests for all paths.
pub(super) struct Routes<'a> {
    facts: &'a Facts,
    counters: &'a Counters,
    clock: Clock,
    health: HealthCheck,
}

impl<'a> Routes<'a> {
    /// `store` is for the health check alone.
    pub(super) fn new(facts: &'a Facts, counters: &'a Counters, store: Box<dyn Store>) -> Self {
        let clock = counters.clock();
        Self { facts, counters, clock, health: HealthCheck::new(store, clock) }
    }

    /// Returns the response for a path.
    pub(super) fn answer(&mut self, path: &str) -> HttpResponse {
        match path {
            "/" => page::response().unwrap_or_else(|error| internal_error(path, &error)),
            "/healthz" => match self.health.trouble(&self.counters.details(0)) {
                None => HttpResponse::text(StatusCode::Ok, "ok"),
                Some(trouble) => HttpResponse::text(StatusCode::Unavailable, trouble),
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

    fn snapshot(&mut self) -> Snapshot<'_> {
        let details = self.counters.details(TOP_CLIENTS);
        Snapshot {
            facts: self.facts,
            uptime: self.clock.tick().since(Tick::default()),
            trouble: self.health.trouble(&details),
            store_answers: self.health.store().is_ok(),
            records: self.health.records(),
            counts: self.counters.counts(),
            details,
        }
    }
}

fn internal_error(path: &str, error: &dyn std::error::Error) -> HttpResponse {
    log::error!("status page: no reply for {path}: {error}");
    HttpResponse::bare(StatusCode::Internal)
}
