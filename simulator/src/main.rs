//! Runs many seeds, or replays one.
//!
//! ```text
//! pyzord-simulator --seed N [--phases N] [--without FAULT,...]   runs one seed and prints its trace
//! pyzord-simulator --seeds A..B                                   runs many seeds
//! pyzord-simulator --seconds S [--seeds A..]                      runs seeds for S seconds
//! ```

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pyzord_simulator::{Fault, Plan, Summary, Violation, minimise, run, trace};

const USAGE: &str = "usage: pyzord-simulator --seed N [--phases N] [--without FAULT,...]
       pyzord-simulator [--seeds A..B] [--seconds S]";

/// Seeds per line of progress.
const PROGRESS: u64 = 1000;

/// The task of the command line.
enum Task {
    Replay(Plan),
    Sweep { first: u64, end: u64, time: Duration },
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match parse(&words) {
        Some(Task::Replay(plan)) => replay(&plan),
        Some(Task::Sweep { first, end, time }) => sweep(first, end, time),
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A closed pipe (`| head`) is not a failure.
    if outcome.unwrap_or(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(words: &[String]) -> Option<Task> {
    let mut plan = None;
    let (mut phases, mut without) = (Plan::PHASES, BTreeSet::new());
    let (mut first, mut end, mut time) = (0, u64::MAX, Duration::MAX);
    let mut bounded = false;
    for pair in words.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--seed" => plan = Some(Plan::new(value.parse().ok()?)),
            "--phases" => phases = value.parse().ok()?,
            "--without" => without = value.split(',').map(Fault::parse).collect::<Option<_>>()?,
            "--seeds" => {
                let (from, to) = value.split_once("..")?;
                first = from.parse().ok()?;
                end = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
                bounded |= !to.is_empty();
            }
            "--seconds" => {
                time = Duration::from_secs(value.parse().ok()?);
                bounded = true;
            }
            _ => return None,
        }
    }
    match plan {
        Some(plan) => Some(Task::Replay(Plan { phases, without, ..plan })),
        None => bounded.then_some(Task::Sweep { first, end, time }),
    }
}

/// Prints the trace of one run. Returns whether every invariant holds.
fn replay(plan: &Plan) -> io::Result<bool> {
    let (lines, outcome) = trace(plan);
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    match &outcome {
        Ok(Summary { steps, answered, elapsed }) => {
            writeln!(out, "every invariant holds: {steps} steps, {answered} replies, {elapsed:?}")?;
        }
        Err(violation) => writeln!(out, "VIOLATION {violation}")?,
    }
    Ok(outcome.is_ok())
}

/// Runs one seed after another until one fails. Returns whether every invariant holds.
#[expect(clippy::disallowed_methods, reason = "the duration of a sweep is not part of a run")]
fn sweep(first: u64, end: u64, time: Duration) -> io::Result<bool> {
    let began = Instant::now();
    let mut total = Summary::default();
    let mut seeds = 0;
    for seed in first..end {
        match run(&Plan::new(seed)) {
            Ok(summary) => total = add(total, summary),
            Err(violation) => return report(seed, &violation).map(|()| false),
        }
        seeds += 1;
        let over = began.elapsed() >= time;
        if seeds % PROGRESS == 0 || over || seed + 1 == end {
            let Summary { steps, answered, elapsed } = total;
            let days = elapsed.as_secs() / 86_400;
            let mut out = io::stdout().lock();
            writeln!(
                out,
                "{seeds} seeds hold: {steps} steps, {answered} replies, {days} days of virtual time"
            )?;
        }
        if over {
            break;
        }
    }
    Ok(true)
}

/// Prints a violation and the commands that replay it.
fn report(seed: u64, violation: &Violation) -> io::Result<()> {
    let mut command = format!("cargo run -p pyzord-simulator -- --seed {seed}");
    let mut out = io::stdout().lock();
    writeln!(out, "seed {seed} VIOLATES {violation}\nreplay it:\n    {command}")?;
    let smallest = minimise(&Plan::new(seed), violation.invariant);
    let without: Vec<&str> = smallest.without.iter().map(|fault| fault.name()).collect();
    if !without.is_empty() {
        command += &format!(" --without {}", without.join(","));
    }
    writeln!(out, "or its smallest part that fails:\n    {command} --phases {}", smallest.phases)
}

fn add(a: Summary, b: Summary) -> Summary {
    Summary { steps: a.steps + b.steps, answered: a.answered + b.answered, elapsed: a.elapsed + b.elapsed }
}
