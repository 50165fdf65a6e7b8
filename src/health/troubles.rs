//! What keeps the server from doing what it is for.

use std::time::Duration;

use pyzord_core::Tick;
use pyzord_runtime::{Counters, FailingCalls, StuckThread};

use super::answers::{Answers, Question};
use super::cause::{Cause, Place};
use super::finding::{Finding, Verdict};

/// Calls that have failed for longer than this, without one that succeeds, are a trouble. A shorter time is one stall.
const FAILING: Duration = Duration::from_secs(3);
/// The failures are over if the database passes a probe at least this long after the last one.
const REFUTED: Duration = Duration::from_secs(3);
/// Failures that lie longer back than this say nothing of now.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Returns the verdict of this moment. Findings of one level are in order from the threads of the server outwards.
pub(super) fn verdict(counters: &Counters, answers: &Answers) -> Verdict {
    let now = counters.clock().tick();
    let mut findings: Vec<Finding> = counters.stuck().map(stuck).into_iter().collect();
    // A full disk is why a database in a file refuses counts.
    findings.extend(answers.disk_findings());
    findings.extend(store(answers, now).or_else(|| outcomes(counters, answers.passed(), now)));
    findings.extend(answers.warnings());
    Verdict::new(findings)
}

fn stuck(thread: StuckThread) -> Finding {
    let since = match thread {
        StuckThread::Worker(_, since)
        | StuckThread::Writer(_, since)
        | StuckThread::Watch(since)
        | StuckThread::Upkeep(since) => Some(since),
        _ => None,
    };
    Finding { cause: Cause::Stuck(thread), since }
}

fn store(answers: &Answers, now: Tick) -> Option<Finding> {
    if let Some((question, since)) = answers.overdue(now) {
        let cause = match question {
            Question::Disk => Cause::DiskSilent,
            // A call of an engine ends in time, unless a disk keeps it.
            Question::Store => Cause::DatabaseSilent { place: Place::File, error: None },
        };
        return Some(Finding::new(cause, since));
    }
    if !answers.is_known() {
        return Some(Finding { cause: Cause::NotAsked, since: None });
    }
    answers.store_finding()
}

/// Returns the trouble that the last real requests had. It is for what a probe does not find.
fn outcomes(counters: &Counters, passed: Option<Tick>, now: Tick) -> Option<Finding> {
    let lasting = |calls: &FailingCalls| {
        let is_over = passed.is_some_and(|passed| passed >= calls.latest.after(REFUTED));
        calls.latest.since(calls.since) >= FAILING && now.since(calls.latest) < FORGOTTEN && !is_over
    };
    let reads = counters.failing_reads().filter(lasting);
    let counts = counters.failing_counts().filter(lasting);
    reads
        .map(|calls| Finding::new(Cause::ChecksFail, calls.since))
        .or_else(|| counts.map(|calls| Finding::new(Cause::CountsFail, calls.since)))
}
