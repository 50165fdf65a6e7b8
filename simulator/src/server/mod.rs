//! A runtime of pyzord without threads, sockets and clocks. Everything that a real one's threads do is cut
//! into steps, and the agenda decides whose is next.

mod connection;
mod upkeep;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Batch, Guard, Limits, Policy, Rate, Schedule, StoreAnswer, StoreCall};
use pyzord_runtime::Queue;

use crate::database::Database;
use crate::invariant::{Checked, Invariant};
use crate::judge::Asked;
use crate::law::Rules;
use crate::message::Datagram;
use crate::plan::Sabotage;
use crate::stage::{Event, Stage};
use connection::Connection;
use upkeep::Underway;
use worker::Worker;

#[derive(Debug)]
pub(crate) struct Server {
    /// Which of the servers that followed each other this is.
    pub(crate) life: u32,
    rules: Arc<Rules>,
    policy: Arc<Policy>,
    guard: Guard,
    /// The receive buffer.
    buffer: VecDeque<Datagram>,
    workers: Vec<Worker>,
    queue: Queue,
    /// The copies in the queue's batches, in the same order.
    queued: VecDeque<Asked>,
    connections: Vec<Connection>,
    schedule: Schedule,
    underway: Option<Underway>,
    stopping: bool,
}

/// A batch and the copies in it, in the same order.
#[derive(Debug, Default)]
struct Load {
    batch: Batch,
    asked: Vec<Asked>,
    /// A call that nobody granted.
    extra: Vec<StoreCall>,
}

impl Server {
    pub(crate) fn start(stage: &mut Stage, life: u32, rules: &Arc<Rules>) -> Self {
        let config = stage.config;
        let now = stage.clock.tick();
        stage.judge.upkeep.server_started(now, config.cleanup.0 != 0);
        stage.note(|| format!("server {life} starts: {config:?}"));
        stage.after(Duration::ZERO, Event::Upkeep { life });
        Self {
            life,
            rules: Arc::clone(rules),
            policy: Arc::new(rules.policy()),
            guard: guard(stage),
            buffer: VecDeque::new(),
            workers: (0..config.workers).map(|_| Worker::default()).collect(),
            queue: Queue::new(queue_room(stage)),
            queued: VecDeque::new(),
            connections: (0..config.connections).map(|_| Connection::new()).collect(),
            schedule: Schedule::new(config.cleanup, now),
            underway: None,
            stopping: false,
        }
    }

    /// A datagram has come in. Who is not received has no answer.
    pub(crate) fn arrive(&mut self, stage: &mut Stage, datagram: Datagram) {
        let copy = datagram.copy;
        if self.workers.iter().all(Worker::is_done) {
            stage.note(|| format!("copy {copy} is lost: nobody receives any more"));
        } else if self.buffer.len() >= stage.config.buffer {
            stage.note(|| format!("copy {copy} is lost: the receive buffer is full"));
        } else {
            stage.note(|| format!("copy {copy} is received from {}", datagram.source));
            stage.judge.received(&datagram, stage.clock.tick());
            self.buffer.push_back(datagram);
            self.wake_worker(stage);
        }
    }

    /// The rules are read anew: all of them, or none.
    pub(crate) fn reload(&mut self, stage: &mut Stage, rules: &Arc<Rules>, fails: bool) {
        stage.note(|| format!("reload: {}", if fails { "fails".to_owned() } else { format!("{rules:?}") }));
        if fails {
            if stage.has(Sabotage::FailedReloadForgets) {
                self.policy = Arc::new(Policy::default());
            }
            return;
        }
        if stage.has(Sabotage::ReloadForgetsCopies) {
            self.guard = guard(stage);
        }
        let mixed = stage.has(Sabotage::MixesPolicies);
        self.policy = Arc::new(if mixed { rules.mixed_with(&self.rules) } else { rules.policy() });
        self.rules = Arc::clone(rules);
    }

    /// Begins to stop: what was received is answered first.
    pub(crate) fn stop(&mut self, stage: &mut Stage) {
        stage.note(|| "stop".to_owned());
        self.stopping = true;
        stage.judge.stops(stage.clock.tick());
        if stage.has(Sabotage::StopsAtOnce) {
            self.buffer.clear();
        }
        for index in 0..self.workers.len() {
            self.wake(stage, index);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether the last step of a stop is done: nobody works any more.
    pub(crate) fn has_stopped(&self) -> bool {
        self.workers.iter().all(Worker::is_done)
            && self.connections.iter().all(Connection::is_done)
            && self.underway.is_none()
    }

    pub(crate) fn step(&mut self, stage: &mut Stage, database: &mut Database, event: &Event) -> Checked {
        match *event {
            Event::Worker { index, .. } => self.work(stage, database, index)?,
            Event::Connection { index, .. } => self.serve_remote(stage, database, index)?,
            Event::Upkeep { .. } => self.keep_up(stage, database)?,
            _ => (),
        }
        // The pool is closed when no worker is left.
        if self.stopping && self.workers.iter().all(Worker::is_done) && !stage.has(Sabotage::NeverCloses) {
            self.queue.close();
            self.wake_connections(stage);
        }
        Ok(())
    }
}

/// A guard that has seen nothing yet.
fn guard(stage: &mut Stage) -> Guard {
    let mut limits = Limits::default();
    limits.replays = stage.config.copies;
    limits.requests = stage.config.requests;
    limits.failures = stage.config.failures;
    if stage.has(Sabotage::LimitsNobody) {
        (limits.requests, limits.failures) = (Rate::UNLIMITED, Rate::UNLIMITED);
    }
    if stage.has(Sabotage::LimitsEverybody) {
        limits.ipv4_prefix = 0;
    }
    Guard::new(limits, stage.random.bytes())
}

/// For how many connections the queue has room.
fn queue_room(stage: &Stage) -> usize {
    match stage.config.connections {
        _ if stage.has(Sabotage::EndlessQueue) => 1000,
        _ if stage.has(Sabotage::RefusesEarly) => 0,
        connections => connections,
    }
}

impl Load {
    /// What the store is asked.
    fn calls(&self, stage: &Stage) -> Checked<Vec<StoreCall>> {
        let calls = [self.batch.calls(), &self.extra].concat();
        stage.judge.asks(&self.asked, &calls)?;
        Ok(calls)
    }

    /// Sends the replies that the store's answers make.
    fn answer(&mut self, stage: &mut Stage, guard: &mut Guard, answers: &[StoreAnswer]) -> Checked {
        let known = if stage.has(Sabotage::LosesAnswers) { answers.len() / 2 } else { answers.len() };
        self.batch.resolve(answers.get(..known).unwrap_or_default());
        if !stage.has(Sabotage::NeverSettles) {
            self.batch.settle(guard);
        }
        let replies = self.batch.replies().count();
        let copies = self.asked.len();
        Invariant::AnsweredOnce
            .holds(replies == copies, || format!("{replies} replies were made for {copies} requests"))?;
        let mut previous = None;
        for ((mut peer, bytes), Asked { copy, .. }) in self.batch.replies().zip(&self.asked) {
            let mut bytes = bytes.to_vec();
            if stage.has(Sabotage::PadsReplies) {
                bytes.extend([b'\n'; 600]);
            }
            if let (true, Some(previous)) = (stage.has(Sabotage::MixesPeers), previous.replace(peer)) {
                peer = previous;
            }
            stage.reply(*copy, peer, &bytes)?;
            if stage.has(Sabotage::AnswersTwice) {
                stage.reply(*copy, peer, &bytes)?;
            }
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.asked.clear();
        self.extra.clear();
    }
}
