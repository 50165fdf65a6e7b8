//! What a thread does with a batch: it has the calls executed, sends the replies and logs the requests.

use std::fmt;
use std::mem;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{Answered, Asked, Batch, Ignored, Now, Store, StoreAnswer, StoreCall, StoreError};

use crate::backlog::Large;
use crate::clock::Clock;
use crate::counters::{BatchCounts, Counters};
use crate::datagrams::{Outbox, Path};
use crate::guard::SharedServer;
use crate::metrics::Shard;
use crate::reloadable::Reloadable;
use crate::worker_sockets::Senders;

/// How long a client waits for a reply. A request that has waited longer is sent again, so it is not executed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Called for each answered batch, after its replies were sent.
pub(crate) type OnAnswered<'a> = &'a (dyn Fn(&Answered<Path>) + Sync);

/// What a thread needs to judge and answer requests. Each thread has its own.
pub(crate) struct Responder<'a> {
    pub(crate) senders: Senders<'a>,
    pub(crate) server: Arc<SharedServer>,
    /// Where a reload puts another one.
    pub(crate) current: &'a Reloadable<SharedServer>,
    pub(crate) counters: &'a Counters,
    pub(crate) on_answered: OnAnswered<'a>,
    pub(crate) clock: Clock,
    /// Where the thread keeps its metrics, if they are kept.
    pub(crate) shard: Option<&'a Shard>,
    pub(crate) outbox: Outbox,
    /// The most calls that the store gets at once: others may use it between them.
    pub(crate) slice: NonZeroUsize,
}

impl Responder<'_> {
    /// Takes the current policy and limits for the requests to come.
    pub(crate) fn refresh(&mut self) {
        if !self.current.is_current(&self.server) {
            self.server = self.current.snapshot();
        }
    }

    /// Has the store execute calls. Returns whether it has given its answers. If the answers wait for
    /// more than the commit, calls `committed` after it: from then on, other threads read the new counts.
    ///
    /// A panic of the store fails the batch: its clients get 500. What it asked for may have been counted, so that no copy
    /// of a signed count is.
    #[must_use = "without answers the requests have failed"]
    pub(crate) fn execute(
        &self,
        store: &mut impl Store,
        now: Now,
        calls: &[StoreCall],
        answers: &mut Vec<StoreAnswer>,
        committed: impl FnOnce(),
    ) -> bool {
        answers.clear();
        let executed = catch_unwind(AssertUnwindSafe(|| self.ask(store, now, calls, answers, committed)));
        if executed.is_err() {
            answers.clear();
            self.counters.internal_errors(1);
            log::error!(
                "the database engine has failed with an internal error; the requests of {} calls get 500",
                calls.len()
            );
        }
        executed.is_ok()
    }

    /// Makes the replies of a batch whose calls were executed, if they were.
    pub(crate) fn conclude(
        &self,
        asked: Asked<Path>,
        executed: bool,
        answers: &[StoreAnswer],
    ) -> Answered<Path> {
        if executed {
            asked.resolve(&self.server, answers)
        } else {
            asked.fail(&self.server, StoreError::Unknown)
        }
    }

    /// Refuses a batch that a stop leaves no time for, and counts its requests.
    pub(crate) fn give_up(&self, asked: Asked<Path>) -> Answered<Path> {
        self.counters.left_at_stop(asked.waiting() as u64);
        asked.fail(&self.server, StoreError::Unavailable)
    }

    fn ask(
        &self,
        store: &mut impl Store,
        now: Now,
        calls: &[StoreCall],
        answers: &mut Vec<StoreAnswer>,
        committed: impl FnOnce(),
    ) {
        if calls.is_empty() {
            return;
        }
        let began = self.shard.map(|_| self.clock.tick());
        let mut waits = false;
        calls.chunks(self.slice.get()).for_each(|slice| waits |= store.commit(now, slice, answers));
        if waits {
            committed();
            store.make_durable(now, calls, answers);
        }
        self.counters.outcomes().executed(calls, answers, || self.clock.tick());
        if let (Some(shard), Some(began)) = (self.shard, began) {
            shard.executed(self.clock.tick().since(began), calls, answers);
        }
    }

    /// Sends the replies, then logs the requests.
    pub(crate) fn send(&mut self, answered: &Answered<Path>) {
        let replies = || answered.replies().map(|(path, reply)| (*path, reply));
        self.senders.send(&mut self.outbox, replies, |sent| self.counters.sent(sent));
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

    /// Counts and logs a panic of the store outside of a batch.
    pub(crate) fn store_failed(&self) {
        self.counters.internal_errors(1);
        log::error!("the database engine has failed with an internal error while it connected");
    }

    /// Judges a large request, unless its client has given up. `None` if it is not answered. `batch` is empty, and lends its
    /// buffers.
    pub(crate) fn judge(&mut self, batch: &mut Batch<Path>, large: &Large<Path>) -> Option<Asked<Path>> {
        if self.clock.tick().since(large.received.tick) > LONGEST_WAIT {
            self.ignored(large.peer, Ignored::Overloaded);
            return None;
        }
        let mut judged = mem::take(batch);
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            self.refresh();
            judged.accept(&self.server, large.peer, &large.bytes, large.received)
        }));
        match accepted {
            Ok(Ok(())) => return Some(judged.ask()),
            Ok(Err(reason)) => {
                self.ignored(large.peer, reason);
                *batch = judged;
            }
            Err(_) => {
                self.batch_lost();
                judged.abandon(&self.server);
            }
        }
        None
    }

    /// Refuses requests for which the pool has no room, and counts them.
    pub(crate) fn refuse(&self, asked: Asked<Path>) -> Answered<Path> {
        self.shard.inspect(|shard| shard.overloaded(asked.waiting()));
        asked.fail(&self.server, StoreError::Unavailable)
    }

    /// Counts a datagram that is not answered, and logs the limits that were exceeded.
    fn ignored(&self, peer: Path, reason: Ignored) {
        let mut counts = BatchCounts::default();
        counts.ignored(reason);
        self.dropped(peer, reason);
        self.count(&counts);
    }

    /// Counts a datagram with its network, if it is dropped for a limit or a list.
    pub(crate) fn dropped(&self, peer: Path, reason: Ignored) {
        let by_rule =
            matches!(reason, Ignored::DeniedNetwork | Ignored::TooManyRequests | Ignored::TooManyFailures);
        if let Some(shard) = self.shard.filter(|_| by_rule) {
            shard.dropped(peer.peer.ip());
        }
    }

    /// Counts received datagrams, and logs the limits that they exceeded.
    pub(crate) fn count(&self, counts: &BatchCounts) {
        self.counters.add(counts);
        if counts.over_limit > 0 {
            self.server.guard().take_exceeded().iter().for_each(|limit| log::warn!("{limit}"));
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
        f.debug_struct("Responder").field("senders", &self.senders).finish_non_exhaustive()
    }
}
