//! A batch of calls on its way to the server: which of them have an answer, and which are to be sent.

use pyzord_core::{Digest, Record, StoreAnswer, StoreCall, StoreError, StoreOp};

use super::layout::Layout;
use super::reply::{self, Counting, ReplyError};
use super::request::Request;
use super::resp::Reply;
use crate::merge::{MergedCall, Merger};
use crate::outcome::in_doubt;

/// The calls of a batch, merged, and their answers.
#[derive(Debug)]
pub(super) struct CallBatch {
    merger: Merger,
    /// One for each merged call.
    states: Vec<State>,
    /// Whether the calls of the last request had their marks.
    marks: bool,
    /// The merged calls of the last request, in its order.
    asked: Vec<usize>,
    /// How many of them have had a reply.
    replied: usize,
    finished: Vec<StoreAnswer>,
}

/// What is known of a merged call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It was not executed, and is to be sent.
    Open,
    /// It was sent with its mark, and had no reply: with the mark, and only so, it may be sent again.
    InDoubt,
    Answered(StoreAnswer),
}

impl Default for CallBatch {
    fn default() -> Self {
        Self {
            merger: Merger::keeping_marks(),
            states: Vec::new(),
            marks: true,
            asked: Vec::new(),
            replied: 0,
            finished: Vec::new(),
        }
    }
}

impl CallBatch {
    /// Takes the calls of a batch.
    pub(super) fn begin(&mut self, calls: &[StoreCall]) {
        let merged = self.merger.merge(calls).len();
        self.states.clear();
        self.states.resize(merged, State::Open);
        self.asked.clear();
        self.replied = 0;
    }

    /// Adds the commands for the calls that have no answer; with their marks if the server keeps them.
    pub(super) fn request(&mut self, marks: bool, layout: &mut Layout, request: &mut Request) {
        self.asked.clear();
        (self.replied, self.marks) = (0, marks);
        for (index, (call, state)) in self.merger.merged().iter().zip(&self.states).enumerate() {
            match state {
                State::Open => (),
                State::InDoubt if marks => (),
                State::InDoubt | State::Answered(_) => continue,
            }
            self.asked.push(index);
            let mark = call.mark.filter(|_| marks);
            match call.op {
                StoreOp::Read => layout.read(call.digest, request),
                StoreOp::Report => layout.count("r", call.digest, call.times, mark, request),
                StoreOp::Whitelist => layout.count("wl", call.digest, call.times, mark, request),
            }
        }
    }

    /// Returns the call of the next reply, as it was sent.
    pub(super) fn next(&mut self) -> Option<AskedCall> {
        let index = *self.asked.get(self.replied)?;
        self.replied += 1;
        let call = *self.merger.merged().get(index)?;
        Some(AskedCall(MergedCall { mark: call.mark.filter(|_| self.marks), ..call }))
    }

    /// Sets the answer to the call that was [next](Self::next).
    ///
    /// A call that was in doubt stays so if it failed now: the first one that was sent may still count.
    pub(super) fn answer(&mut self, call: AskedCall, answer: StoreAnswer) {
        let asked = self.replied.checked_sub(1).and_then(|last| self.asked.get(last));
        let Some(state) = asked.and_then(|index| self.states.get_mut(*index)) else { return };
        let answer = match (*state, answer) {
            (State::InDoubt, Ok(_) | Err(StoreError::AlreadyCounted))
            | (State::Open | State::Answered(_), _) => answer,
            (State::InDoubt, Err(_)) => Err(call.in_doubt()),
        };
        *state = State::Answered(answer);
    }

    /// Returns whether the last request has counts.
    pub(super) fn asks_for_counts(&self) -> bool {
        let calls = self.merger.merged();
        self.asked.iter().any(|index| calls.get(*index).is_some_and(|call| call.op != StoreOp::Read))
    }

    /// Takes back what the last request has counted: it may be lost with the server.
    pub(super) fn not_replicated(&mut self) {
        for index in &self.asked {
            let (Some(call), Some(state)) = (self.merger.merged().get(*index), self.states.get_mut(*index))
            else {
                continue;
            };
            if let (
                StoreOp::Report | StoreOp::Whitelist,
                State::Answered(Ok(_) | Err(StoreError::AlreadyCounted)),
            ) = (call.op, *state)
            {
                *state = State::Answered(Err(in_doubt(call.op, self.marks && call.mark.is_some())));
            }
        }
    }

    /// Settles the counts that were sent and have no reply: without a mark they must not be sent again.
    pub(super) fn may_have_counted(&mut self) {
        while let (at, Some(call)) = (self.replied, self.next()) {
            let state = self.asked.get(at).and_then(|index| self.states.get_mut(*index));
            match state {
                Some(state) if call.is_marked() => *state = State::InDoubt,
                Some(state) if !call.is_read() => *state = State::Answered(Err(call.in_doubt())),
                _ => (),
            }
        }
    }

