//! The result of a load: counts, codes and latencies.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use pyzord_core::Operation;
use serde_json::{Map, Value, json};

use super::in_flight::ReplyKind;

/// The longest latency, two minutes in nanoseconds; longer ones are recorded as this. Three significant digits.
const LONGEST: u64 = 120_000_000_000;
const DIGITS: u8 = 3;

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    #[expect(clippy::expect_used, reason = "the bounds are constants in the crate's range")]
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("1 <= LONGEST / 2 and DIGITS <= 5"))
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    #[expect(clippy::expect_used, reason = "all histograms are made by `new`")]
    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both histograms have the same bounds");
    }

    /// Returns the number of latencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Returns the quantile `part`, 0 to 1.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(part))
    }

    /// Returns the longest latency.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    fn json(&self) -> Value {
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        json!({
            "count": self.count(),
            "p50_us": micros(self.quantile(0.5)),
            "p90_us": micros(self.quantile(0.9)),
            "p99_us": micros(self.quantile(0.99)),
            "p999_us": micros(self.quantile(0.999)),
            "max_us": micros(self.max()),
        })
    }
}

/// The result of a load. Every counted request was answered or lost.
#[derive(Clone, Debug)]
pub struct Report {
    /// How long the counted part took, in seconds.
    pub seconds: f64,
    /// Requests sent.
    pub sent: u64,
    /// Requests without a reply in time.
    pub lost: u64,
    /// Replies that arrived after their request had timed out.
    pub late: u64,
    /// Further replies to an answered request.
    pub duplicates: u64,
    /// Datagrams that match no request.
    pub strays: u64,
    /// Requests that were due and not sent, because 55,536 were in flight on the socket.
    pub unsent: u64,
    /// Requests that the network refused; they are also counted as lost.
    pub refused: u64,
    /// Replies by code; 0 is a reply without a code.
    pub codes: BTreeMap<u16, u64>,
    /// How much later than scheduled the requests were sent: the generator's own part of the latencies.
    pub lag: Latencies,
    /// CPU time of the generator.
    pub cpu: Duration,
    operations: Vec<(Operation, Latencies)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            seconds: 0.0,
            sent: 0,
            lost: 0,
            late: 0,
            duplicates: 0,
            strays: 0,
            unsent: 0,
            refused: 0,
            codes: BTreeMap::new(),
            lag: Latencies::new(),
            cpu: Duration::ZERO,
            operations: Operation::ALL.map(|operation| (operation, Latencies::new())).into(),
        }
    }

    /// Counts a reply, unless its request belongs to the warm-up.
    pub(crate) fn count(&mut self, reply: ReplyKind, code: u16) {
        match reply {
            ReplyKind::Answer { operation, latency, counted: true } => {
                self.latencies_of(operation).record(latency);
                *self.codes.entry(code).or_default() += 1;
            }
            ReplyKind::Duplicate { counted: true } => self.duplicates += 1,
            ReplyKind::Late { counted: true } => self.late += 1,
            ReplyKind::Stray => self.strays += 1,
            ReplyKind::Answer { .. } | ReplyKind::Duplicate { .. } | ReplyKind::Late { .. } => (),
        }
    }

    #[expect(clippy::expect_used, reason = "`new` adds every operation")]
    fn latencies_of(&mut self, operation: Operation) -> &mut Latencies {
        let found = self.operations.iter_mut().find(|(other, _)| *other == operation);
        &mut found.expect("every operation has latencies").1
    }

    /// Adds the result of another socket for the same time.
    pub(crate) fn add(&mut self, other: &Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.sent += other.sent;
        self.lost += other.lost;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.strays += other.strays;
        self.unsent += other.unsent;
        self.refused += other.refused;
        for (code, count) in &other.codes {
            *self.codes.entry(*code).or_default() += count;
        }
        self.lag.add(&other.lag);
        self.cpu += other.cpu;
        for ((_, latencies), (_, more)) in self.operations.iter_mut().zip(&other.operations) {
            latencies.add(more);
        }
    }

    /// Returns the latencies of each operation that was answered.
    pub fn operations(&self) -> impl Iterator<Item = (Operation, &Latencies)> {
        let answered = self.operations.iter().filter(|(_, latencies)| latencies.count() > 0);
        answered.map(|(operation, latencies)| (*operation, latencies))
    }

    /// Returns the latencies of all operations together.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let mut all = Latencies::new();
        self.operations.iter().for_each(|(_, latencies)| all.add(latencies));
        all
    }

    /// Returns the number of requests that were answered in time.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.operations.iter().map(|(_, latencies)| latencies.count()).sum()
    }

    /// Returns the replies per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        per_second(self.answered(), self.seconds)
    }

    /// Returns the share of due requests without a reply in time, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn loss(&self) -> f64 {
        let due = self.sent + self.unsent;
        if due == 0 { 0.0 } else { (self.lost + self.unsent) as f64 / due as f64 }
    }

    /// Returns the report as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let operations: Map<String, Value> = self
            .operations()
            .map(|(operation, latencies)| (operation.to_string(), latencies.json()))
            .collect();
        json!({
            "seconds": self.seconds,
            "sent": self.sent,
            "answered": self.answered(),
            "replies_per_second": self.rate(),
            "lost": self.lost,
            "loss": self.loss(),
            "late": self.late,
            "duplicates": self.duplicates,
            "strays": self.strays,
            "unsent": self.unsent,
            "refused": self.refused,
            "codes": self.codes,
            "latency": self.latencies().json(),
            "operations": operations,
            "lag": self.lag.json(),
            "generator_cpu_seconds": self.cpu.as_secs_f64(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Writes the report as a table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "", "replies", "replies/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"
        )?;
        let mut row = |name: &str, latencies: &Latencies| {
            let rate = per_second(latencies.count(), self.seconds);
            write!(f, "{name:<10}{:>12}{rate:>12.0}", latencies.count())?;
            for part in [0.5, 0.9, 0.99, 0.999, 1.0] {
                write!(f, "{:>12.1}", latencies.quantile(part).as_secs_f64() * 1e6)?;
            }
            writeln!(f)
        };
        self.operations().try_for_each(|(operation, latencies)| row(operation.name(), latencies))?;
        row("all", &self.latencies())?;
        writeln!(f)?;
        write!(f, "{} requests sent, {} lost ({:.3} %)", self.sent, self.lost, self.loss() * 100.0)?;
        writeln!(f, ", {} late, {} duplicate and {} stray replies", self.late, self.duplicates, self.strays)?;
        for (count, what) in [
            (self.unsent, "requests were due and not sent: too many were in flight"),
            (self.refused, "requests were refused by the network: does the server listen?"),
        ] {
            if count > 0 {
                writeln!(f, "{count} {what}")?;
            }
        }
        let codes: Vec<_> = self.codes.iter().map(|(code, count)| format!("{code} x {count}")).collect();
        writeln!(f, "codes: {}", if codes.is_empty() { "none".to_owned() } else { codes.join(", ") })?;
        let lag = self.lag.quantile(0.99).as_secs_f64() * 1e6;
        let cpu = per_second(1_000_000, per_second(self.answered(), self.cpu.as_secs_f64()));
        writeln!(f, "generator: p99 of its own delay {lag:.1} us, {cpu:.2} us of CPU per request")
    }
}
