//! `/status.json`: the figures that the status page draws.

use std::borrow::Cow;

use pyzord_core::Now;
use pyzord_runtime::Distribution;
use serde::{Serialize, Serializer};

use super::forwarding::{TargetRow, rows};
use super::rates::Rate;
use super::snapshot::{Snapshot, unix_seconds};
use crate::health::{Finding, GrowingFile, Level, Room};
use crate::logs::LoggedError;
use crate::settings::SettingRow;

/// Returns the document. Durations are in seconds, and all counts are since the start.
pub(super) fn write(snapshot: &Snapshot<'_>) -> serde_json::Result<String> {
    serde_json::to_string(&Document::new(snapshot))
}

#[derive(Serialize)]
struct Document<'a> {
    version: &'a str,
    engine: &'a str,
    runtime: &'a str,
    listen: &'a str,
    /// The time of this document.
    time: f64,
    started: f64,
    uptime: f64,
    workers: usize,
    healthy: bool,
    trouble: Option<String>,
    trouble_since: Option<f64>,
    verdict: Judgement,
    findings: Vec<Judgement>,
    records: Option<u64>,
    received: u64,
    answered: u64,
    receive_errors: u64,
    send_errors: u64,
    replies_dropped: u64,
    internal_errors: u64,
    overloaded: u64,
    log_lines_lost: u64,
    #[serde(serialize_with = "as_map")]
    dropped: &'a [(&'static str, u64)],
    kernel_drops: Option<u64>,
    requests: Vec<RequestCount<'a>>,
    rates: &'a [Rate],
    checks: u64,
    /// Checks of digests with a report.
    hits: u64,
    new_records: Option<u64>,
    expired: Option<u64>,
    last_expiry: Option<f64>,
    database_bytes: Option<u64>,
    disks: Vec<Disk<'a>>,
    /// Of the requests that got 200, and of the others.
    latency: Percentiles<f64>,
    latency_failed: Percentiles<f64>,
    store: Percentiles<f64>,
    store_unavailable: u64,
    store_unreadable: u64,
    store_no_place: u64,
    batches: Percentiles<u64>,
    talkers: Vec<TopClient>,
    denied: Vec<DeniedUser<'a>>,
    errors: Vec<LogLine<'a>>,
    forwarding: Vec<TargetRow<'a>>,
    settings: &'a [SettingRow],
}

/// What the server says of itself: a finding, or that there is none.
#[derive(Serialize)]
struct Judgement {
    level: &'static str,
    /// The name of the cause, as in the metric `pyzord_finding`.
    finding: Option<&'static str>,
    sentence: String,
    remedy: Option<String>,
    since: Option<f64>,
}

impl Judgement {
    fn of(finding: Option<&Finding>, now: Now) -> Self {
        match finding {
            Some(finding) => Self {
                level: finding.cause.level().name(),
                finding: Some(finding.cause.name()),
                sentence: finding.cause.to_string(),
                remedy: Some(finding.cause.remedy()),
                since: finding.since_time(now).map(unix_seconds),
            },
            None => Self {
                level: Level::Ok.name(),
                finding: None,
                sentence: "the server does all that it is for".to_owned(),
                remedy: None,
                since: None,
            },
        }
    }
}

/// The requests with one operation and one code in the reply.
#[derive(Serialize)]
struct RequestCount<'a> {
    operation: &'a str,
    code: u16,
    count: u64,
}

/// A network that sends many datagrams: the number is in the range from `datagrams - excess` to `datagrams`.
#[derive(Serialize)]
struct TopClient {
    network: String,
    datagrams: u64,
    excess: u64,
    /// Replies with a code other than 200, and datagrams dropped for a limit or a list.
    refused: u64,
    dropped: u64,
}

/// A user that was refused. Nothing proves that the user sent the requests.
#[derive(Serialize)]
struct DeniedUser<'a> {
    user: &'a str,
    code: u16,
    count: u64,
}

/// A warning or an error of the log.
#[derive(Serialize)]
struct LogLine<'a> {
    time: f64,
    level: &'static str,
    text: &'a str,
}

/// The room for a file that grows, in bytes.
#[derive(Serialize)]
struct Disk<'a> {
    what: &'static str,
    path: Cow<'a, str>,
    free: u64,
    total: u64,
}

