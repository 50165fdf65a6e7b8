//! What a comparison found, and its tables.

use pyzord_bench::json::Json;
use pyzord_bench::load::Latencies;

use crate::goals::{self, Verdict};
use crate::server::Memory;
use crate::subjects::{Subject, Work};
use crate::table::Table;

/// One server under one load in one round. CPU in microseconds a request, latencies in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    pub(crate) server: f64,
    pub(crate) store: Option<f64>,
    pub(crate) generator: f64,
    /// Which part of one CPU the server took.
    pub(crate) busy: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Which part was lost or refused.
    pub(crate) loss: f64,
}

/// One server under one load.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) workers: usize,
    pub(crate) work: Work,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    pub(crate) fn new(subject: &Subject, work: Work) -> Self {
        let Subject { name, engine, workers, .. } = *subject;
        Self { name, engine, workers, work, samples: Vec::new() }
    }

    pub(crate) fn is(&self, name: &str, engine: &str, work: Work) -> bool {
        self.name == name && self.engine == engine && self.work == work
    }

    /// The median of one figure.
    pub(crate) fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.iter().map(figure))
    }

    fn cells(&self) -> Vec<String> {
        let figure = |digits: usize, figure: fn(&Sample) -> f64| shown(self.median(figure), digits);
        let store = median(self.samples.iter().filter_map(|sample| sample.store));
        vec![
            format!("{} {}", self.name, self.work.name()),
            self.engine.to_owned(),
            self.workers.to_string(),
            figure(0, |sample| sample.rate),
            figure(2, |sample| sample.server),
            shown(store, 2),
            figure(2, |sample| sample.generator),
            figure(0, |sample| sample.busy * 100.0),
            figure(0, |sample| sample.p50),
            figure(0, |sample| sample.p99),
            figure(0, |sample| sample.p999),
            figure(3, |sample| sample.loss * 100.0),
        ]
    }

    fn json(&self) -> Json {
        let sample = |sample: &Sample| {
            Json::object([
                ("replies_per_second", sample.rate.into()),
                ("server_cpu_us", sample.server.into()),
                ("store_cpu_us", sample.store.into()),
                ("generator_cpu_us", sample.generator.into()),
                ("busy", sample.busy.into()),
                ("p50_us", sample.p50.into()),
                ("p99_us", sample.p99.into()),
                ("p999_us", sample.p999.into()),
                ("loss", sample.loss.into()),
            ])
        };
        Json::object([
            ("server", self.name.into()),
            ("engine", self.engine.into()),
            ("workers", Json::Whole(self.workers as u64)),
            ("load", self.work.name().into()),
            ("rounds", Json::List(self.samples.iter().map(sample).collect())),
        ])
    }
}

/// Checks at half of what Python's server can do.
#[derive(Clone, Debug)]
pub(crate) struct HalfRate {
    pub(crate) name: &'static str,
    pub(crate) rate: u64,
    pub(crate) latencies: Latencies,
    pub(crate) loss: f64,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    /// How many records each database has.
    pub(crate) records: u64,
    /// Of libgdbm by itself: changes a second, and CPU microseconds for each; one of each round.
    pub(crate) rmw: Vec<(f64, f64)>,
    pub(crate) half_rate: Vec<HalfRate>,
    pub(crate) memory: Vec<(&'static str, Memory)>,
    pub(crate) notes: Vec<String>,
}

impl Results {
    fn tables(&self) -> Vec<Table> {
        let tables = [self.loads(), self.latency(), self.sizes(), goals_table(&goals::judge(self))];
        tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
    }

    pub(crate) fn text(&self) -> String {
        let tables: Vec<String> = self.tables().iter().map(Table::text).collect();
        let notes: String = self.notes.iter().map(|note| format!("{note}\n")).collect();
        format!("{}\n{notes}", tables.join("\n"))
    }

    pub(crate) fn markdown(&self) -> String {
        let tables: Vec<String> = self.tables().iter().map(Table::markdown).collect();
        let notes: String = self.notes.iter().map(|note| format!("- {note}\n")).collect();
        if notes.is_empty() { tables.join("\n") } else { format!("{}\n{notes}", tables.join("\n")) }
    }

