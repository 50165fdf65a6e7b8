//! `/metrics`: the text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use pyzord_core::UnixTime;
use pyzord_runtime::Distribution;

use super::report::Report;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of the buckets of durations, in microseconds: numbers of two digits and zeros, so their counts are exact.
const MICROSECONDS: [u64; 19] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];
/// Upper ends of the buckets of batches, in datagrams.
const DATAGRAMS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Every metric with its help.
pub(super) fn write(report: &Report<'_>) -> String {
    let Report { facts, counts, details, .. } = report;
    let mut out = Text(String::new());
    out.head("pyzord_build_info", "gauge", "Always 1; its labels say what runs.");
    let labels = [("version", facts.version), ("engine", &facts.engine), ("runtime", &facts.runtime)];
    out.sample("pyzord_build_info", &labels, 1);
    let started = seconds_of(facts.started);
    out.one("process_start_time_seconds", "gauge", "Start of the server, in seconds since 1970.", started);
    out.one("pyzord_workers", "gauge", "Workers that run.", details.workers);
    let up = u8::from(report.store_answers);
    out.one("pyzord_store_up", "gauge", "1 when the database has just answered, else 0.", up);
    if let Some(records) = report.records {
        out.one("pyzord_records", "gauge", "Records in the database, about.", records);
    }
    out.one("pyzord_datagrams_received_total", "counter", "Datagrams received.", counts.received);
    out.one("pyzord_replies_sent_total", "counter", "Replies sent.", counts.answered);
    out.one("pyzord_receive_errors_total", "counter", "Receipts that failed.", counts.receive_errors);
    out.one("pyzord_send_errors_total", "counter", "Replies that could not be sent.", counts.send_errors);
    out.head("pyzord_dropped_total", "counter", "Datagrams not answered on purpose, by reason.");
    for (reason, count) in counts.dropped {
        out.sample("pyzord_dropped_total", &[("reason", reason)], count);
    }
    out.head("pyzord_requests_total", "counter", "Requests answered, by operation and code of the reply.");
    for (operation, code, count) in &details.requests {
        let labels = [("operation", *operation), ("code", &code.to_string())];
        out.sample("pyzord_requests_total", &labels, count);
    }
    let help = "Time from the receipt of a request until its reply was sent.";
    out.durations("pyzord_request_duration_seconds", help, &details.latency);
    let help = "Time that the store took for the calls of one batch.";
    out.durations("pyzord_store_duration_seconds", help, &details.store);
    out.head("pyzord_store_errors_total", "counter", "Calls that the store did not answer, by cause.");
    for (cause, count) in [("unavailable", details.unavailable), ("unreadable", details.unreadable)] {
        out.sample("pyzord_store_errors_total", &[("cause", cause)], count);
    }
    let help = "Requests answered with 500 because too many were waiting for the store.";
    out.one("pyzord_overloaded_requests_total", "counter", help, details.overloaded);
    out.histogram("pyzord_batch_size", "Datagrams received together.", &details.batches, &DATAGRAMS, |n| {
        n as f64
    });
    let help = "Batches of requests dropped after an internal error.";
    out.one("pyzord_internal_errors_total", "counter", help, counts.internal_errors);
    out.0
}

fn seconds_of(time: UnixTime) -> f64 {
    time.micros() as f64 / 1e6
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// No value of a label needs escaping: each is one of a fixed set of words.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    fn durations(&mut self, name: &str, help: &str, found: &Distribution) {
        self.histogram(name, help, found, &MICROSECONDS.map(|micros| micros * 1000), |nanos| {
            nanos as f64 / 1e9
        });
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        found: &Distribution,
        ends: &[u64],
        unit: fn(u64) -> f64,
    ) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for end in ends {
            self.sample(&bucket, &[("le", &unit(*end).to_string())], found.at_most(*end));
        }
        self.sample(&bucket, &[("le", "+Inf")], found.count());
        self.sample(&format!("{name}_sum"), &[], unit(found.sum()));
        self.sample(&format!("{name}_count"), &[], found.count());
    }
}
