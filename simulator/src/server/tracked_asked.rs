//! A batch whose store was asked, together with the copies in it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyzord_core::{Answered, Asked, Batch, Server, StoreAnswer, StoreCall, StoreError};

use crate::checker::BatchEntry;
use crate::context::Context;
use crate::invariant::{Checked, Invariant};
use crate::payload::Sender;
use crate::plan::Sabotage;

#[derive(Debug)]
pub(super) struct TrackedAsked {
    asked: Asked<Sender>,
    /// The copies in the batch, in the order of its replies.
    entries: Vec<BatchEntry>,
}

impl TrackedAsked {
    pub(super) fn new(asked: Asked<Sender>, entries: Vec<BatchEntry>) -> Self {
        Self { asked, entries }
    }

    /// Tracks a batch in which all requests wait for the store.
    pub(super) fn waiting(asked: Asked<Sender>) -> Self {
        let entry =
            |(sender, calls): (&Sender, &[StoreCall])| BatchEntry { copy: sender.copy, calls: calls.len() };
        let entries = asked.asking().map(entry).collect();
        Self { asked, entries }
    }

    pub(super) fn calls(&self) -> &[StoreCall] {
        self.asked.calls()
    }

    pub(super) fn entries(&self) -> &[BatchEntry] {
        &self.entries
    }

    /// Sends the replies and returns the empty batch.
    pub(super) fn resolve(
        self,
        context: &mut Context,
        server: &Server,
        mut answers: Vec<StoreAnswer>,
    ) -> Checked<Batch<Sender>> {
        if context.has(Sabotage::LosesAnswers) {
            let known = answers.len() / 2;
            answers.iter_mut().skip(known).for_each(|answer| *answer = Err(StoreError::Unavailable));
        }
        if context.has(Sabotage::AnswersTooFew) {
            answers.pop();
        }
        let Self { asked, entries } = self;
        context.checker.settles(&entries, asked.calls(), &answers);
        let answered = without_panic(|| asked.resolve(server, &answers))?;
        send(context, answered, &entries)
    }

    /// Sends the replies, which are refusals for the copies that wait for the store, and returns the empty batch.
    pub(super) fn fail(
        self,
        context: &mut Context,
        server: &Server,
        error: StoreError,
    ) -> Checked<Batch<Sender>> {
        let Self { asked, entries } = self;
        let error = match error {
            StoreError::Unknown if context.has(Sabotage::TakesUnknownForRefused) => StoreError::Unavailable,
            StoreError::Unknown if context.config.marks => StoreError::Unsettled,
            error => error,
        };
        context.checker.settles(&entries, asked.calls(), &vec![Err(error); asked.calls().len()]);
        let answered = without_panic(|| asked.fail(server, error))?;
        send(context, answered, &entries)
    }
}

/// Calls the core, which panics in a debug build where a release build counts an internal error.
fn without_panic<T>(call: impl FnOnce() -> T) -> Checked<T> {
    // After a panic the run ends: no half-done state is used again.
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|_| Invariant::NoInternalErrors.broken("the core panics while it answers a batch"))
}

fn send(context: &mut Context, answered: Answered<Sender>, entries: &[BatchEntry]) -> Checked<Batch<Sender>> {
    // Errors in the parts of a batch show when these parts are read.
    let (replies, usage) = without_panic(|| {
        answered.counted().for_each(drop);
        (answered.replies().count(), answered.usage().count())
    })?;
    let errors = answered.internal_errors();
    Invariant::NoInternalErrors.holds(errors == 0, || format!("a batch has {errors} internal errors"))?;
    let copies = entries.len();
    Invariant::AnsweredOnce.holds(replies == copies && usage == copies, || {
        format!("{replies} replies and {usage} lines of usage were made for {copies} requests")
    })?;
    let mut previous = None;
    for ((peer, bytes), BatchEntry { copy, .. }) in answered.replies().zip(entries) {
        let (mut peer, mut bytes) = (peer.address, bytes.to_vec());
        if context.has(Sabotage::PadsReplies) {
            bytes.extend([b'\n'; 600]);
        }
        if let (true, Some(previous)) = (context.has(Sabotage::MixesPeers), previous.replace(peer)) {
            peer = previous;
        }
        context.reply(*copy, peer, &bytes)?;
        if context.has(Sabotage::AnswersTwice) {
            context.reply(*copy, peer, &bytes)?;
        }
    }
    Ok(answered.clear())
}
