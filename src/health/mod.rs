//! Whether the server does what it is for: every worker gets on, the database reads and counts, and files have room.
//!
//! One thread asks the disks and the database, and looks at the counters, when a client wants to know and from time to
//! time. Clients read what it has found: none of them waits for a disk or a database itself.

mod answers;
mod cause;
mod disk;
mod finding;
mod remedy;
mod report;
mod tally;
mod troubles;
mod warnings;
mod words;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyzord_core::{Digest, Limits, Now, Store, StoreCall, StoreError, StoreOp, Tick};
use pyzord_runtime::{Clock, Counters, ForwardState, ForwardTarget, ForwardingView, NewRules};

use crate::kernel_drops::KernelDrops;
use crate::logs::Logs;
use answers::{Answers, Question, Wish};
pub(crate) use cause::NAMES;
use cause::{Cause, Place};
use disk::database_size;
pub(crate) use disk::{DiskUse, GrowingFile, Room};
pub(crate) use finding::{Finding, Level, Verdict};
use report::{OnChange, Reporter};
use tally::Meter;
use warnings::Warnings;

/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// The time between two probes while all is well and no client asks: a probe may write to the database's log.
const PROBE_PERIOD: Duration = Duration::from_secs(10);
/// The time between two reads of the store, which write nothing.
const READ_PERIOD: Duration = Duration::from_secs(1);
/// The time between two counts of the records.
const RECORDS_PERIOD: Duration = Duration::from_secs(4);
/// How long the end of the server waits for the thread.
const END: Duration = Duration::from_secs(1);

/// The health of a running server.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    answers: Arc<Answers>,
    counters: Arc<Counters>,
    wishes: Sender<Wish>,
}

impl Health {
    /// Returns what is wrong with the server.
    pub(crate) fn verdict(&self) -> Verdict {
        self.refresh(Wish::Look);
        self.find()
    }

    /// Returns what was wrong when the thread last looked, without a wait.
    pub(crate) fn last_verdict(&self) -> Verdict {
        self.find()
    }

    /// Returns what the files take, as the thread last found it.
    pub(crate) fn disk_use(&self) -> DiskUse {
        self.answers.disk_use()
    }

    fn refresh(&self, wish: Wish) {
        self.answers.refresh(wish, || {
            // An error means that the thread has ended with the server.
            let _ = self.wishes.send(wish);
        });
    }

    fn find(&self) -> Verdict {
        troubles::verdict(&self.counters, &self.answers)
    }

    /// Takes the limits of a reload.
    pub(crate) fn follow(&self, rules: &NewRules) {
        rules.limits.iter().for_each(|limits| self.answers.set_limits(limits.clone()));
    }

    /// Whether the database has answered the last question.
    pub(crate) fn store_answers(&self) -> bool {
        self.answers.store_answers(self.counters.clock().tick())
    }

    /// Returns the approximate number of records, if the database tells it cheaply.
    pub(crate) fn records(&self) -> Option<u64> {
        self.refresh(Wish::Records);
        // What a database that does not answer had is not what it has.
        self.answers.records().filter(|_| self.store_answers())
    }
}

/// What the health thread looks at.
pub(crate) struct Watched {
    pub(crate) counters: Arc<Counters>,
    pub(crate) store: Box<dyn Store>,
    /// The path of a database in a file.
    pub(crate) database: Option<PathBuf>,
    pub(crate) files: Vec<GrowingFile>,
    pub(crate) logs: &'static Logs,
    pub(crate) limits: Limits,
    pub(crate) forwarding: Option<ForwardingView>,
    pub(crate) kernel_drops: Arc<KernelDrops>,
}

/// The thread that looks.
pub(crate) struct HealthMonitor {
    health: Health,
    thread: JoinHandle<()>,
}

