//! A bounded queue of batches. Pure: the `Pool` adds the lock and the waiting; a simulation needs
//! neither.

use std::collections::VecDeque;

use pyzord_core::{Asked, Batch};

/// Batches for each store: one that it executes, and some that wait, so that it has work at all times under load.
const BATCHES_PER_STORE: usize = 4;

/// Waiting batches are joined up to this many calls: one statement of MySQL has room for as many.
const MOST_CALLS: usize = 128;

/// Batches on their way from workers to the threads of remote stores. Their number is fixed.
#[derive(Debug)]
pub struct Queue<P> {
    waiting: VecDeque<Asked<P>>,
    free: Vec<Batch<P>>,
    closed: bool,
}

/// Work for a thread that owns a store.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation for each batch")]
#[must_use = "a batch that is dropped here is never answered"]
pub enum Next<P> {
    /// A batch. When it is answered, [give it back](Queue::give_back).
    Batch(Asked<P>),
    /// No work yet.
    Empty,
    /// No work, now and later.
    Closed,
}

impl<P> Queue<P> {
    /// Returns a queue for this number of stores.
    #[must_use]
    pub fn new(stores: usize) -> Self {
        let free = (0..stores * BATCHES_PER_STORE).map(|_| Batch::new()).collect();
        Self { waiting: VecDeque::new(), free, closed: false }
    }

    /// Takes the requests of `batch` that wait for the store. `false` if too many batches are in flight: then `batch`
    /// is unchanged.
    ///
    /// Small batches that wait are joined: the busier a database is, the fewer trips it is asked for.
    #[must_use = "requests that were not taken have to be answered"]
    pub fn submit(&mut self, batch: &mut Batch<P>) -> bool {
        if let Some(last) = self.waiting.back_mut()
            && last.calls().len() + batch.calls().len() <= MOST_CALLS
        {
            last.join(batch);
            return true;
        }
        let Some(spare) = self.free.pop() else { return false };
        self.waiting.push_back(batch.split(spare));
        true
    }

    /// Returns the number of waiting batches.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the batch that has waited longest.
    pub fn take(&mut self) -> Next<P> {
        match self.waiting.pop_front() {
            Some(batch) => Next::Batch(batch),
            None if self.closed => Next::Closed,
            None => Next::Empty,
        }
    }

    /// Takes an empty batch back for each one that came from [`take`](Self::take).
    pub fn give_back(&mut self, batch: Batch<P>) {
        self.free.push(batch);
    }

    /// Returns whether no more batches come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closes the queue: no more batches come.
    pub fn close(&mut self) {
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{Guard, Limits, Now, Policy, Server, StoreError, Tick, UnixTime};

    fn server() -> Server {
        Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]))
    }

    /// A batch of one request with this many calls.
    fn batch(calls: usize) -> Batch<()> {
        let mut batch = Batch::new();
        let digests = "Op-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\n".repeat(calls);
        let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
        batch.accept(&server(), (), format!("Op: report\n{digests}PV: 2.1\n\n").as_bytes(), now).unwrap();
        assert_eq!((batch.len(), batch.calls().len()), (1, calls));
        batch
    }

    #[test]
    fn a_full_queue_refuses_until_a_batch_comes_back() {
        let mut queue = Queue::new(1);
        for _ in 0..BATCHES_PER_STORE {
            let mut batch = batch(MOST_CALLS);
            assert!(queue.submit(&mut batch) && batch.is_empty());
        }
        let mut refused = batch(1);
        assert!(!queue.submit(&mut refused) && refused.len() == 1);
        let Next::Batch(done) = queue.take() else { panic!("batches wait") };
        assert!(!queue.submit(&mut refused), "it is still in flight");
        queue.give_back(done.fail(&server(), StoreError::Unavailable).clear());
        assert!(queue.submit(&mut refused) && refused.is_empty());
    }

    #[test]
    fn batches_that_wait_are_joined_and_one_that_is_in_flight_is_left_alone() {
        let mut queue = Queue::new(1);
        assert!(queue.submit(&mut batch(1)));
        let Next::Batch(in_flight) = queue.take() else { panic!("a batch waits") };
        for calls in [1, MOST_CALLS - 1, 1] {
            assert!(queue.submit(&mut batch(calls)));
        }
        assert_eq!(in_flight.calls().len(), 1);
        for (requests, calls) in [(2, MOST_CALLS), (1, 1)] {
            let Next::Batch(batch) = queue.take() else { panic!("two batches wait") };
            assert_eq!((batch.len(), batch.calls().len()), (requests, calls));
        }
        assert!(matches!(queue.take(), Next::Empty));
    }

    #[test]
    fn a_closed_queue_ends_when_nothing_is_left() {
        let mut queue = Queue::new(1);
        assert!(matches!(queue.take(), Next::Empty));
        assert!(queue.submit(&mut batch(1)));
        queue.close();
        assert!(matches!(queue.take(), Next::Batch(batch) if batch.len() == 1));
        assert!(matches!(queue.take(), Next::Closed));
    }
}
