//! A runtime of pyzord without threads, sockets and clocks. The work of the threads is divided into steps, which the
//! queue of events orders.

mod connection;
mod handles;
mod shared;
mod split;
mod tracked_asked;
mod tracked_batch;
mod upkeep;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use pyzord_core::StoreAnswer;

use crate::context::Context;
use crate::database::Database;
use crate::event::Event;
use crate::invariant::Checked;
use crate::payload::Datagram;
use crate::plan::Sabotage;
use crate::rules::Rules;
use connection::Connections;
use shared::Shared;
use upkeep::Upkeep;
use worker::Worker;

/// A process of the server, from its start to its end.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    shared: Shared,
    workers: Vec<Worker>,
    connections: Connections,
    upkeep: Upkeep,
}

impl ServerProcess {
    pub(crate) fn start(context: &mut Context, generation: u32, rules: &Arc<Rules>) -> Self {
        let config = context.config;
        let now = context.clock.tick();
        context.checker.upkeep.server_started(now, config.cleanup.is_some());
        context.note(|| format!("server {generation} starts: {config:?}"));
        context.after(Duration::ZERO, Event::Upkeep { generation });
        Self {
            shared: Shared::new(context, generation, rules),
            workers: (0..config.workers).map(|_| Worker::default()).collect(),
            connections: Connections::new(config.connections),
            upkeep: Upkeep::new(context, now),
        }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.shared.generation
    }

    /// Receives a datagram, if a worker runs and the receive buffer has room.
    pub(crate) fn arrive(&mut self, context: &mut Context, datagram: Datagram) {
        let copy = datagram.copy;
        if self.workers_are_done() {
            context.note(|| format!("copy {copy} is lost: no worker receives"));
        } else if self.shared.buffer.len() >= context.config.buffer {
            context.note(|| format!("copy {copy} is lost: the receive buffer is full"));
        } else {
            context.note(|| format!("copy {copy} is received from {}", datagram.source));
            context.checker.received(&datagram, context.clock.tick());
            self.shared.buffer.push_back(datagram);
            self.wake_worker(context);
        }
    }

    /// Reloads the rules: all of them, or none if the reload fails.
    pub(crate) fn reload(&mut self, context: &mut Context, rules: &Arc<Rules>, fails: bool) {
        self.shared.reload(context, rules, fails);
    }

    /// Begins a stop: the received requests are answered first.
    pub(crate) fn stop(&mut self, context: &mut Context) {
        context.note(|| "stop".to_owned());
        self.shared.stopping = true;
        context.checker.stops(context.clock.tick());
        if context.has(Sabotage::StopsAtOnce) {
            self.shared.buffer.clear();
        }
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker.wake(context, self.shared.generation, index);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stopping
    }

    /// Returns whether a stop is complete: no part of the server runs.
    pub(crate) fn has_stopped(&self) -> bool {
        self.workers_are_done() && self.connections.are_done() && !self.upkeep.is_running()
    }

    /// Runs one step of the worker, the connection or the upkeep that the event names.
    pub(crate) fn step(&mut self, context: &mut Context, database: &mut Database, event: &Event) -> Checked {
        match *event {
            Event::Worker { index, .. } => {
                #[expect(
                    clippy::indexing_slicing,
                    reason = "`Worker::wake` is called with an index of `workers`"
                )]
                let worker = &mut self.workers[index];
                self.shared.work(context, database, &mut self.connections, worker, index)?;
            }
            Event::Connection { index, .. } => {
                self.connections.step(context, database, &mut self.shared, index)?;
            }
            Event::Upkeep { .. } => {
                self.upkeep.step(context, database, self.shared.generation, self.shared.stopping)?;
            }
            _ => debug_assert!(false, "{event:?} is not a step of a server"),
        }
        // The queue is closed after all workers have ended.
        if self.shared.stopping && self.workers_are_done() && !context.has(Sabotage::NeverCloses) {
            self.shared.queue.close();
            self.connections.wake(context, self.shared.generation);
        }
        Ok(())
    }

    /// Passes the answers of the database to a connection.
    pub(crate) fn answered(&mut self, index: usize, answers: Option<Vec<StoreAnswer>>) {
        self.connections.answered(index, answers);
    }

    /// Wakes a worker that waits for a datagram, as the kernel does.
    fn wake_worker(&mut self, context: &mut Context) {
        if let Some((index, worker)) =
            self.workers.iter_mut().enumerate().find(|(_, worker)| worker.is_idle())
        {
            worker.wake(context, self.shared.generation, index);
        }
    }

    fn workers_are_done(&self) -> bool {
        self.workers.iter().all(Worker::is_done)
    }
}
