//! `stats` and `top`: how much a server does, how long it takes, and for whom.

use std::fmt;
use std::io::{self, Write};

use serde_json::Value;

use super::context::Context;
use super::document::{Document, Percentiles, Rate, span, unix_time};
use super::error::{Outcome, exit_code};
use super::json;
use super::options::Figures;
use super::server_command::ServerError;
use super::status;
use crate::logs::OneLine;
use crate::times;

/// Shows rates, durations and what was refused.
pub(crate) fn stats(context: &Context, options: &Figures, out: &mut dyn Write) -> Outcome {
    let (text, document) = status::document(context)?;
    if options.json {
        let whole: Value = serde_json::from_str(&text).map_err(ServerError::Document)?;
        json::write_line(out, &whole)?;
        return Ok(exit_code(true));
    }
    write_rates(&document, out)?;
    write_durations("answered within", document.latency.as_ref(), out)?;
    write_durations("calls of the database within", document.store.as_ref(), out)?;
    write_counts(&document, out)?;
    Ok(exit_code(true))
}

/// Shows the networks that send most, and the users that are refused.
pub(crate) fn top(context: &Context, options: &Figures, out: &mut dyn Write) -> Outcome {
    let (text, document) = status::document(context)?;
    if options.json {
        let mut whole: Value = serde_json::from_str(&text).map_err(ServerError::Document)?;
        let mut part = |name: &str| whole.get_mut(name).map_or(Value::Null, Value::take);
        let parts = ["talkers", "denied"].map(|name| (name.to_owned(), part(name)));
        json::write_line(out, &Value::Object(parts.into_iter().collect()))?;
        return Ok(exit_code(true));
    }
    let since = document.started.and_then(unix_time).map_or_else(|| "the start".to_owned(), times::local);
    writeln!(out, "networks with most datagrams since {since}")?;
    writeln!(out, "{:<43}  {:>12}  {:>12}  {:>12}", "network", "datagrams", "refused", "dropped")?;
    for talker in document.talkers.iter().flatten() {
        // The table is bounded: a network can have the count of one that it has pushed out.
        let about = if talker.excess.unwrap_or(0) > 0 { "<=" } else { "" };
        let datagrams = format!("{about}{}", talker.datagrams);
        let (refused, dropped) = (Known(talker.refused), Known(talker.dropped));
        writeln!(
            out,
            "{:<43}  {datagrams:>12}  {refused:>12}  {dropped:>12}",
            OneLine(&talker.network).to_string()
        )?;
    }
    match &document.denied {
        Some(denied) if !denied.is_empty() => {
            writeln!(out, "\nusers that were refused\n{:<43}  {:>12}  {:>12}", "user", "code", "requests")?;
            for user in denied {
                writeln!(
                    out,
                    "{:<43}  {:>12}  {:>12}",
                    OneLine(&user.user).to_string(),
                    user.code,
                    user.count
                )?;
            }
        }
        Some(_) => writeln!(out, "\nno user was refused")?,
        None => (),
    }
    Ok(exit_code(true))
}

/// Returns one count of a rate.
type CountOf = fn(&Rate) -> u64;

/// A count, or a dash.
struct Known(Option<u64>);

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => f.pad(&count.to_string()),
            None => f.pad("-"),
        }
    }
}

/// Returns the counts since the start, as a rate.
fn since_start(document: &Document) -> Option<Rate> {
    let mut rate = Rate { seconds: document.uptime?, received: document.received?, ..Rate::default() };
    for request in document.requests.iter().flatten() {
        let kind = match (request.code, request.operation.as_str()) {
            (200, "check") => Some(&mut rate.checks),
            (200, "report") => Some(&mut rate.reports),
            (200, "whitelist") => Some(&mut rate.whitelists),
            _ => None,
        };
        kind.into_iter().for_each(|kind| *kind += request.count);
        *(if request.code == 200 { &mut rate.done } else { &mut rate.refused }) += request.count;
    }
    rate.dropped = document.dropped.iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    Some(rate)
}

fn write_rates(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let mut columns: Vec<(String, Rate)> =
        document.rates.iter().flatten().map(|rate| (span(rate.seconds), *rate)).collect();
    // A young server has one span only.
    columns.dedup_by(|(later, _), (earlier, _)| later == earlier);
    columns.extend(since_start(document).map(|rate| ("since start".to_owned(), rate)));
    columns.retain(|(_, rate)| rate.seconds > 0.0);
    write!(out, "{:<28}", "per second, over the last")?;
    columns.iter().try_for_each(|(head, _)| write!(out, "  {head:>14}"))?;
    writeln!(out)?;
    let rows: [(&str, CountOf); 7] = [
        ("received", |rate| rate.received),
        ("answered with 200", |rate| rate.done),
        ("refused (4xx, 5xx)", |rate| rate.refused),
        ("not answered on purpose", |rate| rate.dropped),
        ("checks", |rate| rate.checks),
        ("reports", |rate| rate.reports),
        ("whitelistings", |rate| rate.whitelists),
    ];
    for (name, count) in rows {
        write!(out, "{name:<28}")?;
        columns
            .iter()
            .try_for_each(|(_, rate)| write!(out, "  {:>14.2}", count(rate) as f64 / rate.seconds))?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_durations(what: &str, durations: Option<&Percentiles>, out: &mut dyn Write) -> io::Result<()> {
    let Some(Percentiles { count, p50: Some(p50), p90: Some(p90), p99: Some(p99) }) = durations else {
        return Ok(());
    };
    let [p50, p90, p99] = [p50, p90, p99].map(|seconds| seconds * 1000.0);
    writeln!(
        out,
        "{what} {p50:.2} ms (half), {p90:.2} ms (90 %), {p99:.2} ms (99 %), of {count} since the start"
    )
}

/// Writes what is known of the database, and what was lost or refused since the start.
fn write_counts(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let counts = [
        ("records, about", document.records),
        ("bytes of the database", document.database_bytes),
        ("calls that the database did not answer", document.store_unavailable),
        ("calls for an unreadable record", document.store_unreadable),
        ("counts without a place", document.store_no_place),
        ("datagrams that the kernel dropped", document.kernel_drops),
        ("replies dropped, as a buffer was full", document.replies_dropped),
        ("log lines lost", document.log_lines_lost),
        ("internal errors", document.internal_errors),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            writeln!(out, "{name}: {count}")?;
        }
    }
    for (reason, count) in document.dropped.iter().flatten().filter(|(_, count)| count.as_u64() != Some(0)) {
        writeln!(out, "not answered, {}: {count}", OneLine(reason))?;
    }
    for request in document.requests.iter().flatten() {
        writeln!(out, "{} {}: {}", OneLine(&request.operation), request.code, request.count)?;
    }
    Ok(())
}