impl HealthMonitor {
    /// Starts the thread.
    pub(crate) fn start(watched: Watched, on_change: OnChange) -> io::Result<Self> {
        let counters = Arc::clone(&watched.counters);
        let clock = counters.clock();
        let (wishes, wished) = channel();
        let health =
            Health { answers: Arc::new(Answers::new(clock, watched.limits.clone())), counters, wishes };
        let look = Look {
            health: health.clone(),
            clock,
            watched,
            file: None,
            probed: None,
            read: None,
            counted: None,
            meter: Meter::default(),
            warnings: Warnings::default(),
            reporter: Reporter::new(on_change),
        };
        let thread = thread::Builder::new().name("pyzord-health".into()).spawn(move || look.run(&wished))?;
        Ok(Self { health, thread })
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Ends the thread. One that waits for a disk is left alone; it ends with the process.
    pub(crate) fn end(self) {
        // An error means that the thread has ended.
        let _ = self.health.wishes.send(Wish::End);
        let clock = self.health.counters.clock();
        let end = clock.tick().after(END);
        while !self.thread.is_finished() && clock.tick() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What the thread works with.
struct Look {
    health: Health,
    clock: Clock,
    watched: Watched,
    /// The file at the path of the database, at the last look.
    file: Option<(u64, u64)>,
    /// When the store was last probed.
    probed: Option<Tick>,
    /// When it was last read.
    read: Option<Tick>,
    /// When its records were last counted.
    counted: Option<Tick>,
    meter: Meter,
    warnings: Warnings,
    reporter: Reporter,
}

impl Look {
    fn run(mut self, wishes: &Receiver<Wish>) {
        let mut wish = None;
        loop {
            self.look(wish);
            self.reporter.report(&self.health.find(), self.clock.now());
            wish = match wishes.recv_timeout(PERIOD) {
                Ok(wish @ (Wish::Look | Wish::Records)) => Some(wish),
                Err(RecvTimeoutError::Timeout) => None,
                Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    /// Asks what is due, and what a client wishes to know.
    fn look(&mut self, wish: Option<Wish>) {
        self.count_events();
        let answers = Arc::clone(&self.health.answers);
        self.look_at_disks();
        let now = self.clock.now();
        if is_due(self.read, READ_PERIOD, now.tick) || wish == Some(Wish::Look) {
            self.ask_store(wish, now);
        }
        let counts_records = is_due(self.counted, RECORDS_PERIOD, now.tick) || wish == Some(Wish::Records);
        if counts_records && answers.store_answers(now.tick) {
            self.counted = Some(now.tick);
            let records = answers.ask(Question::Store, || self.watched.store.record_count(now));
            if wish == Some(Wish::Records) {
                answers.set_records(records);
            }
            let expired = self.watched.counters.counts().expired.unwrap_or(0);
            records.into_iter().for_each(|records| self.warnings.records(records, expired, now.tick));
        }
        let mut warnings = self.forwarding(now);
        warnings.extend(self.warnings.current(now.tick));
        answers.warn(warnings);
        if wish.is_some() {
            answers.looked();
        }
    }

    fn look_at_disks(&self) {
        let (answers, Watched { files, database, .. }) = (&self.health.answers, &self.watched);
        let rooms: Vec<_> =
            files.iter().map(|file| (file, answers.ask(Question::Disk, || file.room()))).collect();
        answers.disks(rooms.iter().map(|(file, room)| file.cause(room)).collect());
        let database = answers.ask(Question::Disk, || database.as_deref().and_then(database_size));
        let rooms = rooms.into_iter().filter_map(|(file, room)| Some((file.clone(), room.ok()?))).collect();
        answers.set_disk_use(DiskUse { database, rooms });
    }

    /// Returns the servers that do not take what is forwarded to them.
    fn forwarding(&self, now: Now) -> Vec<Finding> {
        let failing = |target: ForwardTarget| {
            let ForwardState::Failing(error) = target.state else { return None };
            let waiting = target.totals.waiting;
            let cause = Cause::ForwardingFails { server: target.server, error, waiting };
            let age = |since| u64::try_from(now.wall.micros().saturating_sub(since)).unwrap_or(0);
            let since = target
                .since
                .map(|since| now.tick.since(Tick::new(Duration::from_micros(age(since.micros())))));
            Some(Finding { cause, since: since.map(Tick::new) })
        };
        self.watched.forwarding.iter().flat_map(ForwardingView::targets).filter_map(failing).collect()
    }

    /// Looks at the counters, which wait for nothing.
    fn count_events(&mut self) {
        let now = self.clock.now();
        if !self.meter.is_due(now.tick) {
            return;
        }
        let Watched { counters, logs, kernel_drops, .. } = &self.watched;
        let interval = self.meter.read(counters, logs, kernel_drops);
        self.warnings.look(interval, &self.health.answers.limits(), now);
    }

    /// Reads the store, and probes it if that is due or if there is a doubt.
    fn ask_store(&mut self, wish: Option<Wish>, now: Now) {
        let answers = Arc::clone(&self.health.answers);
        let replaced = self.is_replaced();
        let counters = &self.health.counters;
        let doubtful = replaced
            || answers.store_finding().is_some()
            || counters.failing_counts().is_some()
            || counters.failing_reads().is_some();
        let probes = doubtful || is_due(self.probed, PROBE_PERIOD, now.tick) || wish == Some(Wish::Look);
        self.read = Some(now.tick);
        if probes {
            self.probed = Some(now.tick);
        }
        let cause = answers.ask(Question::Store, || self.probe(now, probes));
        // A read alone says nothing of counts.
        if probes || cause.is_some() {
            answers.probed(cause);
        }
    }

    /// Reads one record, which may be absent, and asks whether counts are accepted.
    fn probe(&mut self, now: Now, counts: bool) -> Option<Cause> {
        let (mut found, call) = (Vec::new(), StoreCall::new(Digest::new([0; 20]), StoreOp::Read));
        let store = &mut self.watched.store;
        store.execute(now, &[call], &mut found);
        // An unreadable record is an answer, too.
        if matches!(found.first(), Some(Ok(_) | Err(StoreError::Unreadable))) {
            let error = counts.then(|| store.probe(now).err()).flatten()?.to_string();
            return Some(Cause::RefusesCounts { place: self.place(), error });
        }
        if found.is_empty() {
            log::error!("health check: internal error: the engine gave no answer");
        }
        let error = store.probe(now).err().map(|failure| failure.to_string());
        Some(Cause::DatabaseSilent { place: self.place(), error })
    }

    /// Whether another file, or none, is at the path of the database than at the last look.
    fn is_replaced(&mut self) -> bool {
        let Some(path) = &self.watched.database else { return false };
        let file = self.health.answers.ask(Question::Disk, || fs::metadata(path).ok());
        let file = file.map(|file| (file.dev(), file.ino()));
        std::mem::replace(&mut self.file, file) != file
    }

    fn place(&self) -> Place {
        match &self.watched.database {
            None => Place::Server,
            Some(path) if matches!(path.try_exists(), Ok(false)) => Place::RemovedFile,
            Some(_) => Place::File,
        }
    }
}

fn is_due(last: Option<Tick>, period: Duration, now: Tick) -> bool {
    last.is_none_or(|last| now.since(last) >= period)
}
