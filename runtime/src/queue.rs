//! A bounded queue of batches. Pure: the [`Pool`](crate::Pool) adds the lock and the waiting, a simulation needs
//! neither.

use std::collections::VecDeque;

use pyzord_core::Batch;

/// Batches for each store: one that it works on and some that wait, so that it has always work under load.
const BATCHES_PER_STORE: usize = 4;

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
    #[must_use = "a batch that was not taken has to be answered"]
    pub fn submit(&mut self, batch: &mut Batch) -> bool {
        let Some(empty) = self.free.pop() else { return false };
        self.waiting.push_back(std::mem::replace(batch, empty));
        true
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

    fn batch() -> Batch {
        let mut batch = Batch::new();
        let peer = "192.0.2.1:9".parse().unwrap();
        let now = UnixTime::from_seconds(1_700_000_000);
        batch.accept(&Policy::default(), peer, b"Op: ping\nPV: 2.1\n\n", now).unwrap();
        batch
    }

    #[test]
    fn a_full_queue_refuses_until_a_batch_comes_back() {
        let mut queue = Queue::new(1);
        for _ in 0..BATCHES_PER_STORE {
            let mut batch = batch();
            assert!(queue.submit(&mut batch) && batch.is_empty());
        }
        let mut refused = batch();
        assert!(!queue.submit(&mut refused) && refused.len() == 1);
        let Next::Batch(done) = queue.take() else { panic!("batches wait") };
        assert!(!queue.submit(&mut refused), "it is still in flight");
        queue.give_back(done);
        assert!(queue.submit(&mut refused) && refused.is_empty());
    }

    #[test]
    fn a_closed_queue_ends_when_nothing_is_left() {
        let mut queue = Queue::new(1);
        assert!(matches!(queue.take(), Next::Nothing));
        assert!(queue.submit(&mut batch()));
        queue.close();
        assert!(matches!(queue.take(), Next::Batch(batch) if batch.len() == 1));
        assert!(matches!(queue.take(), Next::End));
    }
}
