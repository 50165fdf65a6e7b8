//! Serves in place of threads that are stuck.
//!
//! A worker asks the gdbm file itself: no other way is as fast. But one read of a disk that fails takes seconds, and
//! datagrams wait in the worker's socket meanwhile. One thread looks ten times a second whether each worker gets on. It
//! answers the batch of a worker that does not, and the datagrams that come to its socket, until the worker returns:
//! pings as ever, and requests that need the gdbm file with 500. With other stores the threads of the pool execute them.
//!
//! A thread that counts with [split stores](crate::Stores::Split) may wait for a disk, too. Once its batch is answered,
//! requests of the same digests go on: what is counted later was not promised. If no such thread gets on, all that waits for
//! one gets 500.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use pyzord_core::{Batch, Store, StoreError, Tick};

use crate::context::WorkerContext;
use crate::datagrams::{Path, ReceiveMode};
use crate::heartbeat::{State, Vitals};
use crate::liveness::WatchedThread;
use crate::pool::Unserved;
use crate::responder::Responder;
use crate::worker::Worker;
use crate::worker_sockets::{Place, poll_fd};

/// The time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// A worker whose batch is seen this often is stuck: one more than the looks in the 0.4 s that a call waits for the gdbm
/// file. Looks are counted, not time: a machine that was stopped for a while has no stuck workers.
const LOOKS_AT_BATCH: u32 = 5;
/// A worker that is seen waiting this often is stuck: a receive ends after a second.
const LOOKS_AT_WAIT: u32 = 25;
/// The shortest time between two warnings.
const WARN_PERIOD: Duration = Duration::from_secs(60);
/// Refused batches and large requests before the next look: more than the pool has room for.
const MOST_REFUSED: usize = 1000;
/// Batches of one socket before the next one's turn.
const BATCHES: usize = 16;

/// Watches all workers, and stands in for those that are stuck.
pub(crate) struct StandIn<'c, S> {
    context: &'c WorkerContext<'c>,
    posts: Vec<Post<'c, S>>,
    /// The threads that count, if workers do not.
    writers: Vec<Watch>,
    /// Answers batches in the place of threads that are stuck.
    responder: Responder<'c>,
    /// Empty, for a request that is refused.
    batch: Batch<Path>,
    looked: Tick,
    /// When the log was last told of requests that were refused.
    warned: Option<Tick>,
}

/// A thread with a store.
struct Watch {
    thread: Arc<WatchedThread>,
    /// What was seen at the last look, and how often.
    beat: u64,
    looks: u32,
    /// It is stuck if it is seen waiting more often than this.
    most_waits: u32,
}

/// A worker and its sockets.
struct Post<'c, S> {
    watch: Watch,
    place: Place<'c>,
    /// Serves the sockets while their workers are stuck.
    substitute: Option<Worker<'c, S>>,
}

impl<'c, S: Store> StandIn<'c, S> {
    pub(crate) fn new(context: &'c WorkerContext<'c>, responder: Responder<'c>) -> Self {
        let post =
            |(thread, place)| Post { watch: Watch::new(thread, LOOKS_AT_WAIT), place, substitute: None };
        let posts = context.workers().map(post).collect();
        // Nothing ends the wait of a writer but work.
        let writer = |thread| Watch::new(thread, u32::MAX);
        let writers = context.liveness().writers().into_iter().map(writer).collect();
        Self {
            context,
            posts,
            writers,
            responder,
            batch: Batch::new(),
            looked: Tick::default(),
            warned: None,
        }
    }

    /// Watches until all workers have ended, and all threads that count.
    pub(crate) fn run(mut self) {
        while !self.context.have_workers_ended() {
            self.look_if_due();
            if self.serve() {
                continue;
            }
            thread::park_timeout(LOOK);
        }
        self.posts.clear();
        while !self.writers.is_empty() && !self.context.has_pool_ended() {
            self.look_if_due();
            thread::park_timeout(LOOK);
        }
    }

    fn look_if_due(&mut self) {
        let now = self.context.clock().tick();
        if self.looked == Tick::default() || now.since(self.looked) >= LOOK {
            self.look(now);
        }
    }

    fn look(&mut self, now: Tick) {
        self.looked = now;
        self.context.liveness().looked(now);
        self.responder.refresh();
        let stopping = self.context.is_stopping();
        let workers = self.posts.iter_mut().map(|post| ("worker", &mut post.watch));
        let writers = self.writers.iter_mut().map(|writer| ("writer", writer));
        let mut goes_on = false;
        for ((kind, watch), number) in workers.zip(1..).chain(writers.zip(1..)) {
            let refused = watch.look(self.context, now, stopping, &mut self.responder);
            goes_on |= refused > 0;
            if refused > 0 && self.warned.is_none_or(|warned| now.since(warned) >= WARN_PERIOD) {
                self.warned = Some(now);
                log::warn!(
                    "{kind} {number} waits for the database for too long; {refused} of its requests get 500, and may be \
                     counted all the same (logged at most once a minute)"
                );
            }
        }
        self.substitute();
        self.refuse_unserved(goes_on);
    }

