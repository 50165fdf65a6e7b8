//! The results of a comparison.

use pyzord_bench::load::Latencies;

use crate::rmw::LibgdbmSample;
use crate::server::MemoryUse;
use crate::subjects::Subject;
use crate::workload::Workload;

/// One server under one load in one round. CPU times in microseconds per request, latencies in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Replies per second.
    pub(crate) rate: f64,
    /// CPU time of the server.
    pub(crate) server: f64,
    /// CPU time of the database server.
    pub(crate) store: Option<f64>,
    /// CPU time of the load generator.
    pub(crate) generator: f64,
    /// The share of one CPU that the server used.
    pub(crate) busy: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// The share of requests that were lost or refused.
    pub(crate) loss: f64,
}

impl Sample {
    /// Returns the CPU time of server and database server together.
    pub(crate) fn total_cpu(&self) -> f64 {
        self.server + self.store.unwrap_or(0.0)
    }
}

/// One server under one load, a sample per round.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) workers: usize,
    pub(crate) workload: Workload,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    pub(crate) fn new(subject: &Subject, workload: Workload) -> Self {
        let Subject { name, engine, workers, .. } = *subject;
        Self { name, engine, workers, workload, samples: Vec::new() }
    }

    pub(crate) fn is(&self, name: &str, engine: &str, workload: Workload) -> bool {
        self.name == name && self.engine == engine && self.workload == workload
    }

    /// Returns the median of one figure; `None` without samples.
    pub(crate) fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.iter().map(figure))
    }
}

/// Checks at half the rate of Python's server.
#[derive(Clone, Debug)]
pub(crate) struct HalfRate {
    pub(crate) name: &'static str,
    pub(crate) rate: u64,
    pub(crate) latencies: Latencies,
    pub(crate) loss: f64,
}

/// The results of all measurements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    /// Records in each database.
    pub(crate) records: u64,
    /// One sample per round.
    pub(crate) libgdbm: Vec<LibgdbmSample>,
    pub(crate) half_rate: Vec<HalfRate>,
    pub(crate) memory: Vec<(&'static str, MemoryUse)>,
    /// Parts that were not measured, and limits of the figures.
    pub(crate) notes: Vec<String>,
}

/// Returns the figure in the middle, or the mean of the two in the middle; `None` without figures.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let [low, high] = [figures.len().checked_sub(1)? / 2, figures.len() / 2];
    Some(f64::midpoint(*figures.get(low)?, *figures.get(high)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        for (figures, expected) in
            [(&[][..], None), (&[3.0], Some(3.0)), (&[9.0, 1.0], Some(5.0)), (&[1.0, 9.0, 2.0], Some(2.0))]
        {
            assert_eq!(median(figures.iter().copied()), expected);
        }
    }
}
