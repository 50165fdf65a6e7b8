//! The steps of a thread with a remote store: it takes a batch, asks its store over its link, and sends the replies. So
//! does a thread that counts beside workers that read; it has a file in the place of a link.

use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Batch, Now, Server, StoreAnswer, StoreError, Tick};
use pyzord_engines::ConnectionManager;
use pyzord_runtime::{Next, Ticket};

use super::shared::Shared;
use super::tracked_asked::TrackedAsked;
use crate::checker::BatchEntry;
use crate::context::Context;
use crate::database::{Database, TIMEOUT};
use crate::event::{Event, Health, RemoteCalls, Session};
use crate::invariant::Checked;
use crate::payload::Sender;
use crate::plan::Sabotage;

/// A connection that was idle for longer is checked before use.
const IDLE: Duration = Duration::from_secs(10);

/// The time between two looks of the thread that watches writers.
const LOOK: Duration = Duration::from_millis(100);

/// The threads with a remote store.
#[derive(Debug)]
pub(super) struct Connections(Vec<Connection>);

#[derive(Debug)]
struct Connection {
    state: State,
    link: ConnectionManager<Session>,
    used: Tick,
    /// The time at which the last connection was lost.
    lost: Tick,
    /// Whether it never connects again.
    given_up: bool,
}

#[derive(Debug)]
enum State {
    /// Waits for a batch.
    Idle,
    Woken,
    /// Waits for the database.
    Busy(Box<RemoteBatch>),
    /// Waits for a file that hangs until then; its batch is answered.
    Stuck(Ticket, Vec<BatchEntry>, Tick),
    /// Has ended after a stop.
    Done,
}

/// A batch at the remote database.
#[derive(Debug)]
struct RemoteBatch {
    asked: TrackedAsked,
    ticket: Ticket,
    began: Now,
    /// `None` if there is no connection.
    request: Option<RemoteCalls>,
    answers: Option<Vec<StoreAnswer>>,
    /// When the call returns, if its batch is answered before.
    returns: Option<Tick>,
}

/// The course of an exchange: when the database executes how many calls, and when the caller has the answers or
/// gives up.
struct Exchange {
    executes: Option<(Duration, usize)>,
    ends: Duration,
    answered: bool,
    /// When the call returns, if another thread answers before.
    returns: Option<Duration>,
}

impl Connections {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Connection::new()).collect())
    }

    pub(super) fn are_done(&self) -> bool {
        self.0.iter().all(|connection| matches!(connection.state, State::Done))
    }

    /// Returns whether a connection waits for the database, or a batch for a connection.
    pub(super) fn have_work(&self, shared: &Shared) -> bool {
        shared.queue.waiting() > 0
            || self.0.iter().any(|connection| matches!(connection.state, State::Busy(_)))
    }

    /// Returns the number of batches at the database.
    pub(super) fn busy(&self) -> usize {
        let is_busy = |state: &State| matches!(state, State::Busy(_) | State::Stuck(..));
        self.0.iter().filter(|connection| is_busy(&connection.state)).count()
    }

    /// Schedules the next step of each idle connection.
    pub(super) fn wake(&mut self, context: &mut Context, generation: u32) {
        for (index, connection) in self.0.iter_mut().enumerate() {
            if matches!(connection.state, State::Idle) {
                connection.state = State::Woken;
                let delay = context.random.micros(1, 50);
                context.after(delay, Event::Connection { generation, index });
            }
        }
    }

    /// Runs one step of the connection with this index.
    pub(super) fn step(
        &mut self,
        context: &mut Context,
        database: &mut Database,
        shared: &mut Shared,
        index: usize,
    ) -> Checked {
        let all_stuck = self.0.iter().all(|connection| matches!(connection.state, State::Stuck(..)));
        #[expect(clippy::indexing_slicing, reason = "`wake` schedules steps of existing connections")]
        let connection = &mut self.0[index];
        let (state, delay) = match std::mem::replace(&mut connection.state, State::Idle) {
            State::Idle | State::Woken => connection.take(context, database, shared, index)?,
            State::Busy(mut remote) => {
                let (ticket, until) = (std::mem::take(&mut remote.ticket), remote.returns);
                let entries = remote.asked.entries().to_vec();
                let batch = connection.finish(context, database, shared.handles.resolving(), *remote)?;
                if let Some(until) = until {
                    context.note(|| format!("writer {index} is stuck"));
                    (State::Stuck(ticket, entries, until), Duration::ZERO)
                } else {
                    context.checker.order.ended(&entries);
                    if !context.has(Sabotage::Overtakes) {
                        shared.queue.give_back(batch, ticket);
                    }
                    (State::Woken, context.random.micros(1, 40))
                }
            }
            State::Stuck(ticket, entries, until) if until <= context.clock.tick() => {
                context.note(|| format!("writer {index} returns"));
                context.checker.order.ended(&entries);
                if !context.has(Sabotage::Overtakes) {
                    shared.queue.give_back(Batch::new(), ticket);
                }
                (State::Woken, context.random.micros(1, 40))
            }
            State::Stuck(ticket, entries, until) => {
                refuse_unserved(context, shared, all_stuck)?;
                let left = until.since(context.clock.tick());
                (State::Stuck(ticket, entries, until), left.min(LOOK))
            }
            State::Done => (State::Done, Duration::ZERO),
        };
        if matches!(state, State::Woken | State::Busy(_) | State::Stuck(..)) {
            context.after(delay, Event::Connection { generation: shared.generation, index });
        }
        connection.state = state;
        Ok(())
    }

    /// Passes the answers of the database to a connection, unless it has given up.
    pub(super) fn answered(&mut self, index: usize, answers: Option<Vec<StoreAnswer>>) {
        if let Some(Connection { state: State::Busy(remote), .. }) = self.0.get_mut(index) {
            remote.answers = answers;
        }
    }
}

