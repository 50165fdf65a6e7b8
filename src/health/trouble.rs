//! What keeps the server from doing what it is for.

use std::time::Duration;

use pyzord_core::{Now, Tick, UnixTime};
use pyzord_runtime::{Counters, FailingCalls, StuckThread};

use super::findings::{Findings, Question, StoreTrouble};
use crate::times;

/// Calls that have failed for longer than this, without one that succeeds, are a trouble. A shorter time is one stall.
const FAILING: Duration = Duration::from_secs(5);
/// Failures that lie longer back than this say nothing of now.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// A trouble, in the operator's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Trouble {
    pub(crate) cause: String,
    /// Since when, as far as it is known.
    pub(super) since: Since,
}

/// The beginning of a trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Since {
    Tick(Tick),
    Unknown,
}

impl Trouble {
    pub(super) fn new(cause: impl Into<String>, since: Tick) -> Self {
        Self { cause: cause.into(), since: Since::Tick(since) }
    }

    /// Returns the trouble and its beginning, as one line.
    pub(crate) fn at(&self, now: Now) -> String {
        match self.since_time(now) {
            Some(since) => {
                let seconds = now.wall.seconds().saturating_sub(since.seconds());
                format!("{}, since {} ({seconds} s)", self.cause, times::local(since))
            }
            None => self.cause.clone(),
        }
    }

    /// Returns when it began.
    pub(crate) fn since_time(&self, now: Now) -> Option<UnixTime> {
        match self.since {
            Since::Tick(since) => Some(now.wall.before(now.tick.since(since))),
            Since::Unknown => None,
        }
    }
}

/// Returns the first trouble, from the threads of the server outwards.
pub(super) fn find(counters: &Counters, findings: &Findings) -> Option<Trouble> {
    let now = counters.clock().tick();
    counters
        .stuck()
        .map(stuck)
        .or_else(|| store(findings, now))
        .or_else(|| outcomes(counters, now))
        .or_else(|| findings.full_disk().map(|(cause, since)| Trouble::new(cause, since)))
}

fn stuck(thread: StuckThread) -> Trouble {
    let cause = thread.to_string();
    match thread {
        StuckThread::Worker(_, since)
        | StuckThread::Writer(_, since)
        | StuckThread::Watch(since)
        | StuckThread::Upkeep(since) => Trouble::new(cause, since),
        _ => Trouble { cause, since: Since::Unknown },
    }
}

fn store(findings: &Findings, now: Tick) -> Option<Trouble> {
    if let Some((question, since)) = findings.overdue(now) {
        return Some(Trouble::new(
            match question {
                Question::Disk => "a disk does not answer",
                Question::Store => "the database does not answer",
            },
            since,
        ));
    }
    if !findings.is_known() {
        return Some(Trouble { cause: "the database was not asked yet".into(), since: Since::Unknown });
    }
    let (trouble, since) = findings.store_trouble()?;
    let cause = match trouble {
        StoreTrouble::Silent => "the database does not answer".to_owned(),
        StoreTrouble::RefusesCounts(cause) => format!("the database refuses counts: {cause}"),
    };
    Some(Trouble::new(cause, since))
}

/// Returns the trouble that the last real requests had. It is for what a probe does not find.
fn outcomes(counters: &Counters, now: Tick) -> Option<Trouble> {
    let lasting = |calls: &FailingCalls| {
        calls.latest.since(calls.since) >= FAILING && now.since(calls.latest) < FORGOTTEN
    };
    let reads = counters.failing_reads().filter(lasting);
    let counts = counters.failing_counts().filter(lasting);
    reads
        .map(|calls| Trouble::new("all checks fail", calls.since))
        .or_else(|| counts.map(|calls| Trouble::new("no report or whitelisting is counted", calls.since)))
}
