//! Where the records are: a file of this machine or a server elsewhere, either with all that can befall it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{
    Digest, MemoryStore, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure,
    StoreOp, Task, Tick, UnixTime,
};

use crate::invariant::Checked;
use crate::judge::Asked;
use crate::plan::Sabotage;
use crate::stage::Stage;

/// How long a call waits for a store that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    Well,
    /// Some calls fail, some connections break.
    Flaky,
    /// It answers nothing.
    Hanging,
    /// It is not there.
    Away,
}

#[derive(Debug)]
pub(crate) struct Database {
    records: MemoryStore,
    /// What a power failure leaves.
    disk: MemoryStore,
    /// The records when the sync that is under way began, here and in the judge's model.
    syncing: Option<(MemoryStore, BTreeMap<Digest, Record>)>,
    /// Something may have changed since the last sync began.
    dirty: bool,
    pub(crate) health: Health,
    /// Since when it is well, if it is.
    pub(crate) well: Option<Tick>,
    /// Changes with every restart: connections that were made before are broken.
    epoch: u32,
}

/// A connection to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    epoch: u32,
}

/// Calls on their way to a remote database.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) session: Session,
    pub(crate) now: Now,
    pub(crate) asked: Vec<Asked>,
    pub(crate) calls: Arc<[StoreCall]>,
    /// Behind so many calls the connection is lost.
    pub(crate) most: usize,
    /// Whose answers these are, if he still waits for them.
    pub(crate) caller: Option<(u32, usize)>,
}

impl Database {
    /// One that has some records already, long ago and not so long ago.
    pub(crate) fn new(stage: &mut Stage) -> Self {
        let mut records = MemoryStore::new();
        let count = if stage.random.percent(12) {
            stage.random.between(1000, 2200)
        } else {
            stage.random.between(0, 20)
        };
        for _ in 0..count {
            let digest = Digest::new(stage.random.bytes());
            let age = i64::try_from(stage.random.magnitude(25)).unwrap_or(0);
            let mut record = Record::default();
            let op = if stage.random.percent(80) { StoreOp::Report } else { StoreOp::Whitelist };
            op.apply(&mut record, UnixTime::from_seconds(stage.clock.seconds().saturating_sub(age)));
            records.put(digest, record);
            stage.judge.counts.stored(digest, record);
        }
        Self {
            disk: records.clone(),
            records,
            syncing: None,
            dirty: false,
            health: Health::Well,
            well: Some(Tick::default()),
            epoch: 0,
        }
    }

    pub(crate) fn set_health(&mut self, health: Health, now: Tick) {
        let well = *self.well.get_or_insert(now);
        self.well = (health == Health::Well).then_some(well);
        if health == Health::Away {
            self.epoch += 1;
        }
        self.health = health;
    }

    /// What the store does that lives in the server's process: the answers, and how long they take.
    pub(crate) fn execute(
        &mut self,
        stage: &mut Stage,
        now: Now,
        asked: &[Asked],
        calls: &[StoreCall],
    ) -> Checked<(Vec<StoreAnswer>, Duration)> {
        let (works, delay) = match self.health {
            Health::Well => (100, stage.random.micros(1, 300)),
            Health::Flaky => (70, stage.random.micros(1, 3000)),
            Health::Hanging => (0, PATIENCE),
            Health::Away => (0, Duration::ZERO),
        };
        let applied: Vec<bool> = calls.iter().map(|_| stage.random.percent(works)).collect();
        Ok((self.apply(stage, now, asked, calls, &applied)?, delay))
    }

    /// A connection, or why there is none and how long it took to find out.
    pub(crate) fn connect(&self, stage: &mut Stage) -> Result<Session, Duration> {
        let session = self.session();
        match self.health {
            Health::Well => Ok(session),
            Health::Flaky if stage.random.percent(60) => Ok(session),
            Health::Flaky | Health::Away => Err(stage.random.micros(50, 5000)),
            Health::Hanging => Err(Duration::from_millis(300)),
        }
    }

    /// A connection that works, whatever the health.
    pub(crate) fn session(&self) -> Session {
        Session { epoch: self.epoch }
    }

    pub(crate) fn is_open(&self, session: Session) -> bool {
        session.epoch == self.epoch
    }

    /// Does what came over a connection; `None` when that is broken by now.
    pub(crate) fn receive(
        &mut self,
        stage: &mut Stage,
        request: &Application,
    ) -> Checked<Option<Vec<StoreAnswer>>> {
        if !self.is_open(request.session) {
            return Ok(None);
        }
        let applied: Vec<bool> = (0..request.calls.len()).map(|index| index < request.most).collect();
        let answers = self.apply(stage, request.now, &request.asked, &request.calls, &applied)?;
        Ok((request.most >= request.calls.len()).then_some(answers))
    }

