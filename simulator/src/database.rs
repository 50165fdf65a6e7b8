//! The database: a file on the server's machine or a remote server, with their faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pyzord_core::{
    CleanupAge, Digest, Mark, MemoryStore, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError,
    StoreFailure, StoreOp, Task, Tick, UnixTime,
};

use crate::checker::BatchEntry;
use crate::context::Context;
use crate::event::{Health, RemoteCalls, Session};
use crate::invariant::Checked;
use crate::plan::Sabotage;

/// The longest time that a call waits for a database that hangs.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);
/// The longest attempt to connect to a database that hangs.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct Database {
    records: MemoryStore,
    /// The marks of signed counts, which survive restarts of the server.
    marks: BTreeMap<Mark, Tick>,
    /// The records after a power failure.
    disk: MemoryStore,
    /// The records at the beginning of the running sync, here and in the model.
    syncing: Option<(MemoryStore, BTreeMap<Digest, Record>)>,
    /// Whether a record may have changed since the last sync began.
    dirty: bool,
    pub(crate) health: Health,
    /// Since when it is healthy, if it is.
    pub(crate) healthy_since: Option<Tick>,
    /// Restarts so far. Connections from before a restart are broken.
    epoch: u32,
}

impl Database {
    /// Creates a database with old and recent records.
    pub(crate) fn new(context: &mut Context) -> Self {
        let mut records = MemoryStore::new();
        let count = if context.random.percent(12) {
            context.random.between(1000, 2200)
        } else {
            context.random.between(0, 20)
        };
        for _ in 0..count {
            let digest = Digest::new(context.random.bytes());
            let age = context.random.magnitude(25).cast_signed();
            let mut record = Record::default();
            let op = if context.random.percent(80) { StoreOp::Report } else { StoreOp::Whitelist };
            op.apply(&mut record, UnixTime::from_seconds(context.clock.seconds() - age));
            records.put(digest, record);
            context.checker.records.stored(digest, record);
        }
        Self {
            disk: records.clone(),
            records,
            marks: BTreeMap::new(),
            syncing: None,
            dirty: false,
            health: Health::Healthy,
            healthy_since: Some(Tick::default()),
            epoch: 0,
        }
    }

    pub(crate) fn set_health(&mut self, health: Health, now: Tick) {
        let since = *self.healthy_since.get_or_insert(now);
        self.healthy_since = (health == Health::Healthy).then_some(since);
        if health == Health::Down {
            self.epoch += 1;
        }
        self.health = health;
    }

    /// Executes calls on a local store. Returns the answers, and how long they take.
    pub(crate) fn execute(
        &mut self,
        context: &mut Context,
        now: Now,
        asked: &[BatchEntry],
        calls: &[StoreCall],
    ) -> Checked<(Vec<StoreAnswer>, Duration)> {
        let (success, delay) = match self.health {
            Health::Healthy => (100, context.random.micros(1, 300)),
            Health::Flaky => (70, context.random.micros(1, 3000)),
            Health::Hanging => (0, TIMEOUT),
            Health::Down => (0, Duration::ZERO),
        };
        let applied: Vec<bool> = calls.iter().map(|_| context.random.percent(success)).collect();
        Ok((self.apply(context, now, asked, calls, &applied)?, delay))
    }

    /// Executes reads on a store of a split database: no count keeps them waiting. Returns the answers, and how long they
    /// take.
    pub(crate) fn read_split(
        &mut self,
        context: &mut Context,
        now: Now,
        asked: &[BatchEntry],
        calls: &[StoreCall],
    ) -> Checked<(Vec<StoreAnswer>, Duration)> {
        let success = match self.health {
            Health::Healthy | Health::Hanging => 100,
            Health::Flaky => 70,
            Health::Down => 0,
        };
        let applied: Vec<bool> = calls.iter().map(|_| context.random.percent(success)).collect();
        let delay = context.random.micros(1, 300);
        Ok((self.apply(context, now, asked, calls, &applied)?, delay))
    }

    /// Connects. On failure returns how long the attempt took.
    pub(crate) fn connect(&self, context: &mut Context) -> Result<Session, Duration> {
        let session = self.session();
        match self.health {
            Health::Healthy => Ok(session),
            Health::Flaky if context.random.percent(60) => Ok(session),
            Health::Flaky | Health::Down => Err(context.random.micros(50, 5000)),
            Health::Hanging => Err(CONNECT_TIMEOUT),
        }
    }

    /// Returns a session that is valid now.
    pub(crate) fn session(&self) -> Session {
        Session { epoch: self.epoch }
    }

    pub(crate) fn is_open(&self, session: Session) -> bool {
        session.epoch == self.epoch
    }

    /// Executes calls from a connection; returns `None` if the connection is or gets lost.
    pub(crate) fn receive(
        &mut self,
        context: &mut Context,
        request: &RemoteCalls,
    ) -> Checked<Option<Vec<StoreAnswer>>> {
        if !self.is_open(request.session) {
            return Ok(None);
        }
        let applied: Vec<bool> = (0..request.calls.len()).map(|index| index < request.most).collect();
        let answers = self.apply(context, request.now, &request.asked, &request.calls, &applied)?;
        Ok((request.most >= request.calls.len()).then_some(answers))
    }

