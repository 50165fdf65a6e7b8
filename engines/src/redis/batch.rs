//! A batch of calls on its way to the server: which of them have an answer, and which are to be sent.

use ::redis::Value;
use pyzord_core::{Digest, Record, StoreAnswer, StoreCall, StoreError, StoreOp};

use super::layout::Layout;
use super::reply::{self, ReplyError};
use super::request::Request;
use crate::merge::{MergedCall, Merger};
use crate::outcome::MAYBE_COUNTED;

/// The calls of a batch, merged, and their answers.
#[derive(Debug, Default)]
pub(super) struct CallBatch {
    merger: Merger,
    /// One for each merged call; `None` as long as it has none.
    answers: Vec<Option<StoreAnswer>>,
    /// The merged calls of the last request, in its order.
    asked: Vec<usize>,
    /// How many of them have had a reply.
    replied: usize,
    finished: Vec<StoreAnswer>,
}

impl CallBatch {
    /// Takes the calls of a batch.
    pub(super) fn begin(&mut self, calls: &[StoreCall]) {
        let merged = self.merger.merge(calls).len();
        self.answers.clear();
        self.answers.resize(merged, None);
        self.asked.clear();
        self.replied = 0;
    }

    /// Adds the commands for the calls that have no answer.
    pub(super) fn request(&mut self, layout: &mut Layout, request: &mut Request) {
        self.asked.clear();
        self.replied = 0;
        for (index, (call, answer)) in self.merger.merged().iter().zip(&self.answers).enumerate() {
            if answer.is_some() {
                continue;
            }
            self.asked.push(index);
            match call.op {
                StoreOp::Read => layout.read(call.digest, request),
                StoreOp::Report => layout.count("r", call.digest, call.times, request),
                StoreOp::Whitelist => layout.count("wl", call.digest, call.times, request),
            }
        }
    }

    /// Returns the call of the next reply.
    pub(super) fn next(&mut self) -> Option<AskedCall> {
        let index = *self.asked.get(self.replied)?;
        self.replied += 1;
        self.merger.merged().get(index).copied().map(AskedCall)
    }

    /// Sets the answer to the call that was [next](Self::next).
    pub(super) fn answer(&mut self, answer: StoreAnswer) {
        let asked = self.replied.checked_sub(1).and_then(|last| self.asked.get(last));
        if let Some(place) = asked.and_then(|index| self.answers.get_mut(*index)) {
            *place = Some(answer);
        }
    }

    /// Settles the counts that were sent and have no reply: they must not be sent again.
    pub(super) fn may_have_counted(&mut self) {
        for index in self.asked.get(self.replied..).unwrap_or_default() {
            let read = self.merger.merged().get(*index).is_some_and(|call| call.op == StoreOp::Read);
            if let Some(place) = self.answers.get_mut(*index).filter(|_| !read) {
                *place = Some(Err(MAYBE_COUNTED));
            }
        }
    }

    /// Returns whether every call has an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }

    /// Appends the answer to each call of the batch; one without an answer was not executed.
    pub(super) fn answers(&mut self, answers: &mut Vec<StoreAnswer>) {
        self.finished.clear();
        self.finished
            .extend(self.answers.iter().map(|answer| answer.unwrap_or(Err(StoreError::Unavailable))));
        self.merger.answers(&self.finished, answers);
    }
}

/// A call that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedCall(MergedCall);

impl AskedCall {
    pub(super) fn digest(self) -> Digest {
        self.0.digest
    }

    /// Returns the record in the reply; the default one for a count.
    pub(super) fn read(self, layout: &Layout, reply: &Value) -> Result<Record, ReplyError> {
        match self.0.op {
            StoreOp::Read => Ok(layout.record(reply)?.unwrap_or_default()),
            StoreOp::Report | StoreOp::Whitelist => reply::counted(reply).map(|()| Record::default()),
        }
    }
}
