//! What a load found out: counts, codes and latencies.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use pyzord_core::Operation;

use super::flight::Arrival;
use crate::json::Json;

/// Latencies up to two minutes, in nanoseconds, three significant digits.
const LONGEST: u64 = 120_000_000_000;
const DIGITS: u8 = 3;

/// Durations and how often each of them occurred.
#[derive(Clone, Debug)]
pub struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    fn new() -> Self {
        // Its bounds are constants that are in order.
        Self(Histogram::new_with_bounds(1, LONGEST, DIGITS).ok())
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(nanos);
        }
    }

    fn add(&mut self, other: &Self) {
        if let (Some(histogram), Some(other)) = (&mut self.0, &other.0) {
            let _ = histogram.add(other);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The duration that this part of them, 0 to 1, does not exceed.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.0.as_ref().map_or(0, |histogram| histogram.value_at_quantile(part)))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.as_ref().map_or(0, Histogram::max))
    }

    fn json(&self) -> Json {
        let micros = |duration: Duration| Json::from(duration.as_secs_f64() * 1e6);
        Json::object([
            ("count", self.count().into()),
            ("p50_us", micros(self.quantile(0.5))),
            ("p90_us", micros(self.quantile(0.9))),
            ("p99_us", micros(self.quantile(0.99))),
            ("p999_us", micros(self.quantile(0.999))),
            ("max_us", micros(self.max())),
        ])
    }
}

/// The outcome of a load. Every request that counts was answered or lost.
#[derive(Clone, Debug)]
pub struct Report {
    /// How long the part that counts took, in seconds.
    pub seconds: f64,
    /// Requests sent.
    pub sent: u64,
    /// Requests without an answer in time.
    pub lost: u64,
    /// Answers that came after their request was given up.
    pub late: u64,
    /// Answers beyond a request's first.
    pub duplicates: u64,
    /// Datagrams that answer no request.
    pub strays: u64,
    /// Requests that were due and not sent, because 55,536 were under way on the socket.
    pub unsent: u64,
    /// Requests that the network did not take; they are among the lost.
    pub refused: u64,
    /// How often each code came; 0 stands for none.
    pub codes: BTreeMap<u16, u64>,
    /// How much later than scheduled requests were sent: what the generator itself adds to the latencies.
    pub lag: Latencies,
    /// CPU time that the generator took.
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

    pub(crate) fn count(&mut self, arrival: Arrival, code: u16) {
        match arrival {
            Arrival::Answer { operation, latency, counted: true } => {
                let latencies = self.operations.iter_mut().find(|(other, _)| *other == operation);
                if let Some((_, latencies)) = latencies {
                    latencies.record(latency);
                }
                *self.codes.entry(code).or_default() += 1;
            }
            Arrival::Duplicate { counted: true } => self.duplicates += 1,
            Arrival::Late { counted: true } => self.late += 1,
            Arrival::Stray => self.strays += 1,
            Arrival::Answer { .. } | Arrival::Duplicate { .. } | Arrival::Late { .. } => (),
        }
    }

    /// Adds what another socket found in the same time.
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

    /// The latencies of each operation that was answered.
    pub fn operations(&self) -> impl Iterator<Item = (Operation, &Latencies)> {
        let answered = self.operations.iter().filter(|(_, latencies)| latencies.count() > 0);
        answered.map(|(operation, latencies)| (*operation, latencies))
    }

    /// The latencies of all operations together.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let mut all = Latencies::new();
        self.operations.iter().for_each(|(_, latencies)| all.add(latencies));
        all
    }

    /// Requests that were answered in time.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.operations.iter().map(|(_, latencies)| latencies.count()).sum()
    }

    /// Answers a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        per_second(self.answered(), self.seconds)
    }

    /// Which part of the requests that were due got no answer in time, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn loss(&self) -> f64 {
        let due = self.sent + self.unsent;
        if due == 0 { 0.0 } else { (self.lost + self.unsent) as f64 / due as f64 }
    }

    /// Everything, for programs.
    #[must_use]
    pub fn json(&self) -> Json {
        let codes = self.codes.iter().map(|(code, count)| (code.to_string(), Json::from(*count)));
        let operations =
            self.operations().map(|(operation, latencies)| (operation.to_string(), latencies.json()));
        Json::object([
            ("seconds", self.seconds.into()),
            ("sent", self.sent.into()),
            ("answered", self.answered().into()),
            ("replies_per_second", self.rate().into()),
            ("lost", self.lost.into()),
            ("loss", self.loss().into()),
            ("late", self.late.into()),
            ("duplicates", self.duplicates.into()),
            ("strays", self.strays.into()),
            ("unsent", self.unsent.into()),
            ("refused", self.refused.into()),
            ("codes", Json::object(codes)),
            ("latency", self.latencies().json()),
            ("operations", Json::object(operations)),
            ("lag", self.lag.json()),
            ("generator_cpu_seconds", self.cpu.as_secs_f64().into()),
        ])
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// The table for people.
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
            (self.unsent, "requests were due and not sent: too many were under way"),
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
        writeln!(f, "generator: p99 of its own delay {lag:.1} us, {cpu:.2} us CPU a request")
    }
}
