//! What the thread that looks has found.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::Tick;
use pyzord_runtime::Clock;

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

/// What is wrong with the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum StoreTrouble {
    /// It does not answer a read.
    Silent,
    /// It answers reads, and refuses counts for this reason.
    RefusesCounts(String),
}

/// The answers so far.
#[derive(Debug)]
pub(super) struct Findings {
    clock: Clock,
    found: Mutex<Found>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Found {
    /// The question that is not answered yet, and when it was asked.
    open: Option<(Question, Tick)>,
    /// The last probe; `None` before the first one.
    probe: Option<Result<(), StoreTrouble>>,
    /// Since when probes fail.
    probe_fails: Option<Tick>,
    /// The files that cannot grow, with the cause, and since when.
    disks: Vec<(PathBuf, String, Tick)>,
    records: Option<u64>,
    /// When a client's questions were last answered, and how often they were.
    looked: Option<Tick>,
    looks: u64,
    /// When the records were last counted.
    counted: Option<Tick>,
}

impl Findings {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, found: Mutex::default(), answered: Condvar::new() }
    }

    /// Asks a question, which may take long.
    pub(super) fn ask<T>(&self, question: Question, ask: impl FnOnce() -> T) -> T {
        self.found().open = Some((question, self.clock.tick()));
        let answer = ask();
        self.found().open = None;
        answer
    }

    /// Records a probe of the store.
    pub(super) fn probed(&self, probe: Result<(), StoreTrouble>) {
        let now = self.clock.tick();
        let mut found = self.found();
        found.probe_fails = probe.is_err().then(|| found.probe_fails.unwrap_or(now));
        found.probe = Some(probe);
    }

    /// Records why a file cannot grow, if it cannot.
    pub(super) fn disk(&self, path: &Path, trouble: Option<String>) {
        let now = self.clock.tick();
        let mut found = self.found();
        let position = found.disks.iter().position(|(known, ..)| known == path);
        let since = position.map(|position| found.disks.swap_remove(position).2);
        if let Some(trouble) = trouble {
            found.disks.push((path.to_owned(), trouble, since.unwrap_or(now)));
        }
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
        let answers = matches!(found.probe, Some(Ok(()) | Err(StoreTrouble::RefusesCounts(_))));
        answers && !matches!(found.overdue(now), Some((Question::Store, _)))
    }

    /// Returns a question that is not answered in time, and when it was asked.
    pub(super) fn overdue(&self, now: Tick) -> Option<(Question, Tick)> {
        self.found().overdue(now)
    }

    /// Returns what is wrong with the store, and since when something is.
    pub(super) fn store_trouble(&self) -> Option<(StoreTrouble, Tick)> {
        let found = self.found();
        let cause = found.probe.clone()?.err()?;
        Some((cause, found.probe_fails?))
    }

    /// Returns why a file cannot grow, and since when.
    pub(super) fn full_disk(&self) -> Option<(String, Tick)> {
        self.found().disks.first().map(|(_, cause, since)| (cause.clone(), *since))
    }

    /// Whether the store was probed.
    pub(super) fn is_known(&self) -> bool {
        self.found().probe.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_keeps_its_beginning() {
        let findings = Findings::new(Clock::start());
        assert!(!findings.is_known() && !findings.store_answers(Tick::default()));
        findings.probed(Err(StoreTrouble::Silent));
        let (_, since) = findings.store_trouble().unwrap();
        assert!(!findings.store_answers(Tick::default()));
        let refuses = StoreTrouble::RefusesCounts("read-only".into());
        findings.probed(Err(refuses.clone()));
        assert_eq!(findings.store_trouble(), Some((refuses, since)));
        assert!(findings.store_answers(Tick::default()));
        findings.probed(Ok(()));
        assert_eq!(findings.store_trouble(), None);
        assert!(findings.store_answers(Tick::default()));
        let path = Path::new("/var/log/pyzord.log");
        findings.disk(path, Some("full".into()));
        let since = findings.full_disk().unwrap().1;
        findings.disk(path, Some("fuller".into()));
        assert_eq!(findings.full_disk(), Some(("fuller".into(), since)));
        findings.disk(path, None);
        assert_eq!(findings.full_disk(), None);
    }

    #[test]
    fn a_question_without_an_answer_is_noticed_while_it_is_open() {
        let findings = Findings::new(Clock::start());
        findings.probed(Ok(()));
        let later = Tick::new(Duration::from_secs(3600));
        findings.ask(Question::Store, || {
            assert!(matches!(findings.overdue(later), Some((Question::Store, _))));
            assert!(!findings.store_answers(later) && findings.overdue(Tick::default()).is_none());
        });
        assert_eq!(findings.overdue(later), None);
    }
}
