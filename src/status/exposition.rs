//! `/metrics`: the text format of Prometheus, version 0.0.4.
//!
//! prometheus-client writes small bounds of buckets as `1e-05`: other values of the label `le` than dashboards have, and
//! new time series. It also keeps counters of its own, while these are the workers'.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use pyzord_runtime::Distribution;

use super::forwarding;
use super::snapshot::{Snapshot, unix_seconds};
use crate::health::{DiskUse, NAMES, Verdict};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of the buckets of durations, in microseconds. Counts up to a number of two digits and zeros are exact.
const MICROSECONDS: [u64; 19] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];
/// Upper ends of the buckets of batches, in datagrams.
const DATAGRAMS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Returns every metric with its help.
pub(super) fn write(snapshot: &Snapshot<'_>) -> String {
    let Snapshot { facts, counts, .. } = snapshot;
    let mut out = Exposition(String::new());
    out.head("pyzord_build_info", "gauge", "Always 1; the labels name the version, engine and runtime.");
    let labels = [("version", facts.version), ("engine", &facts.engine), ("runtime", &facts.runtime)];
    out.sample("pyzord_build_info", &labels, 1);
    let started = unix_seconds(facts.started);
    out.one("process_start_time_seconds", "gauge", "Start of the server, in seconds since 1970.", started);
    out.one("pyzord_workers", "gauge", "Running workers.", snapshot.details.workers);
    let healthy = u8::from(snapshot.verdict.failure().is_none());
    out.one("pyzord_healthy", "gauge", "1 if the server does all that it is for, else 0.", healthy);
    out.findings(&snapshot.verdict);
    let up = u8::from(snapshot.store_answers);
    out.one("pyzord_store_up", "gauge", "1 if the database answers, else 0.", up);
    if let Some(records) = snapshot.records {
        out.one("pyzord_records", "gauge", "Approximate number of records in the database.", records);
    }
    out.datagrams(snapshot);
    out.requests(snapshot);
    out.store(snapshot);
    out.disks(&snapshot.disk_use);
    let help = "Internal errors: a batch that was dropped or got 500, or a wrong reply or log line.";
    out.one("pyzord_internal_errors_total", "counter", help, counts.internal_errors);
    out.head("pyzord_log_lines_lost_total", "counter", "Log lines that could not be written, by log.");
    for (log, count) in facts.logs.lost() {
        out.sample("pyzord_log_lines_lost_total", &[("log", log)], count);
    }
    forwarding::expose(&mut out, &snapshot.forwarding);
    out.0
}

pub(super) struct Exposition(String);