    /// Returns whether every call has an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.states.iter().all(|state| matches!(state, State::Answered(_)))
    }

    /// Appends the answer to each call of the batch; one that is still open was not executed.
    pub(super) fn answers(&mut self, answers: &mut Vec<StoreAnswer>) {
        let marks = self.marks;
        let calls = self.merger.merged().iter().zip(&self.states);
        self.finished.clear();
        self.finished.extend(calls.map(|(call, state)| match state {
            State::Open => Err(StoreError::Unavailable),
            State::InDoubt => Err(in_doubt(call.op, marks)),
            State::Answered(answer) => *answer,
        }));
        self.merger.answers(&self.finished, answers);
    }
}

/// A call that was sent, with its mark if it was sent with one.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedCall(MergedCall);

impl AskedCall {
    pub(super) fn digest(self) -> Digest {
        self.0.digest
    }

    pub(super) fn is_marked(self) -> bool {
        self.0.mark.is_some() && !self.is_read()
    }

    fn is_read(self) -> bool {
        self.0.op == StoreOp::Read
    }

    /// Returns the answer if the call's reply is missing.
    pub(super) fn in_doubt(self) -> StoreError {
        in_doubt(self.0.op, self.is_marked())
    }

    /// Returns the answer in the reply; the default record for a count.
    pub(super) fn read(self, layout: &Layout, reply: Reply<'_>) -> Result<StoreAnswer, ReplyError> {
        match self.0.op {
            StoreOp::Read => Ok(Ok(layout.record(reply)?.unwrap_or_default())),
            StoreOp::Report | StoreOp::Whitelist => Ok(match reply::counted(reply)? {
                Counting::Counted => Ok(Record::default()),
                Counting::AlreadyCounted => Err(StoreError::AlreadyCounted),
                Counting::Pending => Err(StoreError::Unsettled),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use pyzord_core::Mark;

    use super::*;

    fn count(n: u8, place: Option<u8>) -> StoreCall {
        let mark = place.map(|place| Mark { signature: Digest::new([9; 20]), place });
        StoreCall { mark, ..StoreCall::new(Digest::new([n; 20]), StoreOp::Report) }
    }

    /// Sends what is to be sent, and loses the connection before a reply.
    fn lose(batch: &mut CallBatch, marks: bool) -> usize {
        let mut request = Request::default();
        batch.request(marks, &mut Layout::hash(None), &mut request);
        batch.may_have_counted();
        request.replies()
    }

    fn answers(batch: &mut CallBatch) -> Vec<StoreAnswer> {
        let mut answers = Vec::new();
        batch.answers(&mut answers);
        answers
    }

    #[test]
    fn a_count_is_sent_again_only_with_its_mark() {
        let read = StoreCall::new(Digest::new([3; 20]), StoreOp::Read);
        let lost = [StoreError::Unknown, StoreError::Unsettled, StoreError::Unavailable].map(Err);
        let mut batch = CallBatch::default();
        batch.begin(&[count(1, None), count(2, Some(0)), read]);
        assert_eq!(lose(&mut batch, true), 3);
        assert_eq!(answers(&mut batch), lost);
        assert_eq!(lose(&mut batch, true), 2, "the marked count and the read");
        assert_eq!(answers(&mut batch), lost);
        assert_eq!(lose(&mut batch, false), 1, "the read");
        let lost = [StoreError::Unknown, StoreError::Unknown, StoreError::Unavailable].map(Err);
        assert_eq!(answers(&mut batch), lost);
    }

    #[test]
    fn a_count_in_doubt_stays_so_if_it_is_refused_the_second_time() {
        for (second, expected) in [
            (Err(StoreError::Unavailable), Err(StoreError::Unsettled)),
            (Err(StoreError::AlreadyCounted), Err(StoreError::AlreadyCounted)),
            (Ok(Record::default()), Ok(Record::default())),
        ] {
            let mut batch = CallBatch::default();
            batch.begin(&[count(2, Some(0))]);
            lose(&mut batch, true);
            batch.request(true, &mut Layout::hash(None), &mut Request::default());
            let call = batch.next().unwrap();
            batch.answer(call, second);
            assert!(batch.is_answered());
            assert_eq!(answers(&mut batch), [expected]);
        }
    }

    #[test]
    fn what_a_server_without_marks_may_have_counted_is_not_sent_again() {
        let mut batch = CallBatch::default();
        batch.begin(&[count(2, Some(0)), count(2, Some(1))]);
        assert_eq!(lose(&mut batch, false), 2);
        assert!(batch.is_answered());
        assert_eq!(answers(&mut batch), [Err(StoreError::Unknown); 2]);
    }
}
