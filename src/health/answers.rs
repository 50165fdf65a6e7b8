//! The answers to what the health thread asks: the last ones, and since when they are bad.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::{Limits, Tick};
use pyzord_runtime::Clock;

use super::cause::Cause;
use super::disk::DiskUse;
use super::finding::Finding;

/// After this time without an answer, a question is a trouble of its own.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long answers count. It bounds how often the database is asked, however often `/healthz` is.
const FRESH: Duration = Duration::from_secs(2);
/// How long an estimate of the number of records counts.
const RECORDS_FRESH: Duration = Duration::from_secs(10);
/// How long a client waits for answers that are not there yet.
const WAIT: Duration = Duration::from_millis(500);

/// What the thread that looks is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// Look at everything.
    Look,
    /// Count the records.
    Records,
    /// End.
    End,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Question {
    Disk,
    Store,
}

/// The answers so far.
#[derive(Debug)]
pub(super) struct Answers {
    clock: Clock,
    found: Mutex<Found>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Found {
    /// The question that is not answered yet, and when it was asked.
    open: Option<(Question, Tick)>,
    /// The store was probed.
    probed: bool,
    /// When it last passed the probe.
    passed: Option<Tick>,
    /// What is wrong with the store.
    store: Option<Finding>,
    /// What is wrong with each file, in the order of the files.
    disks: Vec<Option<Finding>>,
    disk_use: DiskUse,
    /// What the counters show of the last seconds.
    warnings: Vec<Finding>,
    /// The limits in effect.
    limits: Limits,
    records: Option<u64>,
    /// When a client's questions were last answered, and how often they were.
    looked: Option<Tick>,
    looks: u64,
    /// When the records were last counted.
    counted: Option<Tick>,
}

impl Answers {
    pub(super) fn new(clock: Clock, limits: Limits) -> Self {
        let found = Mutex::new(Found { limits, ..Found::default() });
        Self { clock, found, answered: Condvar::new() }
    }

    /// Takes the limits of a reload.
    pub(super) fn set_limits(&self, limits: Limits) {
        self.found().limits = limits;
    }

    pub(super) fn limits(&self) -> Limits {
        self.found().limits.clone()
    }

    /// Asks a question, which may take long.
    pub(super) fn ask<T>(&self, question: Question, ask: impl FnOnce() -> T) -> T {
        self.found().open = Some((question, self.clock.tick()));
        let answer = ask();
        self.found().open = None;
        answer
    }

    /// Records what a probe of the store has found.
    pub(super) fn probed(&self, cause: Option<Cause>) {
        let now = self.clock.tick();
        let mut found = self.found();
        found.probed = true;
        if cause.is_none() {
            found.passed = Some(now);
        }
        found.store = lasting(found.store.take(), cause, now);
    }

    /// Records what is wrong with each file.
    pub(super) fn disks(&self, causes: Vec<Option<Cause>>) {
        let now = self.clock.tick();
        let mut found = self.found();
        let mut before = std::mem::take(&mut found.disks).into_iter();
        found.disks = causes.into_iter().map(|cause| lasting(before.next().flatten(), cause, now)).collect();
    }

    /// Records what the files take.
    pub(super) fn set_disk_use(&self, found: DiskUse) {
        self.found().disk_use = found;
    }

    pub(super) fn disk_use(&self) -> DiskUse {
        self.found().disk_use.clone()
    }

    /// Records what the counters show.
    pub(super) fn warn(&self, warnings: Vec<Finding>) {
        self.found().warnings = warnings;
    }

    /// A client's questions were answered.
    pub(super) fn looked(&self) {
        let mut found = self.found();
        found.looked = Some(self.clock.tick());
        found.looks += 1;
        drop(found);
        self.answered.notify_all();
    }

    /// Has `look` start another round unless the answers are fresh, and waits for its end, but not for long.
    pub(super) fn refresh(&self, wish: Wish, look: impl FnOnce()) {
        let (now, found) = (self.clock.tick(), self.found());
        let within = |since: Tick, time| now.since(since) < time;
        let fresh = match wish {
            Wish::Records => found.counted.is_some_and(|counted| within(counted, RECORDS_FRESH)),
            _ => found.looked.is_some_and(|looked| within(looked, FRESH)),
        };
        if fresh || found.open.is_some_and(|(_, asked)| !within(asked, WAIT)) {
            return;
        }
        let looks = found.looks;
        look();
        // The answers that are there serve, whether they are new or not.
        drop(self.answered.wait_timeout_while(found, WAIT, |found| found.looks == looks));
    }

