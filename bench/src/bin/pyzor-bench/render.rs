//! The results as text, Markdown and JSON.

use pyzord_bench::load::Latencies;
use serde_json::{Value, json};

use crate::goals::{self, Goal};
use crate::results::{HalfRate, Results, Row, Sample, median};
use crate::server::MemoryUse;
use crate::table::Table;

/// Renders the tables for a terminal.
pub(crate) fn text(results: &Results) -> String {
    let tables: Vec<String> = tables(results).iter().map(Table::text).collect();
    let notes: String = results.notes.iter().map(|note| format!("{note}\n")).collect();
    format!("{}\n{notes}", tables.join("\n"))
}

/// Renders the tables as Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let tables: Vec<String> = tables(results).iter().map(Table::markdown).collect();
    let notes: String = results.notes.iter().map(|note| format!("- {note}\n")).collect();
    if notes.is_empty() { tables.join("\n") } else { format!("{}\n{notes}", tables.join("\n")) }
}

/// Renders the results as JSON.
pub(crate) fn json(results: &Results) -> Value {
    let libgdbm =
        results.libgdbm.iter().map(|sample| json!({"changes_per_second": sample.rate, "cpu_us": sample.cpu}));
    let memory = results.memory.iter().map(|(name, memory)| {
        json!({
            "server": name,
            "resident_kib": memory.resident,
            "highest_kib": memory.highest,
            "own_kib": memory.own,
            "share_kib": memory.share,
        })
    });
    let goals = goals::evaluate(results).into_iter().map(|goal| {
        json!({
            "goal": goal.name,
            "value": goal.value,
            "bound": goal.bound.to_string(),
            "met": goal.met(),
        })
    });
    let half_rate = results.half_rate.iter().map(|half| {
        json!({
            "server": half.name,
            "rate": half.rate,
            "p99_us": micros(&half.latencies, 0.99),
            "loss": half.loss,
        })
    });
    json!({
        "loads": results.rows.iter().map(row_json).collect::<Vec<_>>(),
        "libgdbm": libgdbm.collect::<Vec<_>>(),
        "half_rate": half_rate.collect::<Vec<_>>(),
        "memory": memory.collect::<Vec<_>>(),
        "goals": goals.collect::<Vec<_>>(),
        "notes": results.notes,
    })
}

fn row_json(row: &Row) -> Value {
    let sample = |sample: &Sample| {
        json!({
            "replies_per_second": sample.rate,
            "server_cpu_us": sample.server,
            "store_cpu_us": sample.store,
            "generator_cpu_us": sample.generator,
            "busy": sample.busy,
            "p50_us": sample.p50,
            "p99_us": sample.p99,
            "p999_us": sample.p999,
            "loss": sample.loss,
        })
    };
    json!({
        "server": row.name,
        "engine": row.engine,
        "workers": row.workers,
        "load": row.workload.name(),
        "rounds": row.samples.iter().map(sample).collect::<Vec<_>>(),
    })
}

/// Returns the tables that have rows.
fn tables(results: &Results) -> Vec<Table> {
    let tables = [loads(results), latency(results), memory(results), goals_table(&goals::evaluate(results))];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn loads(results: &Results) -> Table {
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
    let mut rows: Vec<_> = results.rows.iter().map(load).collect();
    if let Some(rate) = median(results.libgdbm.iter().map(|sample| sample.rate)) {
        let cpu = median(results.libgdbm.iter().map(|sample| sample.cpu));
        let mut row = vec!["libgdbm fetch and store".to_owned(), "gdbm".into(), "1".into()];
        row.extend([figure(Some(rate), 0), figure(cpu, 2)]);
        row.resize(header.len(), "-".into());
        rows.push(row);
    }
    Table { title: "128 requests in flight; CPU time per request, and the latency of replies", header, rows }
}

fn load(row: &Row) -> Vec<String> {
    let median_of = |digits: usize, of: fn(&Sample) -> f64| figure(row.median(of), digits);
    let store = median(row.samples.iter().filter_map(|sample| sample.store));
    vec![
        format!("{} {}", row.name, row.workload.name()),
        row.engine.to_owned(),
        row.workers.to_string(),
        median_of(0, |sample| sample.rate),
        median_of(2, |sample| sample.server),
        figure(store, 2),
        median_of(2, |sample| sample.generator),
        median_of(0, |sample| sample.busy * 100.0),
        median_of(0, |sample| sample.p50),
        median_of(0, |sample| sample.p99),
        median_of(0, |sample| sample.p999),
        median_of(3, |sample| sample.loss * 100.0),
    ]
}

fn latency(results: &Results) -> Table {
    let row = |half: &HalfRate| {
        let mut row = vec![half.name.to_owned(), half.rate.to_string()];
        row.extend([0.5, 0.99, 0.999, 1.0].map(|part| format!("{:.0}", micros(&half.latencies, part))));
        row.push(format!("{:.3}", half.loss * 100.0));
        row
    };
    Table {
        title: "Checks on gdbm at half the rate of Python's server",
        header: vec!["server", "rate/s", "p50 us", "p99 us", "p99.9 us", "max us", "lost %"],
        rows: results.half_rate.iter().map(row).collect(),
    }
}

fn memory(results: &Results) -> Table {
    let row = |(name, memory): &(&'static str, MemoryUse)| {
        let share = memory.share.map_or_else(|| "-".to_owned(), |share| share.to_string());
        let [own, resident, highest] =
            [memory.own, memory.resident, memory.highest].map(|size| size.to_string());
        vec![(*name).to_owned(), results.records.to_string(), own, share, resident, highest]
    };
    Table {
        title: "Memory with gdbm, in KiB",
        header: vec!["server", "records", "own", "share", "resident", "highest"],
        rows: results.memory.iter().map(row).collect(),
    }
}

/// Lists the goals that were measured.
pub(crate) fn goals_table(goals: &[Goal]) -> Table {
    let row = |goal: &Goal| {
        let met = if goal.met()? { "met" } else { "missed" };
        Some(vec![goal.name.clone(), figure(goal.value, 3), goal.bound.to_string(), met.to_owned()])
    };
    let rows = goals.iter().filter_map(row).collect();
    Table { title: "Goals", header: vec!["ratio", "value", "goal", ""], rows }
}

fn micros(latencies: &Latencies, part: f64) -> f64 {
    latencies.quantile(part).as_secs_f64() * 1e6
}

fn figure(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
}