    fn apply(
        &mut self,
        stage: &mut Stage,
        now: Now,
        asked: &[Asked],
        calls: &[StoreCall],
        applied: &[bool],
    ) -> Checked<Vec<StoreAnswer>> {
        self.dirty = true;
        let mut answers = Vec::new();
        for (call, applied) in calls.iter().zip(applied) {
            if *applied && call.op == StoreOp::Read && stage.has(Sabotage::StaleReads) {
                answers.push(Ok(Record::default()));
            } else if *applied {
                self.records.execute(now, &[*call], &mut answers);
            } else {
                answers.push(Err(StoreError::Unavailable));
            }
            if stage.has(Sabotage::CountsTwice) && *applied {
                self.records.execute(now, &[*call], &mut Vec::new());
            }
        }
        stage.note(|| {
            format!("the store does {} of {} calls", applied.iter().filter(|yes| **yes).count(), calls.len())
        });
        stage.judge.applied(now.wall, asked, calls, applied, |call| self.read(now, call))?;
        Ok(answers)
    }

    fn read(&mut self, now: Now, call: StoreCall) -> Record {
        let mut answer = Vec::new();
        self.records.execute(now, &[StoreCall { op: StoreOp::Read, ..call }], &mut answer);
        answer.pop().and_then(Result::ok).unwrap_or_default()
    }

    /// Begins a task and says how it will end, and when.
    pub(crate) fn upkeep(
        &mut self,
        stage: &mut Stage,
        now: Now,
        task: Task,
    ) -> Checked<(Result<Progress, StoreFailure>, Duration)> {
        let (works, duration) = match self.health {
            Health::Well => (100, stage.random.micros(1, 50_000)),
            Health::Flaky => (60, stage.random.micros(1, 2_000_000)),
            Health::Hanging => (0, PATIENCE),
            Health::Away => (0, Duration::ZERO),
        };
        let works = stage.random.percent(works);
        let failed = || Err(StoreFailure::new("the store is away"));
        let outcome = match task {
            Task::Sync => {
                let begins = works && std::mem::take(&mut self.dirty);
                self.syncing = begins.then(|| (self.records.clone(), stage.judge.counts.records().clone()));
                if works { Ok(Progress::Done) } else { failed() }
            }
            Task::Expire(limit) => {
                stage.judge.upkeep.slice_began(limit);
                let progress = if works { self.expire(stage, now, limit) } else { failed() };
                let stored: BTreeSet<Digest> = self.records.records().map(|(digest, _)| digest).collect();
                let age = stage.config.cleanup.0;
                let age = i64::try_from(age).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                let limit = UnixTime::from_micros(now.wall.micros().saturating_sub(age));
                stage.judge.counts.expired(limit, &stored)?;
                progress
            }
        };
        Ok((outcome, duration))
    }

    fn expire(&mut self, stage: &Stage, now: Now, limit: UnixTime) -> Result<Progress, StoreFailure> {
        if stage.has(Sabotage::ExpiresNothing) {
            return Ok(Progress::Done);
        }
        self.dirty = true;
        let limit = if stage.has(Sabotage::ExpiresFresh) { now.wall } else { limit };
        self.records.upkeep(now, Task::Expire(limit))
    }

    /// The sync that is under way has succeeded.
    pub(crate) fn synced(&mut self, stage: &mut Stage) {
        if let Some((records, model)) = self.syncing.take() {
            self.disk = records;
            stage.judge.counts.synced(model);
        }
    }

    /// The process that has it open is gone. So is what only memory had if the machine lost its power.
    pub(crate) fn crashed(&mut self, stage: &mut Stage, power: bool) {
        // A sync that was cut off may have come through.
        if stage.random.percent(50) {
            self.synced(stage);
        }
        (self.syncing, self.dirty) = (None, true);
        if power {
            self.records.clone_from(&self.disk);
            stage.judge.counts.power_failed();
        }
    }

    /// A new process has it now, and begins its round of expiry anew.
    pub(crate) fn reopen(&mut self) {
        let mut records = MemoryStore::new();
        self.records.records().for_each(|(digest, record)| records.put(digest, record));
        self.records = records;
    }

    /// The server has stopped and the machine is switched off.
    pub(crate) fn check_disk(&self, stage: &Stage) -> Checked {
        stage.judge.counts.after_stop(self.disk.records())
    }
}