/// Percentiles since the start, and the buckets: the page takes percentiles of the last seconds from them.
#[derive(Serialize)]
struct Percentiles<T> {
    count: u64,
    sum: T,
    p50: Option<T>,
    p90: Option<T>,
    p99: Option<T>,
    /// The upper end of each bucket, and its count.
    buckets: Vec<(T, u64)>,
}

impl<'a> Document<'a> {
    fn new(snapshot: &'a Snapshot<'_>) -> Self {
        let Snapshot { facts, counts, details, verdict, now, .. } = snapshot;
        let failure = verdict.failure();
        let requests = details.requests.iter().filter(|(_, _, count)| *count > 0);
        Self {
            version: facts.version,
            engine: &facts.engine,
            runtime: &facts.runtime,
            listen: &facts.listen,
            time: unix_seconds(now.wall),
            started: unix_seconds(facts.started),
            uptime: snapshot.uptime.as_secs_f64(),
            workers: details.workers,
            healthy: failure.is_none(),
            trouble: failure.map(|failure| failure.cause.to_string()),
            trouble_since: failure.and_then(|failure| failure.since_time(*now)).map(unix_seconds),
            verdict: Judgement::of(verdict.worst(), *now),
            findings: verdict.findings().iter().map(|finding| Judgement::of(Some(finding), *now)).collect(),
            records: snapshot.records,
            received: counts.received,
            answered: counts.answered,
            receive_errors: counts.receive_errors,
            send_errors: counts.send_errors,
            replies_dropped: counts.replies_dropped,
            internal_errors: counts.internal_errors,
            overloaded: details.overloaded,
            log_lines_lost: facts.logs.lost().iter().map(|(_, count)| count).sum(),
            dropped: &counts.dropped,
            kernel_drops: snapshot.kernel_drops,
            requests: requests
                .map(|&(operation, code, count)| RequestCount { operation, code, count })
                .collect(),
            rates: &snapshot.rates,
            checks: snapshot.checks(),
            hits: details.hits,
            new_records: snapshot.new_records(),
            expired: counts.expired,
            last_expiry: counts.last_expiry.map(unix_seconds),
            database_bytes: snapshot.disk_use.database,
            disks: snapshot.disk_use.rooms.iter().map(Disk::new).collect(),
            latency: Percentiles::new(&details.latency, seconds),
            latency_failed: Percentiles::new(&details.latency_failed, seconds),
            store: Percentiles::new(&details.store, seconds),
            store_unavailable: details.unavailable,
            store_unreadable: details.unreadable,
            store_no_place: details.no_place,
            batches: Percentiles::new(&details.batches, |datagrams| datagrams),
            talkers: details.top_clients.iter().map(TopClient::new).collect(),
            denied: details.denied.iter().map(DeniedUser::new).collect(),
            errors: snapshot.errors.iter().map(LogLine::new).collect(),
            forwarding: rows(&snapshot.forwarding),
            settings: &snapshot.settings,
        }
    }
}

impl TopClient {
    fn new(client: &pyzord_runtime::TopClient) -> Self {
        Self {
            network: client.network.to_string(),
            datagrams: client.datagrams,
            excess: client.excess,
            refused: client.refused,
            dropped: client.dropped,
        }
    }
}

impl<'a> DeniedUser<'a> {
    fn new(denied: &'a pyzord_runtime::DeniedUser) -> Self {
        Self { user: &denied.user, code: denied.code, count: denied.count }
    }
}

impl<'a> LogLine<'a> {
    fn new(line: &'a LoggedError) -> Self {
        let level = if line.level == log::Level::Error { "error" } else { "warning" };
        Self { time: unix_seconds(line.time), level, text: &line.text }
    }
}

impl<'a> Disk<'a> {
    fn new((file, room): &'a (GrowingFile, Room)) -> Self {
        Self { what: file.what, path: file.path.to_string_lossy(), free: room.free, total: room.total }
    }
}

impl<T> Percentiles<T> {
    fn new(found: &Distribution, unit: fn(u64) -> T) -> Self {
        let percentile = |percent| found.quantile(percent, 100).map(unit);
        Self {
            count: found.count(),
            sum: unit(found.sum()),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            buckets: found.buckets().map(|(end, count)| (unit(end), count)).collect(),
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Writes pairs as one object, in their order: the page lists them so.
fn as_map<S: Serializer>(pairs: &&[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}
