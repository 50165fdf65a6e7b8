//! The steps of a worker: it receives datagrams, accepts one after another, asks the store or queues the batch, and
//! answers.

use std::collections::VecDeque;
use std::time::Duration;

use pyzord_core::{Batch, Ignored, MAX_REQUEST, Now, Record, StoreAnswer, StoreCall, StoreError, StoreOp};

use super::connection::Connections;
use super::shared::Shared;
use super::tracked_asked::TrackedAsked;
use super::tracked_batch::TrackedBatch;
use crate::context::Context;
use crate::database::Database;
use crate::event::Event;
use crate::invariant::Checked;
use crate::payload::{Content, Datagram, Sender};
use crate::plan::Sabotage;
use crate::rules::Expected;

/// The pause of a worker that waits for the database.
const POLL_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Worker {
    state: State,
    batch: TrackedBatch,
}

#[derive(Debug, Default)]
pub(super) enum State {
    /// Waits for a datagram.
    #[default]
    Idle,
    /// Has been woken.
    Woken,
    /// Accepts the datagrams that it received at this time.
    Accepting(VecDeque<Datagram>, Now),
    /// Has the store's answers to this batch.
    Answering(Box<TrackedAsked>, Vec<StoreAnswer>),
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
                    self.accept(context, &mut worker.batch, index, &datagram, now)?;
                }
                if inbox.is_empty() {
                    let state;
                    (state, delay) = self.ask(context, database, connections, &mut worker.batch, now)?;
                    state
                } else {
                    State::Accepting(inbox, now)
                }
            }
            State::Answering(asked, answers)
                if context.has(Sabotage::PingsWait) && connections.have_work(self) =>
            {
                delay = POLL_PAUSE;
                State::Answering(asked, answers)
            }
            State::Answering(asked, answers) => {
                worker.batch.batch = asked.resolve(context, self.handles.resolving(), answers)?;
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
        batch: &mut TrackedBatch,
        index: usize,
        datagram: &Datagram,
        now: Now,
    ) -> Checked {
        let Datagram { copy, source, payload } = datagram;
        let mut accepted = self.judge(context, &mut batch.batch, index, datagram, now);
        let no_request = matches!(payload.content, Content::NoRequest);
        if no_request && context.has(Sabotage::AnswersReplies)
            || source.port() == 0 && context.has(Sabotage::AnswersPortZero)
        {
            accepted = Ok(());
        }
        let entry = context.checker.accepted(*copy, &self.rules, now, accepted)?;
        let Some(entry) = entry else { return Ok(()) };
        batch.add(entry);
        if context.has(Sabotage::CountsForbidden)
            && self.rules.expected(payload, source.port(), now.wall.micros()) == Expected::Code(403)
            && let Content::Request(request) = &payload.content
        {
            batch.extra.extend(request.digests.iter().map(|digest| StoreCall::new(*digest, StoreOp::Report)));
        }
        Ok(())
    }

    /// Judges one datagram. Adds it to the batch if it is to be answered.
    fn judge(
        &mut self,
        context: &Context,
        batch: &mut Batch<Sender>,
        index: usize,
        datagram: &Datagram,
        now: Now,
    ) -> Result<(), Ignored> {
        let Datagram { copy, source, payload } = datagram;
        let sender = Sender { copy: *copy, address: *source };
        let server = self.handles.worker(index);
        // The buffer of a worker has one byte more than the largest request.
        let bytes = payload.bytes.get(..=MAX_REQUEST).unwrap_or(&payload.bytes);
        if self.shut_out.contains(&source.ip()) {
            // The batch is discarded: only the limit of requests applies as before.
            return Batch::new().accept(server, sender, bytes, now).and(Err(Ignored::TooManyFailures));
        }
        let accepted = batch.accept(server, sender, bytes, now);
        if context.has(Sabotage::FailuresShutOut) && accepted == Err(Ignored::TooManyFailures) {
            self.shut_out.insert(source.ip());
        }
        accepted
    }

    /// Asks a local store, or queues the requests that wait for the remote stores. Returns the next state, and when it
    /// begins.
    fn ask(
        &mut self,
        context: &mut Context,
        database: &mut Database,
        connections: &mut Connections,
        batch: &mut TrackedBatch,
        now: Now,
    ) -> Checked<(State, Duration)> {
        let calls = batch.calls(context)?;
        let waiting = batch.waiting.clone();
        let acknowledged = context.has(Sabotage::AcknowledgesFirst);
        if acknowledged {
            let answers = vec![Ok(Record::default()); calls.len()];
            batch.batch = batch.ask().resolve(context, self.handles.resolving(), answers)?;
        }
        if context.config.split {
            return self.ask_split(context, database, connections, batch, &calls, now);
        }
        if !context.is_local() {
            self.enqueue(context, connections, batch, &calls)?;
            return Ok((State::Answering(Box::new(batch.ask()), Vec::new()), context.random.micros(1, 40)));
        }
        if calls.is_empty() {
            return Ok((State::Answering(Box::new(batch.ask()), Vec::new()), Duration::ZERO));
        }
        let (mut answers, delay) = database.execute(context, now, &waiting, &calls)?;
        if acknowledged {
            answers.clear();
        }
        Ok((State::Answering(Box::new(batch.ask()), answers), delay))
    }

    /// Queues the requests that wait for the remote stores. If too many batches are in flight, answers the whole batch.
    fn enqueue(
        &mut self,
        context: &mut Context,
        connections: &mut Connections,
        batch: &mut TrackedBatch,
        calls: &[StoreCall],
    ) -> Checked {
        if batch.waiting.is_empty() {
            return Ok(());
        }
        let waiting = self.queue.waiting();
        if self.queue.submit(&mut batch.batch) {
            let in_flight = self.queue.waiting() + connections.busy();
            context.checker.order.handed_over(&batch.waiting, calls);
            batch.waiting.clear();
            connections.wake(context, self.generation);
            let joined = self.queue.waiting() == waiting;
            let most = context.config.connections;
            return if joined { Ok(()) } else { context.checker.batch_in_flight(most, in_flight) };
        }
        context.note(|| "too many batches are in flight".to_owned());
        if context.has(Sabotage::ForgetsOverflow) {
            drop(batch.batch.split(Batch::new()));
            batch.waiting.clear();
        }
        let in_flight = self.queue.waiting() + connections.busy();
        context.checker.batch_refused(context.config.connections, in_flight, &batch.waiting)?;
        batch.batch = batch.ask().fail(context, self.handles.resolving(), StoreError::Unavailable)?;
        Ok(())
    }
}
