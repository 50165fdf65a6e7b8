//! The calls of a batch on their way to a cluster.

use pyzord_core::{Record, StoreAnswer, StoreCall, StoreError, StoreOp, Tick};

use super::super::layout::Layout;
use super::super::replicas::NotReplicated;
use super::super::reply::{self, Counting, ReplyError};
use super::super::request::Request;
use super::super::resp::Reply;
use super::router::{Calls, Verdict};
use super::slot::Slot;
use crate::log_limiter::LogLimiter;
use crate::merge::{MergedCall, Merger};
use crate::outcome::in_doubt;

/// The calls of a batch, merged, and their answers.
#[derive(Debug)]
pub(super) struct Batch {
    merger: Merger,
    /// One for each merged call.
    states: Vec<State>,
    finished: Vec<StoreAnswer>,
    unreadable: LogLimiter,
    refused: LogLimiter,
    unmarked: LogLimiter,
    not_replicated: LogLimiter,
}

/// How a call is sent.
///
/// A count with a mark has two keys. While their slot moves, a node that has only one of them executes nothing. Then the
/// count is made in steps of one key each, and the mark tells how far it is: a repeat of a count that broke off is neither
/// counted nor acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// All in one.
    Whole,
    /// The mark is set to pending.
    Mark,
    /// The record counts.
    Count,
    /// The mark is set to counted.
    Counted,
    /// The mark is removed, as the record has not counted.
    Undo,
}

/// What is known of a merged call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    step: Step,
    /// It was last sent with its mark.
    marked: bool,
    /// It was sent with its mark, and had no reply: it stays so until it is known to be counted.
    in_doubt: bool,
    answer: Option<StoreAnswer>,
}

const NEW: State = State { step: Step::Whole, marked: false, in_doubt: false, answer: None };

impl Default for Batch {
    fn default() -> Self {
        Self {
            merger: Merger::keeping_marks(),
            states: Vec::new(),
            finished: Vec::new(),
            unreadable: LogLimiter::default(),
            refused: LogLimiter::default(),
            unmarked: LogLimiter::default(),
            not_replicated: LogLimiter::default(),
        }
    }
}

impl Batch {
    /// Takes the calls of a batch.
    pub(super) fn begin<'a>(
        &'a mut self,
        calls: &[StoreCall],
        layout: &'a mut Layout,
        now: Tick,
    ) -> Executing<'a> {
        let merged = self.merger.merge(calls).len();
        self.states.clear();
        self.states.resize(merged, NEW);
        Executing { batch: self, layout, now }
    }

    /// Appends the answer to each call of the batch; one that is open was not executed.
    pub(super) fn answers(&mut self, answers: &mut Vec<StoreAnswer>) {
        let calls = self.merger.merged().iter().zip(&self.states);
        self.finished.clear();
        self.finished.extend(calls.map(|(call, state)| match state {
            State { answer: Some(answer), .. } => *answer,
            State { in_doubt: true, .. } => Err(in_doubt(call.op, true)),
            State { .. } => Err(StoreError::Unavailable),
        }));
        self.merger.answers(&self.finished, answers);
    }
}

/// A batch that is executed.
#[derive(Debug)]
pub(super) struct Executing<'a> {
    batch: &'a mut Batch,
    layout: &'a mut Layout,
    now: Tick,
}

impl Executing<'_> {
    fn call(&self, index: usize) -> Option<MergedCall> {
        self.batch.merger.merged().get(index).copied()
    }

    /// Sets an answer. A call that is in doubt stays so if it failed now: the first one that was sent may still count.
    fn answer(&mut self, index: usize, answer: StoreAnswer) {
        let Some(call) = self.call(index) else { return };
        let Some(state) = self.batch.states.get_mut(index) else { return };
        state.answer = Some(match answer {
            Err(error) if state.in_doubt && error != StoreError::AlreadyCounted => {
                Err(in_doubt(call.op, true))
            }
            answer => answer,
        });
    }

    /// Takes the answer to a step, and returns whether another one follows.
    fn step(&mut self, index: usize, answer: StoreAnswer) -> Verdict {
        let Some(state) = self.batch.states.get_mut(index) else { return Verdict::Done };
        let next = match (state.step, answer) {
            (Step::Mark, Ok(_)) => Some(Step::Count),
            (Step::Count, Ok(_)) => Some(Step::Counted),
            (Step::Counted | Step::Undo, _) => return Verdict::Done,
            (Step::Whole | Step::Mark | Step::Count, _) => None,
        };
        if let Some(next) = next {
            state.step = next;
        }
        if next != Some(Step::Count) {
            self.answer(index, answer);
        }
        if next.is_some() { Verdict::Step } else { Verdict::Done }
    }

    /// Returns the answer in a reply; the default record for a count.
    fn read(&self, call: MergedCall, reply: Reply<'_>) -> Result<StoreAnswer, ReplyError> {
        match call.op {
            StoreOp::Read => Ok(Ok(self.layout.record(reply)?.unwrap_or_default())),
            StoreOp::Report | StoreOp::Whitelist => Ok(match reply::counted(reply)? {
                Counting::Counted => Ok(Record::default()),
                Counting::AlreadyCounted => Err(StoreError::AlreadyCounted),
                Counting::Pending => Err(StoreError::Unsettled),
            }),
        }
    }

    fn failed(&mut self, index: usize, call: MergedCall, error: ReplyError, node: &str) -> Verdict {
        match self.batch.states.get(index).map(|state| state.step) {
            // The answer is known.
            Some(Step::Counted | Step::Undo) if !matches!(error, ReplyError::NoScript(_)) => Verdict::Done,
            Some(Step::Count) if !matches!(error, ReplyError::NoScript(_) | ReplyError::Unexpected) => {
                let verdict = self.failed_call(index, call, error, node);
                if let (Verdict::Done, Some(state)) = (&verdict, self.batch.states.get_mut(index)) {
                    state.step = Step::Undo;
                    return Verdict::Step;
                }
                verdict
            }
            _ => self.failed_call(index, call, error, node),
        }
    }

    fn failed_call(&mut self, index: usize, call: MergedCall, error: ReplyError, node: &str) -> Verdict {
        let marked = self.batch.states.get(index).is_some_and(|state| state.marked);
        match error {
            ReplyError::Unreadable(why) => {
                if let Some(more) = self.batch.unreadable.due(self.now) {
                    let digest = call.digest;
                    log::warn!("{node}: the record of {digest} is left as it is, unreadable: {why}{more}");
                }
                self.answer(index, Err(StoreError::Unreadable));
                return Verdict::Done;
            }
            ReplyError::NoScript(_) => return Verdict::Spell,
            ReplyError::Refused(why) if marked && why.is_missing_right() => {
                if let Some(more) = self.batch.unmarked.due(self.now) {
                    log::warn!(
                        "{node}: signed counts have no marks in this database, so a restart forgets which were \
                         counted: {why}; give the user the right to the keys pyzord.digest*{more}"
                    );
                }
                return Verdict::Unmark;
            }
            ReplyError::Refused(why) | ReplyError::Redirected(why) => {
                if let Some(more) = self.batch.refused.due(self.now) {
                    log::error!("{node}: {why}{more}");
                }
            }
            ReplyError::Away(why) => {
                self.answer(index, Err(StoreError::Unavailable));
                return Verdict::Away(why);
            }
            ReplyError::Unexpected => {
                self.answer(index, Err(in_doubt(call.op, marked)));
                return Verdict::OutOfStep;
            }
        }
        self.answer(index, Err(StoreError::Unavailable));
        Verdict::Done
    }
}

