//! The steps of a worker: it receives datagrams, accepts one after another, asks the store or queues the batch, and
//! answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{MAX_REQUEST, Memory as _, Now, Reason, Record, StoreAnswer, StoreCall, StoreOp};

use super::connection::Connections;
use super::shared::Shared;
use super::tracked_batch::TrackedBatch;
use crate::context::Context;
use crate::database::Database;
use crate::event::Event;
use crate::invariant::Checked;
use crate::payload::{Content, Datagram};
use crate::plan::Sabotage;
use crate::rules::Expected;

#[derive(Debug, Default)]
pub(super) struct Worker {
    state: State,
    /// Requests that the worker answers itself.
    own: TrackedBatch,
    /// Requests for the remote stores.
    waiting: TrackedBatch,
}

#[derive(Debug, Default)]
enum State {
    /// Waits for a datagram.
    #[default]
    Idle,
    /// Has been woken.
    Woken,
    /// Accepts the datagrams that it received at this time.
    Accepting(VecDeque<Datagram>, Now),
    /// Has the answers of the store.
    Answering(Vec<StoreAnswer>),
    /// Has ended after a stop.
    Done,
}

impl Worker {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Schedules the next step of the worker with this index, if it is idle.
    pub(super) fn wake(&mut self, context: &mut Context, generation: u32, index: usize) {
        if self.is_idle() {
            self.state = State::Woken;
            let delay = context.random.micros(1, 50);
            context.after(delay, Event::Worker { generation, index });
        }
    }
}

impl Shared {
    /// Runs one step of the worker with this index.
    pub(super) fn work(
        &mut self,
        context: &mut Context,
        database: &mut Database,
        connections: &mut Connections,
        worker: &mut Worker,
        index: usize,
    ) -> Checked {
        let mut delay = context.random.micros(1, 40);
        worker.state = match std::mem::take(&mut worker.state) {
            State::Idle | State::Woken => self.receive(context),
            State::Accepting(mut inbox, now) => {
                if let Some(datagram) = inbox.pop_front() {
                    self.accept(context, worker, &datagram, now)?;
                }
                if inbox.is_empty() {
                    let answers;
                    (answers, delay) = self.ask(context, database, connections, worker, now)?;
                    State::Answering(answers)
                } else {
                    State::Accepting(inbox, now)
                }
            }
            State::Answering(answers) => {
                worker.own.answer(context, &mut self.guard, &answers)?;
                State::Woken
            }
            State::Done => State::Done,
        };
        if !matches!(worker.state, State::Idle | State::Done) {
            context.after(delay, Event::Worker { generation: self.generation, index });
        }
        Ok(())
    }

    /// Receives a batch of datagrams. During a stop, a worker ends if there are none.
    fn receive(&mut self, context: &Context) -> State {
        let most = self.buffer.len().min(context.config.batch);
        let inbox: VecDeque<Datagram> = self.buffer.drain(..most).collect();
        match (inbox.is_empty(), self.stopping) {
            (true, true) => State::Done,
            (true, false) => State::Idle,
            (false, _) => State::Accepting(inbox, context.clock.now()),
        }
    }

    /// Accepts one datagram by the current rules. A reload may have changed them since the datagram before.
    fn accept(
        &mut self,
        context: &mut Context,
        worker: &mut Worker,
        datagram: &Datagram,
        now: Now,
    ) -> Checked {
        let Worker { own, waiting, .. } = worker;
        let Datagram { copy, source, payload } = datagram;
        let apart = (!context.is_local() && !context.has(Sabotage::PingsWait)).then_some(&mut waiting.batch);
        let policy = Arc::clone(&self.policy);
        // The buffer of a worker has one byte more than the largest request.
        let bytes = payload.bytes.get(..=MAX_REQUEST).unwrap_or(&payload.bytes);
        let shut_out = context.has(Sabotage::FailuresShutOut)
            && self.guard.answer_failure(source.ip(), now.tick) == Err(Reason::TooManyFailures);
        let mut accepted = if shut_out {
            Err(Reason::TooManyFailures)
        } else {
            own.batch.accept_with(&mut self.guard, apart, &policy, *source, bytes, now)
        };
        let no_request = matches!(payload.content, Content::NoRequest);
        if no_request && context.has(Sabotage::AnswersReplies)
            || source.port() == 0 && context.has(Sabotage::AnswersPortZero)
        {
            accepted = Ok(());
        }
        let asked = context.checker.accepted(*copy, &self.rules, now, accepted)?;
        let Some(asked) = asked else { return Ok(()) };
        let load = if waiting.batch.len() > waiting.asked.len() { waiting } else { own };
        load.asked.push(asked);
        if context.has(Sabotage::CountsForbidden)
            && self.rules.expected(payload, source.port(), now.wall.micros()) == Expected::Code(403)
            && let Content::Request(request) = &payload.content
        {
            load.extra.extend(
                request.digests.iter().map(|digest| StoreCall { digest: *digest, op: StoreOp::Report }),
            );
        }
        Ok(())
    }

    /// Asks a local store, or queues the requests for the remote stores. Returns the answers, and when they arrive.
    fn ask(
        &mut self,
        context: &mut Context,
        database: &mut Database,
        connections: &mut Connections,
        worker: &mut Worker,
        now: Now,
    ) -> Checked<(Vec<StoreAnswer>, Duration)> {
        let Worker { own, waiting, .. } = worker;
        if context.has(Sabotage::PingsWait) && !context.is_local() {
            std::mem::swap(own, waiting);
        }
        if !context.is_local() {
            self.enqueue(context, connections, waiting)?;
            return Ok((Vec::new(), context.random.micros(1, 40)));
        }
        let calls = own.calls(context)?;
        let asked = own.asked.clone();
        if context.has(Sabotage::AcknowledgesFirst) {
            own.answer(context, &mut self.guard, &vec![Ok(Record::default()); calls.len()])?;
        }
        if calls.is_empty() {
            Ok((Vec::new(), Duration::ZERO))
        } else {
            database.execute(context, now, &asked, &calls)
        }
    }

    /// Queues a batch for the remote stores, or refuses it if too many are in flight.
    fn enqueue(
        &mut self,
        context: &mut Context,
        connections: &mut Connections,
        load: &mut TrackedBatch,
    ) -> Checked {
        if load.batch.is_empty() {
            return Ok(());
        }
        let calls = load.calls(context)?;
        if context.has(Sabotage::AcknowledgesFirst) {
            return load.answer(context, &mut self.guard, &vec![Ok(Record::default()); calls.len()]);
        }
        let waiting = self.queue.waiting();
        if self.queue.submit(&mut load.batch) {
            self.queued.extend(load.asked.drain(..));
            connections.wake(context, self.generation);
            let joined = self.queue.waiting() == waiting;
            return if joined { Ok(()) } else { context.checker.batch_in_flight(context.config.connections) };
        }
        context.note(|| "too many batches are in flight".to_owned());
        if context.has(Sabotage::ForgetsOverflow) {
            load.clear();
        }
        context.checker.batch_refused(context.config.connections, &load.asked)?;
        load.answer(context, &mut self.guard, &[])
    }
}
