//! Whether the server does what it is for: every worker gets on, the database reads and counts, and files have room.
//!
//! One thread asks the disks and the database, when a client wants to know and from time to time. Clients read what it has
//! found: none of them waits for a disk or a database itself.

mod disk;
mod findings;
mod report;
mod trouble;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyzord_core::{Digest, Now, Store, StoreCall, StoreError, StoreOp, Tick};
use pyzord_runtime::{Clock, Counters};

pub(crate) use disk::GrowingFile;
use findings::{Findings, Question, StoreTrouble, Wish};
use report::{OnChange, Reporter};
pub(crate) use trouble::Trouble;

/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(2);
/// The time between two probes while all is well and no client asks: a probe may write to the database's log.
const PROBE_PERIOD: Duration = Duration::from_secs(10);
/// How long the end of the server waits for the thread.
const END: Duration = Duration::from_secs(1);

/// The health of a running server.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    findings: Arc<Findings>,
    counters: Arc<Counters>,
    wishes: Sender<Wish>,
}

impl Health {
    /// Returns why the server does not do what it is for, if it does not.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.refresh(Wish::Look);
        self.find()
    }

    fn refresh(&self, wish: Wish) {
        self.findings.refresh(wish, || {
            // An error means that the thread has ended with the server.
            let _ = self.wishes.send(wish);
        });
    }

    fn find(&self) -> Option<Trouble> {
        trouble::find(&self.counters, &self.findings)
    }

    /// Whether the database has answered the last question.
    pub(crate) fn store_answers(&self) -> bool {
        self.findings.store_answers(self.counters.clock().tick())
    }

    /// Returns the approximate number of records, if the database tells it cheaply.
    pub(crate) fn records(&self) -> Option<u64> {
        self.refresh(Wish::Records);
        self.findings.records()
    }
}

/// The thread that looks.
pub(crate) struct HealthMonitor {
    health: Health,
    thread: JoinHandle<()>,
}

impl HealthMonitor {
    /// Starts the thread. It asks `store`, and looks at the disks of `files`.
    pub(crate) fn start(
        counters: Arc<Counters>,
        store: Box<dyn Store>,
        files: Vec<GrowingFile>,
        on_change: OnChange,
    ) -> io::Result<Self> {
        let clock = counters.clock();
        let (wishes, wished) = channel();
        let health = Health { findings: Arc::new(Findings::new(clock)), counters, wishes };
        let look = Look {
            health: health.clone(),
            clock,
            store,
            files,
            probed: None,
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
    store: Box<dyn Store>,
    files: Vec<GrowingFile>,
    /// When the store was last probed.
    probed: Option<Tick>,
    reporter: Reporter,
}

impl Look {
    fn run(mut self, wishes: &Receiver<Wish>) {
        let mut wish = None;
        loop {
            self.look(wish);
            self.reporter.report(self.health.find().as_ref(), self.clock.now());
            wish = match wishes.recv_timeout(PERIOD) {
                Ok(wish @ (Wish::Look | Wish::Records)) => Some(wish),
                Err(RecvTimeoutError::Timeout) => None,
                Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    /// Asks what is due, and what a client wishes to know.
    fn look(&mut self, wish: Option<Wish>) {
        let findings = Arc::clone(&self.health.findings);
        for file in &self.files {
            let trouble = findings.ask(Question::Disk, || file.trouble());
            findings.disk(&file.path, trouble);
        }
        let now = self.clock.now();
        let due = self.probed.is_none_or(|probed| now.tick.since(probed) >= PROBE_PERIOD);
        let doubtful = findings.store_trouble().is_some() || self.health.counters.failing_counts().is_some();
        if doubtful || due || wish == Some(Wish::Look) {
            self.probed = Some(now.tick);
            findings.probed(findings.ask(Question::Store, || self.probe(now)));
        }
        if wish == Some(Wish::Records) && findings.store_answers(now.tick) {
            findings.set_records(findings.ask(Question::Store, || self.store.record_count(now)));
        }
        if wish.is_some() {
            findings.looked();
        }
    }

    /// Reads one record, which may be absent, and asks whether counts are accepted.
    fn probe(&mut self, now: Now) -> Result<(), StoreTrouble> {
        let (mut answers, call) = (Vec::new(), StoreCall::new(Digest::new([0; 20]), StoreOp::Read));
        self.store.execute(now, &[call], &mut answers);
        match answers.first() {
            // An unreadable record is an answer, too.
            Some(Ok(_) | Err(StoreError::Unreadable)) => (),
            Some(Err(_)) => return Err(StoreTrouble::Silent),
            None => {
                log::error!("health check: internal error: the engine gave no answer");
                return Err(StoreTrouble::Silent);
            }
        }
        self.store.probe(now).map_err(|failure| StoreTrouble::RefusesCounts(failure.to_string()))
    }
}
