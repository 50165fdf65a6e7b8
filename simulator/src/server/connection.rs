//! The steps of a thread with a remote store: it takes a batch, asks its store over its link, and answers.

use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Batch, Guard, Now, StoreAnswer, Tick};
use pyzord_engines::ConnectionManager;
use pyzord_runtime::Next;

use super::{Load, Server};
use crate::database::{Application, Database, Health, PATIENCE, Session};
use crate::invariant::Checked;
use crate::judge::Asked;
use crate::plan::Sabotage;
use crate::stage::{Event, Stage};

/// A connection that was idle for longer is looked at before it is used.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    link: ConnectionManager<Session>,
    used: Tick,
    /// When the last one was lost.
    lost: Tick,
    /// It was lost and shall never be made again.
    given_up: bool,
}

#[derive(Debug)]
enum State {
    /// Waits for a batch.
    Idle,
    Woken,
    /// Waits for the database.
    Busy(Box<Flight>),
    /// Has ended after a stop.
    Done,
}

/// A batch at the database.
#[derive(Debug)]
struct Flight {
    batch: Batch,
    asked: Vec<Asked>,
    began: Now,
    /// `None` when there is no connection to lose.
    request: Option<Application>,
    answers: Option<Vec<StoreAnswer>>,
}

/// How an exchange goes: when the database does how much of it, and when the caller knows or gives up.
struct Course {
    applies: Option<(Duration, usize)>,
    ends: Duration,
    answered: bool,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            state: State::Idle,
            link: ConnectionManager::new("database".into()),
            used: Tick::default(),
            lost: Tick::default(),
            given_up: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl Server {
    /// There may be something to do for those who wait.
    pub(super) fn wake_connections(&mut self, stage: &mut Stage) {
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if matches!(connection.state, State::Idle) {
                connection.state = State::Woken;
                let delay = stage.random.micros(1, 50);
                stage.after(delay, Event::Connection { life: self.life, index });
            }
        }
    }

    /// One step of a thread with a remote store.
    pub(super) fn serve_remote(
        &mut self,
        stage: &mut Stage,
        database: &mut Database,
        index: usize,
    ) -> Checked {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        let (state, delay) = match std::mem::replace(&mut connection.state, State::Idle) {
            State::Idle | State::Woken => match self.queue.take() {
                Next::Batch(batch) => {
                    let asked = self.queued.drain(..batch.len()).collect();
                    let caller = (self.life, index);
                    let (flight, delay) = connection.begin(stage, database, batch, asked, caller)?;
                    (State::Busy(Box::new(flight)), delay)
                }
                Next::Nothing => (State::Idle, Duration::ZERO),
                Next::End => (State::Done, Duration::ZERO),
            },
            State::Busy(flight) => {
                let batch = connection.finish(stage, database, &mut self.guard, *flight)?;
                stage.judge.batch_landed();
                self.queue.give_back(batch);
                (State::Woken, stage.random.micros(1, 40))
            }
            State::Done => (State::Done, Duration::ZERO),
        };
        if matches!(state, State::Woken | State::Busy(_)) {
            stage.after(delay, Event::Connection { life: self.life, index });
        }
        connection.state = state;
        Ok(())
    }

    /// The database's answers have come over a connection that may have been given up meanwhile.
    pub(crate) fn answered(&mut self, index: usize, answers: Option<Vec<StoreAnswer>>) {
        if let Some(Connection { state: State::Busy(flight), .. }) = self.connections.get_mut(index) {
            flight.answers = answers;
        }
    }
}

impl Connection {
    /// Sends a batch to the database, if there is a connection or one can be made.
    fn begin(
        &mut self,
        stage: &mut Stage,
        database: &Database,
        batch: Batch,
        asked: Vec<Asked>,
        caller: (u32, usize),
    ) -> Checked<(Flight, Duration)> {
        let now = stage.clock.now();
        let calls: Arc<[_]> = batch.calls().into();
        let (session, delay) = self.session(stage, database, now.tick, caller.1)?;
        let flight = Flight { batch, asked: asked.clone(), began: now, request: None, answers: None };
        let Some(session) = session else { return Ok((flight, delay)) };
        let course = Course::random(stage, database.health, calls.len());
        let (at, most) = course.applies.unwrap_or_default();
        let caller = course.answered.then_some(caller);
        let request = Application { session, now, asked, calls, most, caller };
        if course.applies.is_some() {
            stage.after(delay + at, Event::Application(request.clone()));
        }
        Ok((Flight { request: Some(request), ..flight }, delay + course.ends))
    }