    pub(super) fn set_records(&self, records: Option<u64>) {
        let mut found = self.found();
        found.records = records;
        // What is not known is asked for again.
        found.counted = records.map(|_| self.clock.tick());
    }

    pub(super) fn records(&self) -> Option<u64> {
        self.found().records
    }

    /// Whether the store has answered the last read, and keeps no question waiting.
    pub(super) fn store_answers(&self, now: Tick) -> bool {
        let found = self.found();
        let silent = |finding: &Finding| matches!(finding.cause, Cause::DatabaseSilent { .. });
        let overdue = matches!(found.overdue(now), Some((Question::Store, _)));
        found.probed && !found.store.as_ref().is_some_and(silent) && !overdue
    }

    /// Returns a question that is not answered in time, and when it was asked.
    pub(super) fn overdue(&self, now: Tick) -> Option<(Question, Tick)> {
        self.found().overdue(now)
    }

    /// Returns what is wrong with the store.
    pub(super) fn store_finding(&self) -> Option<Finding> {
        self.found().store.clone()
    }

    /// Returns what is wrong with files.
    pub(super) fn disk_findings(&self) -> Vec<Finding> {
        self.found().disks.iter().flatten().cloned().collect()
    }

    /// Returns what the counters show.
    pub(super) fn warnings(&self) -> Vec<Finding> {
        self.found().warnings.clone()
    }

    /// Returns when the store last passed the probe: it answered a read, and accepted a count.
    pub(super) fn passed(&self) -> Option<Tick> {
        self.found().passed
    }

    /// Whether the store was probed.
    pub(super) fn is_known(&self) -> bool {
        self.found().probed
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // No code panics while it holds this lock.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn overdue(&self, now: Tick) -> Option<(Question, Tick)> {
        self.open.filter(|(_, asked)| now.since(*asked) > PATIENCE)
    }
}

/// Returns the finding for a cause. While a finding keeps its level, it keeps its beginning.
fn lasting(before: Option<Finding>, cause: Option<Cause>, now: Tick) -> Option<Finding> {
    let cause = cause?;
    let since = before.filter(|before| before.cause.level() == cause.level()).and_then(|before| before.since);
    Some(Finding::new(cause, since.unwrap_or(now)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::health::cause::Place;

    #[test]
    fn what_lasts_keeps_its_beginning() {
        let answers = Answers::new(Clock::start(), Limits::default());
        assert!(!answers.is_known() && !answers.store_answers(Tick::default()));
        answers.probed(Some(Cause::DatabaseSilent { place: Place::Server, error: None }));
        let since = answers.store_finding().unwrap().since;
        assert!(!answers.store_answers(Tick::default()));
        let refuses = Cause::RefusesCounts { place: Place::Server, error: "read-only".into() };
        answers.probed(Some(refuses.clone()));
        assert_eq!(answers.store_finding(), Some(Finding { cause: refuses, since }));
        assert!(answers.store_answers(Tick::default()));
        answers.probed(None);
        assert_eq!(answers.store_finding(), None);
        assert!(answers.store_answers(Tick::default()));
        let path = PathBuf::from("/var/log/pyzord.log");
        let full = |free| Cause::DiskFull { what: "the log", path: path.clone(), free };
        answers.disks(vec![None, Some(full(9))]);
        let since = answers.disk_findings()[0].since;
        answers.disks(vec![None, Some(full(8))]);
        assert_eq!(answers.disk_findings(), [Finding { cause: full(8), since }]);
        answers.disks(vec![None, None]);
        assert_eq!(answers.disk_findings(), []);
    }

    #[test]
    fn a_question_without_an_answer_is_noticed_while_it_is_open() {
        let answers = Answers::new(Clock::start(), Limits::default());
        answers.probed(None);
        let later = Tick::new(Duration::from_secs(3600));
        answers.ask(Question::Store, || {
            assert!(matches!(answers.overdue(later), Some((Question::Store, _))));
            assert!(!answers.store_answers(later) && answers.overdue(Tick::default()).is_none());
        });
        assert_eq!(answers.overdue(later), None);
    }
}