    pub(crate) fn json(&self) -> Json {
        let rmw = |(rate, cpu): &(f64, f64)| {
            Json::object([("changes_per_second", Json::from(*rate)), ("cpu_us", Json::from(*cpu))])
        };
        let memory = |(name, memory): &(&str, Memory)| {
            Json::object([
                ("server", Json::from(*name)),
                ("resident_kib", memory.resident.into()),
                ("highest_kib", memory.highest.into()),
                ("own_kib", memory.own.into()),
                ("share_kib", memory.share.into()),
            ])
        };
        let verdict = |verdict: &Verdict| {
            Json::object([
                ("goal", Json::Text(verdict.name.clone())),
                ("value", verdict.value.into()),
                ("bound", Json::Text(verdict.bound.to_string())),
                ("met", verdict.met().into()),
            ])
        };
        let latency = |half: &HalfRate| {
            Json::object([
                ("server", Json::from(half.name)),
                ("rate", half.rate.into()),
                ("p99_us", (half.latencies.quantile(0.99).as_secs_f64() * 1e6).into()),
                ("loss", half.loss.into()),
            ])
        };
        Json::object([
            ("loads", Json::List(self.rows.iter().map(Row::json).collect())),
            ("libgdbm", Json::List(self.rmw.iter().map(rmw).collect())),
            ("half_rate", Json::List(self.half_rate.iter().map(latency).collect())),
            ("memory", Json::List(self.memory.iter().map(memory).collect())),
            ("goals", Json::List(goals::judge(self).iter().map(verdict).collect())),
            ("notes", Json::List(self.notes.iter().map(|note| note.as_str().into()).collect())),
        ])
    }

    fn loads(&self) -> Table {
        let mut rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        if let Some(rate) = median(self.rmw.iter().map(|(rate, _)| *rate)) {
            let cpu = median(self.rmw.iter().map(|(_, cpu)| *cpu));
            let mut row = vec!["libgdbm fetch and store".to_owned(), "gdbm".into(), "1".into()];
            row.extend([shown(Some(rate), 0), shown(cpu, 2)]);
            row.resize(12, "-".into());
            rows.push(row);
        }
        let header = vec![
            "load",
            "engine",
            "workers",
            "replies/s",
            "server us",
            "store us",
            "generator us",
            "busy %",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "lost %",
        ];
        Table {
            title: "128 requests under way; CPU time for a request, and the latency of replies",
            header,
            rows,
        }
    }

    fn latency(&self) -> Table {
        let row = |half: &HalfRate| {
            let micros = |part| format!("{:.0}", half.latencies.quantile(part).as_secs_f64() * 1e6);
            let mut row = vec![half.name.to_owned(), half.rate.to_string()];
            row.extend([
                micros(0.5),
                micros(0.99),
                micros(0.999),
                micros(1.0),
                format!("{:.3}", half.loss * 100.0),
            ]);
            row
        };
        Table {
            title: "Checks on gdbm at half the rate that Python's server can do",
            header: vec!["server", "rate/s", "p50 us", "p99 us", "p99.9 us", "max us", "lost %"],
            rows: self.half_rate.iter().map(row).collect(),
        }
    }

    fn sizes(&self) -> Table {
        let row = |(name, memory): &(&'static str, Memory)| {
            let share = memory.share.map_or_else(|| "-".to_owned(), |share| share.to_string());
            let [own, resident, highest] =
                [memory.own, memory.resident, memory.highest].map(|size| size.to_string());
            vec![(*name).to_owned(), self.records.to_string(), own, share, resident, highest]
        };
        Table {
            title: "Memory with gdbm, in KiB",
            header: vec!["server", "records", "own", "share", "resident", "highest"],
            rows: self.memory.iter().map(row).collect(),
        }
    }
}

fn goals_table(verdicts: &[Verdict]) -> Table {
    let row = |verdict: &Verdict| {
        let met = if verdict.met() == Some(true) { "met" } else { "missed" };
        vec![verdict.name.clone(), shown(verdict.value, 3), verdict.bound.to_string(), met.to_owned()]
    };
    let measured = verdicts.iter().filter(|verdict| verdict.value.is_some());
    let rows = measured.map(row).collect();
    Table { title: "Goals", header: vec!["ratio", "value", "goal", ""], rows }
}

/// The one in the middle, or between the two in the middle.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let [low, high] = [figures.len().checked_sub(1)? / 2, figures.len() / 2];
    Some(f64::midpoint(*figures.get(low)?, *figures.get(high)?))
}

fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
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