impl Connection {
    fn new() -> Self {
        Self {
            state: State::Idle,
            link: ConnectionManager::new("database".into()),
            used: Tick::default(),
            lost: Tick::default(),
            given_up: false,
        }
    }

    /// Takes the next batch, and sends it to the database. Returns the next state, and when it begins.
    fn take(
        &mut self,
        context: &mut Context,
        database: &Database,
        shared: &mut Shared,
        index: usize,
    ) -> Checked<(State, Duration)> {
        Ok(match shared.queue.take(true) {
            Next::Batch(asked, mut ticket) => {
                if context.has(Sabotage::Overtakes) {
                    shared.queue.give_back(Batch::new(), std::mem::take(&mut ticket));
                }
                let asked = TrackedAsked::waiting(asked);
                let caller = (shared.generation, index);
                let (remote, delay) = self.begin(context, database, asked, caller)?;
                (State::Busy(Box::new(RemoteBatch { ticket, ..remote })), delay)
            }
            Next::Refused(asked) => {
                context.note(|| "too many requests wait for others".to_owned());
                let asked = TrackedAsked::waiting(asked);
                context.checker.wait_refused(shared.queue.deferred(), asked.entries())?;
                context.checker.order.ended(asked.entries());
                asked.fail(context, shared.handles.resolving(), StoreError::Unavailable)?;
                (State::Woken, context.random.micros(1, 40))
            }
            Next::Empty => (State::Idle, Duration::ZERO),
            Next::Closed => (State::Done, Duration::ZERO),
        })
    }

    /// Sends a batch to the database, if there is a connection or one can be made.
    fn begin(
        &mut self,
        context: &mut Context,
        database: &Database,
        asked: TrackedAsked,
        caller: (u32, usize),
    ) -> Checked<(RemoteBatch, Duration)> {
        let now = context.clock.now();
        let calls: Arc<[_]> = asked.calls().into();
        let entries = asked.entries().to_vec();
        let (ticket, returns) = (Ticket::default(), None);
        let remote = RemoteBatch { asked, ticket, began: now, request: None, answers: None, returns };
        let (session, delay) = if context.config.split {
            (Some(database.session()), Duration::ZERO)
        } else {
            self.session(context, database, now.tick, caller.1)?
        };
        let Some(session) = session else { return Ok((remote, delay)) };
        let exchange = if context.config.split {
            match Exchange::with_file(context, database.health, calls.len()) {
                Ok(exchange) => exchange,
                Err(refused) => return Ok((remote, refused)),
            }
        } else {
            Exchange::random(context, database.health, calls.len())
        };
        let returns = exchange.returns.map(|returns| now.tick.after(returns));
        let (at, most) = exchange.executes.unwrap_or_default();
        let caller = exchange.answered.then_some(caller);
        let request = RemoteCalls { session, now, asked: entries, calls, most, caller };
        if exchange.executes.is_some() {
            context.after(delay + at, Event::RemoteCalls(request.clone()));
        }
        Ok((RemoteBatch { request: Some(request), returns, ..remote }, delay + exchange.ends))
    }

    /// Returns the connection, which is made by a link as in the engines, and how long that takes.
    fn session(
        &mut self,
        context: &mut Context,
        database: &Database,
        now: Tick,
        index: usize,
    ) -> Checked<(Option<Session>, Duration)> {
        let mut delay = Duration::from_micros(1);
        if now.since(std::mem::replace(&mut self.used, now)) >= IDLE {
            self.link.refresh(now, |session| {
                if database.health == Health::Hanging {
                    delay += TIMEOUT;
                    return Err("no answer in time".to_owned());
                }
                Ok(database.is_open(*session))
            });
        }
        if context.has(Sabotage::ConnectsWithoutPause) {
            self.link = ConnectionManager::new("database".into());
        }
        if self.given_up {
            return Ok((None, delay));
        }
        let mut checked = Ok(());
        let session = self.link.connection(now, |_| {
            checked = context.checker.connects(index, now);
            let connected = database.connect(context);
            context.note(|| format!("link {index} connects: {connected:?}"));
            connected.map(Some).map_err(|took| {
                delay += took;
                "refused".to_owned()
            })
        });
        let session = session.copied();
        self.given_up = session.is_none() && context.has(Sabotage::NeverReconnects);
        checked?;
        if session.is_none() {
            context.checker.unconnected(index, database.healthy_since, self.lost, now)?;
        }
        Ok((session, delay))
    }

