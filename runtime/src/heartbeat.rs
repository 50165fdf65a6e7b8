//! What a worker shows of itself, so that other threads can see whether it gets on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyzord_core::{Answered, Asked};

use crate::datagrams::Path;
use crate::order::Ticket;

/// A worker's side.
///
/// A turn of the worker's loop has two parts: it waits for datagrams, then it works on them. Each part has a number of
/// its own, and a worker that gets on changes its number all the time. So the worker reads no clock for this.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    beat: u64,
    shown: Arc<Vitals>,
}

/// The other side: what a worker shows.
#[derive(Default, Debug)]
pub(crate) struct Vitals {
    beat: Beat,
    at_store: Mutex<AtStore>,
    /// That of the batch at the store, if it has one.
    ticket: Mutex<Option<Ticket>>,
}

/// A counter in a cache line of its own: each worker writes one all the time.
#[derive(Default, Debug)]
#[repr(align(64))]
struct Beat(AtomicU64);

/// The batch whose calls a worker's store executes.
#[derive(Default, Debug)]
enum AtStore {
    /// There is none.
    #[default]
    Nothing,
    /// It was handed in at this beat.
    Asked(u64, Asked<Path>),
    /// It took too long, and its requests were answered without the store.
    GivenUp(Answered<Path>),
}

/// A batch that comes back from the store.
#[derive(Debug)]
#[must_use = "requests that are dropped here are never answered"]
pub(crate) enum Returned {
    Asked(Asked<Path>),
    GivenUp(Answered<Path>),
    /// It is just being answered without the store.
    Lost,
}

/// A worker's state at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Waiting,
    Working,
    Ended,
}

/// The worker has ended. It is never reached by counting.
const ENDED: u64 = u64::MAX;

impl Heartbeat {
    /// Returns the heartbeat of a worker, and what it shows.
    pub(crate) fn new() -> (Self, Arc<Vitals>) {
        let shown = Arc::new(Vitals::default());
        (Self { beat: 0, shown: Arc::clone(&shown) }, shown)
    }

    /// The worker waits for datagrams.
    pub(crate) fn wait(&mut self) {
        self.go_on((self.beat | 1) + 1);
    }

    /// The worker has received datagrams.
    pub(crate) fn work(&mut self) {
        self.go_on(self.beat | 1);
    }

    /// The worker has answered some of what it has received.
    pub(crate) fn work_on(&mut self) {
        self.go_on((self.beat | 1) + 2);
    }

    /// Shows a batch while the store executes its calls.
    pub(crate) fn hand_in(&self, asked: Asked<Path>) {
        *self.shown.at_store() = AtStore::Asked(self.beat, asked);
    }

    /// Takes the batch back.
    pub(crate) fn take_back(&self) -> Returned {
        match std::mem::take(&mut *self.shown.at_store()) {
            AtStore::Asked(_, asked) => Returned::Asked(asked),
            AtStore::GivenUp(answered) => Returned::GivenUp(answered),
            AtStore::Nothing => Returned::Lost,
        }
    }

    /// Shows the ticket of the batch that is handed in next.
    pub(crate) fn show_ticket(&self, ticket: Ticket) {
        *lock(&self.shown.ticket) = Some(ticket);
    }

    /// Takes the ticket back, if it is still there.
    pub(crate) fn take_ticket(&self) -> Option<Ticket> {
        self.shown.take_ticket()
    }

    fn go_on(&mut self, beat: u64) {
        self.beat = beat;
        self.shown.beat.0.store(beat, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shown.beat.0.store(ENDED, Ordering::Relaxed);
    }
}

impl Vitals {
    /// Returns the number that a worker that gets on changes all the time.
    pub(crate) fn beat(&self) -> u64 {
        self.beat.0.load(Ordering::Relaxed)
    }

    /// Returns the state of a worker at this beat.
    pub(crate) const fn state(beat: u64) -> State {
        match beat {
            ENDED => State::Ended,
            _ if beat % 2 == 1 => State::Working,
            _ => State::Waiting,
        }
    }

    /// Takes the batch that is at the store since this beat, if there is one, and has it answered without the store.
    /// The worker finds the answered batch when the store returns.
    pub(crate) fn give_up(&self, beat: u64, answer: impl FnOnce(Asked<Path>) -> Answered<Path>) {
        let mut at_store = self.at_store();
        match std::mem::take(&mut *at_store) {
            AtStore::Asked(since, asked) if since == beat => {
                // With the lock held: the worker waits for the moment that this takes, and finds the batch.
                *at_store = AtStore::GivenUp(answer(asked));
            }
            other => *at_store = other,
        }
    }

    /// Takes the ticket of a batch that was given up.
    pub(crate) fn take_ticket(&self) -> Option<Ticket> {
        lock(&self.ticket).take()
    }

    fn at_store(&self) -> MutexGuard<'_, AtStore> {
        lock(&self.at_store)
    }
}

/// Locks a slot. A panic with the lock held leaves the slot empty, which both sides handle.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use pyzord_core::{Batch, Guard, Limits, Now, Policy, Server, StoreError, Tick, UnixTime};

    fn server() -> Server {
        Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]))
    }

    fn asked() -> Asked<Path> {
        let mut batch = Batch::new();
        let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
        let path = Path { peer: SocketAddr::from(([192, 0, 2, 1], 9)), local: None };
        let check = b"Op: check\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nPV: 2.1\n\n";
        batch.accept(&server(), path, check, now).unwrap();
        batch.ask()
    }

    fn give_up(asked: Asked<Path>) -> Answered<Path> {
        asked.fail(&server(), StoreError::Unavailable)
    }

    #[test]
    fn each_part_of_a_turn_has_a_number_and_a_state_of_its_own() {
        let (mut heartbeat, shown) = Heartbeat::new();
        let mut last = shown.beat();
        assert_eq!(Vitals::state(last), State::Waiting, "it has not begun");
        for _ in 0..3 {
            // Nothing may come in a turn.
            for (part, state) in [
                (Heartbeat::wait as fn(&mut Heartbeat), State::Waiting),
                (Heartbeat::wait, State::Waiting),
                (Heartbeat::work, State::Working),
            ] {
                part(&mut heartbeat);
                assert!(shown.beat() != last && Vitals::state(shown.beat()) == state);
                last = shown.beat();
            }
        }
        drop(heartbeat);
        assert_eq!(Vitals::state(shown.beat()), State::Ended);
    }

    #[test]
    fn only_the_batch_that_was_seen_to_take_too_long_is_given_up() {
        let (mut heartbeat, shown) = Heartbeat::new();
        heartbeat.work();
        let seen = shown.beat();
        heartbeat.hand_in(asked());
        shown.give_up(seen, give_up);
        shown.give_up(seen, |_| panic!("it was given up before"));
        assert!(
            matches!(heartbeat.take_back(), Returned::GivenUp(answered) if answered.replies().count() == 1)
        );
        // The next one comes before the watching thread has looked again.
        heartbeat.wait();
        heartbeat.work();
        heartbeat.hand_in(asked());
        shown.give_up(seen, |_| panic!("it has just begun"));
        assert!(matches!(heartbeat.take_back(), Returned::Asked(asked) if asked.len() == 1));
    }
}
