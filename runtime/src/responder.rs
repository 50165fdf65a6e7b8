//! What a thread does with a batch: it has the calls executed, sends the replies and logs the requests.

use std::fmt;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyzord_core::{Answered, Asked, Now, Policy, Store, StoreAnswer, StoreCall, StoreError};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::datagrams::{Outbox, Path};
use crate::guard::SharedServer;
use crate::metrics::Shard;
use crate::reloadable::Reloadable;

/// Called for each answered batch, after its replies were sent.
pub(crate) type OnAnswered<'a> = &'a (dyn Fn(&Answered<Path>) + Sync);

/// What a thread needs to judge and answer requests. Each thread has its own.
pub(crate) struct Responder<'a> {
    pub(crate) socket: &'a UdpSocket,
    pub(crate) server: SharedServer,
    pub(crate) policy: &'a Reloadable<Policy>,
    pub(crate) counters: &'a Counters,
    pub(crate) on_answered: OnAnswered<'a>,
    pub(crate) clock: Clock,
    /// Where the thread keeps its metrics, if they are kept.
    pub(crate) shard: Option<&'a Shard>,
    pub(crate) outbox: Outbox,
}

impl Responder<'_> {
    /// Takes the current policy for the requests to come.
    pub(crate) fn refresh_policy(&mut self) {
        if !self.policy.is_current(self.server.policy()) {
            self.server.replace_policy(self.policy.snapshot());
        }
    }

    /// Has the store execute the calls of a batch, and makes the replies.
    ///
    /// A panic of the store fails the batch: its clients get 500. What it asked for may have been counted, so that no copy
    /// of a signed count is.
    pub(crate) fn execute(
        &self,
        store: &mut impl Store,
        now: Now,
        asked: Asked<Path>,
        answers: &mut Vec<StoreAnswer>,
    ) -> Answered<Path> {
        answers.clear();
        let executed = catch_unwind(AssertUnwindSafe(|| self.ask(store, now, asked.calls(), answers)));
        if executed.is_ok() {
            return asked.resolve(&self.server, answers);
        }
        self.counters.internal_errors(1);
        log::error!(
            "the database engine has failed with an internal error; {} requests get 500",
            asked.waiting()
        );
        asked.fail(&self.server, StoreError::Unknown)
    }

    fn ask(&self, store: &mut impl Store, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if calls.is_empty() {
            return;
        }
        let Some(shard) = self.shard else { return store.execute(now, calls, answers) };
        let began = self.clock.tick();
        store.execute(now, calls, answers);
        shard.executed(self.clock.tick().since(began), answers);
    }

    /// Sends the replies, then logs the requests.
    pub(crate) fn send(&mut self, answered: &Answered<Path>) {
        let replies = answered.replies().map(|(path, reply)| (*path, reply));
        self.counters.sent(self.outbox.send(self.socket, replies));
        if let Some(shard) = self.shard {
            shard.answered(answered, self.clock.tick());
        }
        (self.on_answered)(answered);
        if answered.internal_errors() > 0 {
            self.counters.internal_errors(answered.internal_errors());
            log::error!(
                "{} replies or log lines are wrong after an internal error",
                answered.internal_errors()
            );
        }
    }

    /// Counts and logs a batch whose requests are not answered because of a panic.
    pub(crate) fn batch_lost(&self) {
        self.counters.internal_errors(1);
        log::error!("a batch of requests was dropped after an internal error");
    }
}

impl fmt::Debug for Responder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("socket", self.socket).finish_non_exhaustive()
    }
}