    /// Sends the replies and returns the empty batch.
    fn finish(
        &mut self,
        context: &mut Context,
        database: &mut Database,
        server: &Server,
        remote: RemoteBatch,
    ) -> Checked<Batch<Sender>> {
        let RemoteBatch { asked, began, request, answers, .. } = remote;
        if answers.is_none() {
            context.checker.excuse(asked.entries());
        }
        let sent = request.is_some();
        if let (Some(request), None) = (request, &answers) {
            context.note(|| "a connection is lost".to_owned());
            self.link.lost(began.tick, "lost");
            self.lost = context.clock.tick();
            if context.has(Sabotage::RepeatsLostBatches) {
                let again = RemoteCalls { session: database.session(), most: request.calls.len(), ..request };
                database.receive(context, &again)?;
            }
        }
        match answers {
            Some(answers) => asked.resolve(context, server, answers),
            None if sent => asked.fail(context, server, StoreError::Unknown),
            None => asked.fail(context, server, StoreError::Unavailable),
        }
    }
}

impl Exchange {
    /// Draws the course of an exchange with this many calls.
    fn random(context: &mut Context, health: Health, calls: usize) -> Self {
        let soon = context.random.micros(30, 3000);
        let later = soon + context.random.micros(10, 3000);
        let never = Self { executes: None, ends: soon, answered: false, returns: None };
        let good = Self { executes: Some((soon, calls)), ends: later, answered: true, returns: None };
        let late = TIMEOUT + context.random.millis(0, 1500);
        let hung = Self { executes: Some((late, calls)), ends: TIMEOUT, answered: false, returns: None };
        match (health, context.random.between(0, 7)) {
            (Health::Healthy, _) | (Health::Flaky, 0..=2) => good,
            // The answer is lost after the calls are executed.
            (Health::Flaky, 3) => Self { answered: false, ..good },
            // The connection breaks within the calls.
            (Health::Flaky, 4) => {
                Self { executes: Some((soon, context.random.index(calls + 1))), answered: false, ..good }
            }
            // The answer is late, but in time.
            (Health::Flaky, 5) => {
                let slow = context.random.millis(100, 390);
                Self { executes: Some((slow, calls)), ends: TIMEOUT, answered: true, returns: None }
            }
            // The database executes the calls after the caller has given up.
            (Health::Flaky, 6) | (Health::Hanging, 0..=3) => hung,
            (Health::Hanging, _) => Self { executes: None, ..hung },
            (Health::Flaky | Health::Down, _) => never,
        }
    }

    /// Draws the course of a transaction on a file with this many calls. `Err` if it is refused, and after what time.
    fn with_file(context: &mut Context, health: Health, calls: usize) -> Result<Self, Duration> {
        let soon = context.random.micros(30, 3000);
        let later = soon + context.random.micros(10, 3000);
        let good = Self { executes: Some((soon, calls)), ends: later, answered: true, returns: None };
        // The watching thread answers, and the call returns at some time after that.
        let given_up = TIMEOUT + context.random.millis(100, 200);
        let returns = given_up + context.random.millis(1, 2000);
        let hung = Self { executes: None, ends: given_up, answered: false, returns: Some(returns) };
        Ok(match (health, context.random.between(0, 7)) {
            (Health::Healthy, _) | (Health::Flaky, 0..=2) => good,
            // Another writer has its turn for too long.
            (Health::Flaky, 3) => return Err(context.random.micros(1000, 400_000)),
            // The sync is late.
            (Health::Flaky, 4) => Self { ends: TIMEOUT, answered: false, ..good },
            (Health::Flaky, 5) => {
                let slow = context.random.millis(100, 390);
                Self { executes: Some((slow, calls)), ends: TIMEOUT, ..good }
            }
            (Health::Flaky, 6) | (Health::Hanging, 0..=3) => {
                Self { executes: Some((returns - Duration::from_micros(1), calls)), ..hung }
            }
            (Health::Hanging, _) => hung,
            (Health::Flaky | Health::Down, _) => return Err(soon),
        })
    }
}

/// Refuses what waits for writers that are stuck, as the watching thread does.
fn refuse_unserved(context: &mut Context, shared: &mut Shared, all: bool) -> Checked {
    while let Some(asked) = shared.queue.take_unserved(all) {
        context.note(|| "requests wait for a writer that is stuck".to_owned());
        let asked = TrackedAsked::waiting(asked);
        context.checker.excuse(asked.entries());
        context.checker.order.ended(asked.entries());
        asked.fail(context, shared.handles.resolving(), StoreError::Unavailable)?;
    }
    Ok(())
}