impl Calls for Executing<'_> {
    fn len(&self) -> usize {
        self.batch.merger.merged().len()
    }

    fn slot(&mut self, index: usize) -> Slot {
        let digest = self.call(index).map(|call| call.digest);
        digest.map_or(Slot::of(b""), |digest| Slot::of(self.layout.key(digest)))
    }

    fn writes(&self, index: usize) -> bool {
        self.call(index).is_some_and(|call| call.op != StoreOp::Read)
    }

    fn follows(&self, index: usize) -> bool {
        let before = index.checked_sub(1).and_then(|before| self.call(before));
        before.zip(self.call(index)).is_some_and(|(before, call)| before.digest == call.digest)
    }

    fn split(&mut self, index: usize) -> bool {
        let Some(state) = self.batch.states.get_mut(index) else { return false };
        let splits = state.marked && state.step == Step::Whole;
        if splits {
            state.step = Step::Mark;
        }
        splits
    }

    fn command(&mut self, index: usize, marks: bool, request: &mut Request) {
        let Some(call) = self.call(index) else { return };
        let mark = call.mark.filter(|_| marks);
        let step = self.batch.states.get(index).map(|state| state.step);
        if step != Some(Step::Whole) {
            // A request names the script of its first call alone.
            request.spell_scripts(true);
        }
        let mark = match (step, mark) {
            (Some(Step::Mark), Some(mark)) => {
                return self.layout.set_mark(call.digest, mark, "pending", request);
            }
            (Some(Step::Counted), Some(mark)) => {
                return self.layout.set_mark(call.digest, mark, "counted", request);
            }
            (Some(Step::Undo), Some(mark)) => {
                return self.layout.set_mark(call.digest, mark, "none", request);
            }
            (Some(Step::Count), _) => None,
            (_, mark) => mark,
        };
        if step == Some(Step::Count) {
            // Its mark is set.
        } else if let Some(state) = self.batch.states.get_mut(index) {
            state.marked = mark.is_some() && call.op != StoreOp::Read;
        }
        match call.op {
            StoreOp::Read => self.layout.read(call.digest, request),
            StoreOp::Report => self.layout.count("r", call.digest, call.times, mark, request),
            StoreOp::Whitelist => self.layout.count("wl", call.digest, call.times, mark, request),
        }
    }

    fn reply(&mut self, index: usize, reply: Reply<'_>, node: &str) -> Verdict {
        let Some(call) = self.call(index) else { return Verdict::Done };
        match self.read(call, reply) {
            Ok(answer) => self.step(index, answer),
            Err(error) => self.failed(index, call, error, node),
        }
    }

    fn lost(&mut self, index: usize) -> bool {
        let Some(call) = self.call(index) else { return false };
        if call.op == StoreOp::Read {
            return true;
        }
        let Some(state) = self.batch.states.get_mut(index) else { return false };
        match state.step {
            Step::Whole => (),
            // Nothing is counted.
            Step::Mark => return true,
            Step::Count => {
                state.answer = Some(Err(in_doubt(call.op, true)));
                return false;
            }
            // What the record has is known.
            Step::Counted | Step::Undo => return false,
        }
        if state.marked {
            state.in_doubt = true;
        } else {
            state.answer = Some(Err(in_doubt(call.op, state.in_doubt)));
        }
        state.marked
    }

    fn not_replicated(&mut self, index: usize, cause: &NotReplicated, node: &str) {
        let (Some(call), Some(state)) = (self.call(index), self.batch.states.get_mut(index)) else { return };
        if matches!(state.answer, Some(Ok(_) | Err(StoreError::AlreadyCounted))) {
            state.answer = Some(Err(in_doubt(call.op, state.marked)));
            if let Some(more) = self.batch.not_replicated.due(self.now) {
                log::error!("{node}: {cause}; reports get 500{more}");
            }
        }
    }
}