    /// Refuses what waits for writers that are stuck. If others are not, this is what waits for other requests, at times for
    /// some that would soon have been executed, unless some of it just `goes_on`.
    fn refuse_unserved(&mut self, goes_on: bool) {
        let stuck = self.writers.iter().filter(|writer| writer.is_stuck()).count();
        let all = stuck == self.writers.len();
        if stuck == 0 || (goes_on && !all) {
            return;
        }
        for _ in 0..MOST_REFUSED {
            let Self { context, responder, batch, .. } = self;
            let asked = match context.take_unserved(all) {
                Some(Unserved::Judged(asked)) => asked,
                Some(Unserved::Large(large)) => match responder.judge(batch, &large) {
                    Some(asked) => asked,
                    None => continue,
                },
                None => break,
            };
            responder.shard.inspect(|shard| shard.unavailable(asked.calls().len()));
            let answered = asked.fail(&responder.server, StoreError::Unavailable);
            responder.send(&answered);
            *batch = answered.clear();
        }
    }

    /// Gives each socket whose workers are all stuck a substitute, and takes it from the others.
    fn substitute(&mut self) {
        let stuck: Vec<_> =
            self.posts.iter().map(|post| (post.place.clone(), post.watch.is_stuck())).collect();
        let any = stuck.iter().any(|(_, stuck)| *stuck);
        for (index, post) in self.posts.iter_mut().enumerate() {
            let mut same = stuck.iter().enumerate().filter(|(_, (place, _))| place.same(&post.place));
            // Workers that share sockets have one substitute, with the first of them.
            let needed = any
                && same.clone().all(|(_, (_, stuck))| *stuck)
                && same.next().is_some_and(|(first, _)| first == index);
            if !needed {
                post.substitute = None;
            } else if post.substitute.is_none() {
                post.substitute = Some(self.context.substitute(&post.place));
            }
        }
    }

    /// Answers what has come to the sockets without a worker; waits for the first datagram until the next look. `false`
    /// if there is no such socket.
    fn serve(&mut self) -> bool {
        let sockets = self.posts.iter().filter(|post| post.substitute.is_some());
        let mut polled: Vec<_> = sockets.flat_map(|post| post.place.iter().map(poll_fd)).collect();
        if polled.is_empty() {
            return false;
        }
        let ready = PollTimeout::try_from(LOOK).is_ok_and(|timeout| poll(&mut polled, timeout).is_ok());
        for substitute in self.posts.iter_mut().filter_map(|post| post.substitute.as_mut()) {
            let mut left = BATCHES;
            while left > 0 && substitute.serve(ReceiveMode::NonBlocking) {
                left -= 1;
            }
        }
        // A poll that fails at once must not make this loop run hot.
        ready
    }
}

impl Watch {
    fn new(thread: Arc<WatchedThread>, most_waits: u32) -> Self {
        let (beat, looks) = (thread.vitals.beat(), 0);
        Self { thread, beat, looks, most_waits }
    }

    fn is_stuck(&self) -> bool {
        self.thread.stuck_since().is_some()
    }

    /// Looks whether the thread gets on. Returns how many requests were refused because it does not.
    fn look(
        &mut self,
        context: &WorkerContext<'_>,
        now: Tick,
        stopping: bool,
        responder: &mut Responder<'_>,
    ) -> usize {
        let vitals = &self.thread.vitals;
        let beat = vitals.beat();
        let limit = match Vitals::state(beat) {
            // With the server.
            State::Ended if stopping => u32::MAX,
            State::Ended => 0,
            State::Working => LOOKS_AT_BATCH,
            State::Waiting => self.most_waits,
        };
        self.looks = if beat == self.beat { self.looks.saturating_add(1) } else { 1 };
        self.beat = beat;
        if self.looks <= limit {
            self.thread.set_stuck(None);
            return 0;
        }
        if !self.is_stuck() {
            self.thread.set_stuck(Some(now));
        }
        let mut refused = 0;
        vitals.give_up(beat, |asked| {
            refused = asked.waiting();
            let answered = asked.fail(&responder.server, StoreError::Unknown);
            // A client that has its reply may ask again at once, and that request must not wait for this batch.
            vitals.take_ticket().into_iter().for_each(|ticket| context.end(ticket));
            responder.send(&answered);
            answered
        });
        refused
    }
}