    fn apply(
        &mut self,
        context: &mut Context,
        now: Now,
        asked: &[BatchEntry],
        calls: &[StoreCall],
        applied: &[bool],
    ) -> Checked<Vec<StoreAnswer>> {
        self.dirty = true;
        let mut answers = Vec::new();
        for (call, applied) in calls.iter().zip(applied) {
            if *applied && call.op == StoreOp::Read && context.has(Sabotage::StaleReads) {
                answers.push(Ok(Record::default()));
            } else if *applied {
                let keeps = context.config.marks && !context.has(Sabotage::ForgetsMarks);
                if keeps && call.mark.is_some_and(|mark| self.is_marked(mark, now.tick)) {
                    answers.push(Err(StoreError::AlreadyCounted));
                } else {
                    self.records.execute(now, &[StoreCall { mark: None, ..*call }], &mut answers);
                }
            } else {
                answers.push(Err(StoreError::Unavailable));
            }
            if context.has(Sabotage::CountsTwice) && *applied {
                self.records.execute(now, &[StoreCall { mark: None, ..*call }], &mut Vec::new());
            }
        }
        context.note(|| {
            let executed = applied.iter().filter(|applied| **applied).count();
            format!("the store executes {executed} of {} calls", calls.len())
        });
        if context.has(Sabotage::DatesFollowTheClock) {
            self.date_by_the_clock(now, calls);
        }
        context.checker.records.true_time = context.clock.true_wall();
        context.checker.applied(now, asked, calls, applied, &answers, |call| self.read(now, call))?;
        Ok(answers)
    }

    fn date_by_the_clock(&mut self, now: Now, calls: &[StoreCall]) {
        for call in calls {
            let mut record = self.read(now, *call);
            let tally = match call.op {
                StoreOp::Report => &mut record.reports,
                _ => &mut record.whitelists,
            };
            if call.op == StoreOp::Read || tally.count == 0 {
                continue;
            }
            tally.updated = Some(now.wall);
            self.records.put(call.digest, record);
        }
    }

    /// Makes a mark. Returns whether it was there.
    fn is_marked(&mut self, mark: Mark, now: Tick) -> bool {
        self.marks.retain(|_, made| now.since(*made) < Mark::LIFE);
        self.marks.insert(mark, now).is_some()
    }

    #[expect(clippy::expect_used, reason = "`MemoryStore` answers every call, and never with an error")]
    fn read(&mut self, now: Now, call: StoreCall) -> Record {
        let mut answers = Vec::new();
        self.records.execute(now, &[StoreCall { op: StoreOp::Read, ..call }], &mut answers);
        answers.pop().expect("one answer per call").expect("a memory store does not fail")
    }

    /// Begins a task. Returns how it will end, and when.
    pub(crate) fn upkeep(
        &mut self,
        context: &mut Context,
        now: Now,
        task: Task,
    ) -> Checked<(Result<Progress, StoreFailure>, Duration)> {
        let (success, duration) = match self.health {
            Health::Healthy => (100, context.random.micros(1, 50_000)),
            Health::Flaky => (60, context.random.micros(1, 2_000_000)),
            Health::Hanging => (0, TIMEOUT),
            Health::Down => (0, Duration::ZERO),
        };
        let succeeds = context.random.percent(success);
        let failed = || Err(StoreFailure::new("the store is down"));
        let outcome = match task {
            Task::Sync => {
                let begins = succeeds && std::mem::take(&mut self.dirty);
                self.syncing =
                    begins.then(|| (self.records.clone(), context.checker.records.records().clone()));
                if succeeds { Ok(Progress::Done) } else { failed() }
            }
            Task::Survey(limit) => {
                context.checker.upkeep.survey_began(limit, now.wall);
                if succeeds { self.records.upkeep(now, task) } else { failed() }
            }
            Task::Expire(limit) => {
                let clock = context.checker.upkeep.surveyed(limit)?;
                context.checker.upkeep.slice_began(limit);
                let progress = if succeeds { self.expire(context, now, limit) } else { failed() };
                let stored: BTreeSet<Digest> = self.records.records().map(|(digest, _)| digest).collect();
                // Without an age no record may be removed.
                let age = context.config.cleanup.map_or(u64::MAX, CleanupAge::seconds);
                let age = i64::try_from(age).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                let before = |clock: UnixTime| UnixTime::from_micros(clock.micros().saturating_sub(age));
                let truth = before(context.clock.true_wall());
                context.checker.records.expired(before(clock), truth, &stored)?;
                progress
            }
        };
        Ok((outcome, duration))
    }

    fn expire(&mut self, context: &Context, now: Now, limit: UnixTime) -> Result<Progress, StoreFailure> {
        if context.has(Sabotage::ExpiresNothing) {
            return Ok(Progress::Done);
        }
        self.dirty = true;
        let limit = if context.has(Sabotage::ExpiresFresh) { now.wall } else { limit };
        self.records.upkeep(now, Task::Expire(limit))
    }

    /// Completes the running sync.
    pub(crate) fn synced(&mut self, context: &mut Context) {
        if let Some((records, model)) = self.syncing.take() {
            self.disk = records;
            context.checker.records.synced(model);
        }
    }

    /// Ends the process that has the database open. A power failure also loses the records that are not synced.
    pub(crate) fn crashed(&mut self, context: &mut Context, power: bool) {
        // An interrupted sync may be complete.
        if context.random.percent(50) {
            self.synced(context);
        }
        (self.syncing, self.dirty) = (None, true);
        if context.is_file() {
            // Its transactions end with the process.
            self.epoch += 1;
        }
        if power {
            self.records.clone_from(&self.disk);
            context.checker.records.power_failed();
        }
    }

    /// Opens the database in a new process, whose round of expiry begins at the first record.
    pub(crate) fn reopen(&mut self) {
        let mut records = MemoryStore::new();
        self.records.records().for_each(|(digest, record)| records.put(digest, record));
        self.records = records;
    }

    /// Checks the disk after the server has stopped.
    pub(crate) fn check_disk(&self, context: &Context) -> Checked {
        context.checker.records.after_stop(self.disk.records())
    }
}
