//! What is known of the server at one moment, and `/status.json`.

use std::time::Duration;

use pyzord_core::UnixTime;
use pyzord_runtime::{Counts, Details, Distribution};

use super::json::Json;
use crate::settings::Row;

/// What does not change while the server runs.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) version: &'static str,
    pub(crate) engine: String,
    pub(crate) runtime: String,
    /// Where requests go.
    pub(crate) listen: String,
    pub(crate) started: UnixTime,
    /// Without secrets.
    pub(crate) settings: Vec<Row>,
}

/// The server at one moment.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) facts: &'a Facts,
    pub(super) uptime: Duration,
    pub(super) trouble: Option<&'static str>,
    pub(super) store_answers: bool,
    pub(super) records: Option<u64>,
    pub(super) counts: Counts,
    pub(super) details: Details,
}

impl Report<'_> {
    /// What the page is drawn from. Durations are in seconds, and all counts are since the start.
    pub(super) fn json(&self) -> Json {
        let Self { facts, counts, details, .. } = self;
        Json::Object(vec![
            ("version", facts.version.into()),
            ("engine", facts.engine.as_str().into()),
            ("runtime", facts.runtime.as_str().into()),
            ("listen", facts.listen.as_str().into()),
            ("started", seconds(facts.started)),
            ("uptime", Json::Real(self.uptime.as_secs_f64())),
            ("workers", details.workers.into()),
            ("healthy", self.trouble.is_none().into()),
            ("trouble", self.trouble.into()),
            ("records", self.records.into()),
            ("received", counts.received.into()),
            ("answered", counts.answered.into()),
            ("receive_errors", counts.receive_errors.into()),
            ("send_errors", counts.send_errors.into()),
            ("internal_errors", counts.internal_errors.into()),
            ("overloaded", details.overloaded.into()),
            ("dropped", Json::Object(counts.dropped.map(|(reason, count)| (reason, count.into())).to_vec())),
            ("requests", self.requests()),
            ("latency", distribution(&details.latency, nanos)),
            ("store", distribution(&details.store, nanos)),
            ("store_unavailable", details.unavailable.into()),
            ("store_unreadable", details.unreadable.into()),
            ("batches", distribution(&details.batches, Json::Number)),
            ("talkers", self.talkers()),
            ("settings", self.settings()),
        ])
    }

    fn requests(&self) -> Json {
        Json::list(self.details.requests.iter().map(|(operation, code, count)| {
            let code = u64::from(*code);
            Json::Object(vec![
                ("operation", (*operation).into()),
                ("code", code.into()),
                ("count", (*count).into()),
            ])
        }))
    }

    fn talkers(&self) -> Json {
        Json::list(self.details.talkers.iter().map(|talker| {
            Json::Object(vec![
                ("network", talker.network.to_string().into()),
                ("datagrams", talker.datagrams.into()),
                ("excess", talker.excess.into()),
            ])
        }))
    }

    fn settings(&self) -> Json {
        Json::list(self.facts.settings.iter().map(|row| {
            Json::Object(vec![
                ("name", row.name.into()),
                ("value", row.value.as_str().into()),
                ("source", row.source.as_str().into()),
            ])
        }))
    }
}

/// Quantiles since the start, and the buckets, from which the page takes those of the last seconds.
fn distribution(found: &Distribution, unit: fn(u64) -> Json) -> Json {
    let quantile = |percent| found.quantile(percent, 100).map(unit);
    Json::Object(vec![
        ("count", found.count().into()),
        ("sum", unit(found.sum())),
        ("p50", quantile(50).into()),
        ("p90", quantile(90).into()),
        ("p99", quantile(99).into()),
        ("buckets", Json::list(found.buckets().map(|(end, count)| Json::list([unit(end), count.into()])))),
    ])
}

fn nanos(nanos: u64) -> Json {
    Json::Real(nanos as f64 / 1e9)
}

fn seconds(time: UnixTime) -> Json {
    Json::Real(time.micros() as f64 / 1e6)
}
