//! Digests that wait to be sent, for one operation.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::protocol::digest::Digest;
use crate::protocol::operation::Operation;
use crate::time::Tick;

/// The most digests of a request: as many as the Python client gathers.
pub(super) const BATCH: usize = 10;
/// The most digests that wait, 20 bytes each: as many as in the Python server.
pub(super) const ROOM: usize = 10_000;
/// The time that the first digest of a request waits for others.
const PATIENCE: Duration = Duration::from_secs(1);

/// A queue that drops its oldest digests when it is full: the newest say most about the mail of today.
#[derive(Clone, Debug)]
pub(super) struct SendQueue {
    pub(super) operation: Operation,
    waiting: VecDeque<Digest>,
    due_at: Tick,
}

impl SendQueue {
    pub(super) const fn new(operation: Operation) -> Self {
        Self { operation, waiting: VecDeque::new(), due_at: Tick::new(Duration::ZERO) }
    }

    /// Adds a digest. Returns `false` if the oldest one was dropped for it.
    pub(super) fn push(&mut self, digest: Digest, now: Tick) -> bool {
        if self.waiting.is_empty() {
            self.due_at = now.after(PATIENCE);
        }
        let full = self.waiting.len() >= ROOM;
        if full {
            self.waiting.pop_front();
        }
        self.waiting.push_back(digest);
        !full
    }

    /// Returns when the next request is due: at once if it is full.
    pub(super) fn due_at(&self) -> Option<Tick> {
        match self.waiting.len() {
            0 => None,
            BATCH.. => Some(Tick::default()),
            _ => Some(self.due_at),
        }
    }

    /// Takes the digests of one request.
    pub(super) fn take(&mut self, now: Tick) -> Vec<Digest> {
        let count = self.waiting.len().min(BATCH);
        self.due_at = now.after(PATIENCE);
        self.waiting.drain(..count).collect()
    }

    /// Makes the next request due at once.
    pub(super) fn hurry(&mut self) {
        self.due_at = Tick::default();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Digest> {
        self.waiting.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
