//! What one worker does with the datagrams that have come in.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use pyzord_core::{Store, UnixTime};

use crate::counters::BatchCounts;
use crate::datagrams::{Arrival, ReceiveMode};
use crate::desk::{Desk, SplitStore, WorkerStore};
use crate::heartbeat::Heartbeat;
use crate::metrics::Running;
use crate::pool::Pool;
use crate::responder::Responder;
use crate::serving_store::ServingStore;
use crate::stop::Stop;
use crate::worker_sockets::{Place, Senders, WorkerSockets};

/// The pause after an error of the socket itself, which would come again at once.
const PAUSE: Duration = Duration::from_millis(10);
/// Batches that are answered after a stop: more than the receive buffer holds, so only a flood is cut off.
const LAST_BATCHES: usize = 4096;

/// A worker's sockets and store, on their way to the worker's thread.
#[derive(Debug)]
pub(crate) struct Backend<'a, S> {
    place: Place<'a>,
    store: WorkerStore<S>,
    /// Where large requests go.
    pool: &'a Pool,
    heartbeat: Heartbeat,
    /// The worker is one of those that the settings ask for.
    counts: bool,
}

impl<'a, S> Backend<'a, S> {
    pub(crate) fn local(place: Place<'a>, store: S, pool: &'a Pool, heartbeat: Heartbeat) -> Self {
        Self { place, store: WorkerStore::Local(ServingStore::new(store)), pool, heartbeat, counts: true }
    }

    pub(crate) fn remote(place: Place<'a>, pool: &'a Pool, heartbeat: Heartbeat) -> Self {
        Self { place, store: WorkerStore::Remote, pool, heartbeat, counts: true }
    }

    /// For a worker that reads from its store, and hands over what counts.
    pub(crate) fn split(place: Place<'a>, store: S, pool: &'a Pool, heartbeat: Heartbeat) -> Self {
        let store = match pool.splitter() {
            Some(splitter) => WorkerStore::Split(Box::new(SplitStore::new(store, splitter))),
            None => WorkerStore::Remote,
        };
        Self { place, store, pool, heartbeat, counts: true }
    }

    /// For a worker that serves the sockets of others that are stuck, and needs nothing of what they may be stuck in.
    pub(crate) fn standing_in(place: Place<'a>, pool: &'a Pool, asks_pool: bool) -> Self {
        let (heartbeat, _) = Heartbeat::new();
        let store = if asks_pool { WorkerStore::Remote } else { WorkerStore::Away };
        Self { place, store, pool, heartbeat, counts: false }
    }

    pub(crate) fn senders(&self) -> Senders<'a> {
        self.place.senders
    }
}

/// How long a client waits for its reply: a request that has waited longer in the receive buffer is dropped, as its client
/// is gone, and others wait behind it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the client of a datagram that was received at `at` is gone. Civil time may go back: then it is not.
fn is_stale(at: UnixTime, now: UnixTime) -> bool {
    now.before(PATIENCE) > at
}

/// What a receive has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Received {
    Nothing,
    /// Only empty datagrams that wake the worker for a stop.
    Wakes,
    /// Datagrams that may be requests.
    Requests,
}

/// Receives datagrams at its sockets and answers them.
pub(crate) struct Worker<'a, S> {
    sockets: WorkerSockets<'a>,
    desk: Desk<'a, S>,
    stop: &'a Stop,
    /// Counts this worker as running.
    _running: Option<Running<'a>>,
}

impl<S> fmt::Debug for Worker<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("responder", &self.desk.responder).finish_non_exhaustive()
    }
}

impl<'a, S: Store> Worker<'a, S> {
    pub(crate) fn new(responder: Responder<'a>, backend: Backend<'a, S>, stop: &'a Stop) -> Self {
        let Backend { place, store, pool, heartbeat, counts } = backend;
        let running = if counts { responder.counters.worker() } else { None };
        let desk = Desk::new(responder, store, pool, heartbeat);
        Self { sockets: WorkerSockets::new(&place), desk, stop, _running: running }
    }

    /// Answers what is in the receive buffer after a stop. What is left at the stop's deadline is counted alone.
    pub(crate) fn drain(&mut self) {
        for _ in 0..LAST_BATCHES {
            if self.stop.is_overdue(self.desk.responder.clock.tick()) {
                return self.discard();
            }
            if !self.serve(ReceiveMode::NonBlocking) {
                return;
            }
        }
    }

    /// Counts what is in the receive buffer.
    fn discard(&mut self) {
        let mut left = 0;
        for _ in 0..LAST_BATCHES {
            let count = |_, datagram: &[u8]| left += u64::from(!datagram.is_empty());
            if self.sockets.receive(ReceiveMode::NonBlocking, count).is_err() {
                break;
            }
        }
        self.desk.responder.counters.left_at_stop(left);
    }

    /// Receives, judges and answers one batch. Returns whether there was a datagram, be it one that only wakes.
    ///
    /// An error that a peer can provoke is counted and survived, and so is a panic.
    pub(crate) fn serve(&mut self, mode: ReceiveMode) -> bool {
        self.desk.heartbeat.wait();
        // A panic must not end a worker: the server would go on with fewer of them, unnoticed. It costs its batch, and
        // no half-done state is used again.
        let served = catch_unwind(AssertUnwindSafe(|| {
            let received = self.receive(mode);
            if received == Received::Requests {
                self.desk.answer();
            }
            received != Received::Nothing
        }));
        served.unwrap_or_else(|_| {
            self.desk.abandon();
            true
        })
    }

    fn receive(&mut self, mode: ReceiveMode) -> Received {
        let mut woken = false;
        let mut counts = BatchCounts::default();
        let Self { sockets, desk, stop, .. } = self;
        let (clock, shard) = (desk.responder.clock, desk.responder.shard);
        // The clock is read when the first datagram is there, and the policy is the one of that moment, not of the
        // moment at which the wait began.
        let mut moment = None;
        let each = |arrival: Arrival, datagram: &[u8]| {
            let path = arrival.path;
            if datagram.is_empty() && stop.has_begun() {
                // A stop sends empty datagrams to wake the workers. Others may wait behind it.
                woken = true;
                return;
            }
            counts.received += 1;
            let now = *moment.get_or_insert_with(|| {
                desk.heartbeat.work();
                desk.responder.refresh();
                desk.now = clock.now();
                desk.now
            });
            if let Some(shard) = shard {
                shard.heard(path.peer.ip());
            }
            if arrival.at.is_some_and(|at| is_stale(at, now.wall)) {
                counts.stale += 1;
                return;
            }
            desk.take(path, datagram, &mut counts);
        };
        let received = sockets.receive(mode, each);
        self.desk.responder.count(&counts);
        if let Some(shard) = shard.filter(|_| counts.received > 0) {
            shard.received(counts.received);
        }
        if let Err(error) = &received {
            self.survive(error);
        }
        match counts.received {
            0 if woken => Received::Wakes,
            0 => Received::Nothing,
            _ => Received::Requests,
        }
    }

    /// Handles an error of the receive. A time-out is none; after any other the server goes on.
    fn survive(&self, error: &io::Error) {
        let expected = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut, io::ErrorKind::Interrupted];
        if !expected.contains(&error.kind()) {
            self.desk.responder.counters.receive_error();
            log::debug!("receiving failed: {error}");
            thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_makes_no_request_old() {
        for (received, now, stale) in
            [(100, 100, false), (100, 105, false), (100, 106, true), (1000, 5, false)]
        {
            let time = UnixTime::from_seconds;
            assert_eq!(is_stale(time(received), time(now)), stale, "{received} {now}");
        }
    }
}
