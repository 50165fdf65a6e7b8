//! A bounded queue of batches. Pure: the [`Pool`](crate::Pool) adds the lock and the waiting, a simulation needs
//! neither.

use std::collections::VecDeque;

use pyzord_core::Batch;

/// Batches for each store: one that it works on and some that wait, so that it has always work under load.
const BATCHES_PER_STORE: usize = 4;

/// Batches that wait are joined up to this many calls: what one statement of MySQL has room for.
const MOST_CALLS: usize = 128;

/// Batches on their way between those who receive and those who wait for a store. Their number is fixed.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Batch>,
    free: Vec<Batch>,
    closed: bool,
}

/// What there is to do for who has a store.
#[derive(Debug)]
#[must_use = "a batch that is dropped here is never answered"]
pub enum Next {
    /// This batch; [give it back](Queue::give_back) when it is answered.
    Batch(Batch),
    /// Nothing yet.
    Nothing,
    /// Nothing, and there never will be.
    End,
}

impl Queue {
    /// A queue for this many stores.
    #[must_use]
    pub fn new(stores: usize) -> Self {
        let free = (0..stores * BATCHES_PER_STORE).map(|_| Batch::new()).collect();
        Self { waiting: VecDeque::new(), free, closed: false }
    }

    /// Takes the requests of `batch` and leaves it empty. `false` when too many are in flight: it is as it was.
    ///
    /// Small batches that wait are joined: the busier a database is, the fewer trips it is asked for.
    #[must_use = "a batch that was not taken has to be answered"]
    pub fn submit(&mut self, batch: &mut Batch) -> bool {
        if let Some(last) = self.waiting.back_mut()
            && last.calls().len() + batch.calls().len() <= MOST_CALLS
        {
            last.append(batch);
            return true;
        }
        let Some(empty) = self.free.pop() else { return false };
        self.waiting.push_back(std::mem::replace(batch, empty));
        true
    }

    /// How many batches wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The batch that has waited longest.
    pub fn take(&mut self) -> Next {
        match self.waiting.pop_front() {
            Some(batch) => Next::Batch(batch),
            None if self.closed => Next::End,
            None => Next::Nothing,
        }
    }

    /// Takes back a batch that came from [`take`](Self::take), to be used again.
    pub fn give_back(&mut self, mut batch: Batch) {
        batch.clear();
        self.free.push(batch);
    }

    /// No more batches will come.
    pub fn close(&mut self) {
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{Policy, UnixTime};

    /// A batch of one request with this many calls.
    fn batch(calls: usize) -> Batch {
        let mut batch = Batch::new();
        let peer = "192.0.2.1:9".parse().unwrap();
        let digests = "Op-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\n".repeat(calls);
        let (policy, now) = (Policy::default(), UnixTime::from_seconds(1_700_000_000));
        batch.accept(&policy, peer, format!("Op: report\n{digests}PV: 2.1\n\n").as_bytes(), now).unwrap();
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
        queue.give_back(done);
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
        assert!(matches!(queue.take(), Next::Nothing));
    }

    #[test]
    fn a_closed_queue_ends_when_nothing_is_left() {
        let mut queue = Queue::new(1);
        assert!(matches!(queue.take(), Next::Nothing));
        assert!(queue.submit(&mut batch(1)));
        queue.close();
        assert!(matches!(queue.take(), Next::Batch(batch) if batch.len() == 1));
        assert!(matches!(queue.take(), Next::End));
    }
}