    /// The connection, as the engines get theirs, and how long that takes.
    fn session(
        &mut self,
        stage: &mut Stage,
        database: &Database,
        now: Tick,
        index: usize,
    ) -> Checked<(Option<Session>, Duration)> {
        let mut delay = Duration::from_micros(1);
        if now.since(std::mem::replace(&mut self.used, now)) >= IDLE {
            self.link.refresh(now, |session| {
                if database.health == Health::Hanging {
                    delay += PATIENCE;
                    return Err("no answer in time".to_owned());
                }
                Ok(database.is_open(*session))
            });
        }
        if stage.has(Sabotage::ConnectsWithoutPause) {
            self.link = ConnectionManager::new("database".into());
        }
        if self.given_up {
            return Ok((None, delay));
        }
        let mut checked = Ok(());
        let session = self.link.connection(now, || {
            checked = stage.judge.connects(index, now);
            let connected = database.connect(stage);
            stage.note(|| format!("link {index} connects: {connected:?}"));
            connected.map_err(|took| {
                delay += took;
                "refused".to_owned()
            })
        });
        let session = session.copied();
        self.given_up = session.is_none() && stage.has(Sabotage::NeverReconnects);
        checked?;
        if session.is_none() {
            stage.judge.unconnected(index, database.well, self.lost, now)?;
        }
        Ok((session, delay))
    }

    /// Sends the replies. The batch is empty then, to be used again.
    fn finish(
        &mut self,
        stage: &mut Stage,
        database: &mut Database,
        guard: &mut Guard,
        flight: Flight,
    ) -> Checked<Batch> {
        let Flight { batch, asked, began, request, answers } = flight;
        if answers.is_none() {
            stage.judge.excuse(&asked);
        }
        if let (Some(request), None) = (request, &answers) {
            stage.note(|| "a connection is lost".to_owned());
            self.link.lost(began.tick, "lost");
            self.lost = stage.clock.tick();
            if stage.has(Sabotage::RepeatsLostBatches) {
                let again = Application { session: database.session(), most: request.calls.len(), ..request };
                database.receive(stage, &again)?;
            }
        }
        let mut load = Load { batch, asked, ..Load::default() };
        load.answer(stage, guard, &answers.unwrap_or_default())?;
        Ok(load.batch)
    }
}

impl Course {
    fn random(stage: &mut Stage, health: Health, calls: usize) -> Self {
        let soon = stage.random.micros(30, 3000);
        let later = soon + stage.random.micros(10, 3000);
        let never = Self { applies: None, ends: soon, answered: false };
        let good = Self { applies: Some((soon, calls)), ends: later, answered: true };
        let late = PATIENCE + stage.random.millis(0, 1500);
        let hung = Self { applies: Some((late, calls)), ends: PATIENCE, answered: false };
        match (health, stage.random.between(0, 7)) {
            (Health::Well, _) | (Health::Flaky, 0..=2) => good,
            // The answer is lost, not the request.
            (Health::Flaky, 3) => Self { answered: false, ..good },
            // The connection breaks in the middle of the request.
            (Health::Flaky, 4) => {
                Self { applies: Some((soon, stage.random.index(calls + 1))), answered: false, ..good }
            }
            // Slow, but in time.
            (Health::Flaky, 5) => {
                let slow = stage.random.millis(100, 390);
                Self { applies: Some((slow, calls)), ends: PATIENCE, answered: true }
            }
            // Nobody waits any more when the database goes on.
            (Health::Flaky, 6) | (Health::Hanging, 0..=3) => hung,
            (Health::Hanging, _) => Self { applies: None, ..hung },
            (Health::Flaky | Health::Away, _) => never,
        }
    }
}
