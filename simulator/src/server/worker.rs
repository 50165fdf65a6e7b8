//! The steps of a worker: it receives, judges one datagram after the other, asks the store or hands over,
//! answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{MAX_REQUEST, Memory as _, Now, Reason, Record, StoreAnswer, StoreCall, StoreOp};

use super::{Load, Server};
use crate::database::Database;
use crate::invariant::Checked;
use crate::law::Verdict;
use crate::message::{Content, Datagram};
use crate::plan::Sabotage;
use crate::stage::{Event, Stage};

#[derive(Debug, Default)]
pub(super) struct Worker {
    state: State,
    /// What it answers itself.
    own: Load,
    /// What it hands over to the remote stores.
    waiting: Load,
}

#[derive(Debug, Default)]
enum State {
    /// Waits for a datagram.
    #[default]
    Idle,
    /// Was woken.
    Woken,
    /// Has received some datagrams at this time.
    Judging(VecDeque<Datagram>, Now),
    /// Has asked the store.
    Answering(Vec<StoreAnswer>),
    /// Has ended after a stop.
    Done,
}

impl Worker {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl Server {
    /// The kernel wakes one of those who wait.
    pub(super) fn wake_worker(&mut self, stage: &mut Stage) {
        let idle = |worker: &Worker| matches!(worker.state, State::Idle);
        if let Some(index) = self.workers.iter().position(idle) {
            self.wake(stage, index);
        }
    }

    pub(super) fn wake(&mut self, stage: &mut Stage, index: usize) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        if matches!(worker.state, State::Idle) {
            worker.state = State::Woken;
            let delay = stage.random.micros(1, 50);
            stage.after(delay, Event::Worker { life: self.life, index });
        }
    }

    /// One step of a worker.
    pub(super) fn work(&mut self, stage: &mut Stage, database: &mut Database, index: usize) -> Checked {
        let Some(mut worker) = self.workers.get_mut(index).map(std::mem::take) else { return Ok(()) };
        let mut delay = stage.random.micros(1, 40);
        worker.state = match std::mem::take(&mut worker.state) {
            State::Idle | State::Woken => self.receive(stage),
            State::Judging(mut inbox, now) => {
                if let Some(datagram) = inbox.pop_front() {
                    self.judge(stage, &mut worker, &datagram, now)?;
                }
                if inbox.is_empty() {
                    let answers;
                    (answers, delay) = self.ask(stage, database, &mut worker, now)?;
                    State::Answering(answers)
                } else {
                    State::Judging(inbox, now)
                }
            }
            State::Answering(answers) => {
                worker.own.answer(stage, &mut self.guard, &answers)?;
                State::Woken
            }
            State::Done => State::Done,
        };
        if !matches!(worker.state, State::Idle | State::Done) {
            stage.after(delay, Event::Worker { life: self.life, index });
        }
        if let Some(place) = self.workers.get_mut(index) {
            *place = worker;
        }
        Ok(())
    }

    /// Takes what is there. After a stop, a worker ends when nothing is.
    fn receive(&mut self, stage: &Stage) -> State {
        let most = self.buffer.len().min(stage.config.batch);
        let inbox: VecDeque<Datagram> = self.buffer.drain(..most).collect();
        match (inbox.is_empty(), self.stopping) {
            (true, true) => State::Done,
            (true, false) => State::Idle,
            (false, _) => State::Judging(inbox, stage.clock.now()),
        }
    }

    /// Judges one datagram by the rules of this moment, which may be others than those of the one before.
    fn judge(&mut self, stage: &mut Stage, worker: &mut Worker, datagram: &Datagram, now: Now) -> Checked {
        let Worker { own, waiting, .. } = worker;
        let Datagram { copy, source, parcel } = datagram;
        let apart = (!stage.is_local() && !stage.has(Sabotage::PingsWait)).then_some(&mut waiting.batch);
        let policy = Arc::clone(&self.policy);
        // A receive buffer has room for one byte more than the largest request.
        let bytes = parcel.bytes.get(..=MAX_REQUEST).unwrap_or(&parcel.bytes);
        let shut_out = stage.has(Sabotage::FailuresShutOut)
            && self.guard.answer_failure(source.ip(), now.tick) == Err(Reason::TooManyFailures);
        let mut accepted = if shut_out {
            Err(Reason::TooManyFailures)
        } else {
            own.batch.accept_with(&mut self.guard, apart, &policy, *source, bytes, now)
        };
        let no_request = matches!(parcel.content, Content::NoRequest);
        if no_request && stage.has(Sabotage::AnswersReplies)
            || source.port() == 0 && stage.has(Sabotage::AnswersPortZero)
        {
            accepted = Ok(());
        }
        let asked = stage.judge.judged(*copy, &self.rules, now, accepted)?;
        let Some(asked) = asked else { return Ok(()) };
        let load = if waiting.batch.len() > waiting.asked.len() { waiting } else { own };
        load.asked.push(asked);
        if stage.has(Sabotage::CountsForbidden)
            && self.rules.verdict(parcel, source.port(), now.wall.micros()) == Verdict::Code(403)
            && let Content::Request(message) = &parcel.content
        {
            load.extra.extend(
                message.digests.iter().map(|digest| StoreCall { digest: *digest, op: StoreOp::Report }),
            );
        }
        Ok(())
    }

    /// Asks the store, or hands over what asks it: the answers, and when they are there.
    fn ask(
        &mut self,
        stage: &mut Stage,
        database: &mut Database,
        worker: &mut Worker,
        now: Now,
    ) -> Checked<(Vec<StoreAnswer>, Duration)> {
        let Worker { own, waiting, .. } = worker;
        if stage.has(Sabotage::PingsWait) && !stage.is_local() {
            std::mem::swap(own, waiting);
        }
        if !stage.is_local() {
            self.hand_over(stage, waiting)?;
            return Ok((Vec::new(), stage.random.micros(1, 40)));
        }
        let calls = own.calls(stage)?;
        let asked = own.asked.clone();
        if stage.has(Sabotage::AcknowledgesFirst) {
            own.answer(stage, &mut self.guard, &vec![Ok(Record::default()); calls.len()])?;
        }
        if calls.is_empty() {
            Ok((Vec::new(), Duration::ZERO))
        } else {
            database.execute(stage, now, &asked, &calls)
        }
    }

    /// Hands a batch over to the remote stores, or refuses it when too many are in flight.
    fn hand_over(&mut self, stage: &mut Stage, load: &mut Load) -> Checked {
        if load.batch.is_empty() {
            return Ok(());
        }
        let calls = load.calls(stage)?;
        if stage.has(Sabotage::AcknowledgesFirst) {
            return load.answer(stage, &mut self.guard, &vec![Ok(Record::default()); calls.len()]);
        }
        let waiting = self.queue.waiting();
        if self.queue.submit(&mut load.batch) {
            self.queued.extend(load.asked.drain(..));
            self.wake_connections(stage);
            let joined = self.queue.waiting() == waiting;
            return if joined { Ok(()) } else { stage.judge.batch_in_flight(stage.config.connections) };
        }
        stage.note(|| "too many batches are in flight".to_owned());
        if stage.has(Sabotage::ForgetsOverflow) {
            load.clear();
        }
        stage.judge.batch_refused(stage.config.connections, &load.asked)?;
        load.answer(stage, &mut self.guard, &[])
    }
}