impl Exposition {
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes a sample.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let pair = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escaped(value));
        let pairs: Vec<String> = labels.iter().map(pair).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Writes all findings that there can be, so that an alert has a series before it is needed.
    fn findings(&mut self, verdict: &Verdict) {
        self.head("pyzord_finding", "gauge", "1 while the server has this finding, else 0.");
        for name in NAMES {
            let found = verdict.findings().iter().any(|finding| finding.cause.name() == name);
            self.sample("pyzord_finding", &[("finding", name)], u8::from(found));
        }
    }

    fn datagrams(&mut self, snapshot: &Snapshot<'_>) {
        let Snapshot { counts, details, .. } = snapshot;
        self.one("pyzord_datagrams_received_total", "counter", "Datagrams received.", counts.received);
        self.one("pyzord_replies_sent_total", "counter", "Replies sent.", counts.answered);
        let help = "Receive calls that failed.";
        self.one("pyzord_receive_errors_total", "counter", help, counts.receive_errors);
        let help = "Replies that could not be sent.";
        self.one("pyzord_send_errors_total", "counter", help, counts.send_errors);
        let help = "Replies that were dropped because a send buffer or a queue of the system was full.";
        self.one("pyzord_replies_dropped_total", "counter", help, counts.replies_dropped);
        self.head("pyzord_dropped_total", "counter", "Datagrams that are never answered, by reason.");
        for (reason, count) in counts.dropped {
            self.sample("pyzord_dropped_total", &[("reason", reason)], count);
        }
        if let Some(drops) = snapshot.kernel_drops {
            let help = "Datagrams that the system dropped because the server's receive buffer was full.";
            self.one("pyzord_kernel_drops_total", "counter", help, drops);
        }
        let help = "Datagrams received together.";
        self.histogram("pyzord_batch_size", help, &details.batches, &DATAGRAMS, |n| n as f64);
    }

    fn requests(&mut self, snapshot: &Snapshot<'_>) {
        let details = &snapshot.details;
        self.head("pyzord_requests_total", "counter", "Replies, by operation and code.");
        for (operation, code, count) in &details.requests {
            let labels = [("operation", *operation), ("code", &code.to_string())];
            self.sample("pyzord_requests_total", &labels, count);
        }
        let help = "Time from receiving a request to sending its reply with code 200.";
        self.durations("pyzord_request_duration_seconds", help, &details.latency);
        let help = "Time from receiving a request to sending its reply with another code than 200.";
        self.durations("pyzord_failed_request_duration_seconds", help, &details.latency_failed);
        let help = "Requests answered with 500 because the queue of the store was full.";
        self.one("pyzord_overloaded_requests_total", "counter", help, details.overloaded);
        let help = "Checks whose reply tells of at least one report.";
        self.one("pyzord_check_hits_total", "counter", help, details.hits);
    }

    fn store(&mut self, snapshot: &Snapshot<'_>) {
        let Snapshot { counts, details, .. } = snapshot;
        let help = "Time of the store for the calls of one batch.";
        self.durations("pyzord_store_duration_seconds", help, &details.store);
        self.head("pyzord_store_errors_total", "counter", "Store calls that failed, by cause.");
        let causes = [
            ("unavailable", details.unavailable),
            ("unreadable", details.unreadable),
            ("no_place", details.no_place),
        ];
        for (cause, count) in causes {
            self.sample("pyzord_store_errors_total", &[("cause", cause)], count);
        }
        if let Some(records) = snapshot.new_records() {
            let help = "Records that reports and whitelistings have made.";
            self.one("pyzord_new_records_total", "counter", help, records);
        }
        if let Some(records) = counts.expired {
            self.one("pyzord_expired_records_total", "counter", "Records that expiry has removed.", records);
        }
        let help = "When a round of expiry last ended, in seconds since 1970; 0 if none has since the start.";
        let ended = counts.last_expiry.map_or(0.0, unix_seconds);
        self.one("pyzord_last_expiry_timestamp_seconds", "gauge", help, ended);
    }

    fn disks(&mut self, found: &DiskUse) {
        if let Some(size) = found.database {
            self.one("pyzord_database_size_bytes", "gauge", "Size of the database's files.", size);
        }
        let metrics = [
            ("pyzord_disk_free_bytes", "Bytes that can still be written beside a file of the server."),
            ("pyzord_disk_size_bytes", "Size of the file system of a file of the server."),
        ];
        for (index, (name, help)) in metrics.into_iter().enumerate() {
            self.head(name, "gauge", help);
            for (file, room) in &found.rooms {
                let bytes = if index == 0 { room.free } else { room.total };
                let what = file.what.strip_prefix("the ").unwrap_or(file.what);
                self.sample(name, &[("file", what)], bytes);
            }
        }
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

/// Escapes the value of a label.
fn escaped(value: &str) -> Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_labels_are_escaped() {
        let mut out = Exposition(String::new());
        out.sample("pyzord_x", &[("server", "a\"b\\c\nd"), ("plain", "e:1")], 7);
        assert_eq!(out.0, "pyzord_x{server=\"a\\\"b\\\\c\\nd\",plain=\"e:1\"} 7\n");
    }
}
