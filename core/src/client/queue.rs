//! Digests that wait to be sent, all for the same operation.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::protocol::digest::Digest;
use crate::protocol::operation::Operation;
use crate::time::Tick;

/// How many digests a request has at most: as many as Python's client gathers.
pub(super) const BATCH: usize = 10;
/// How many wait at most, as in Python's server. Each takes 20 bytes.
pub(super) const ROOM: usize = 10_000;
/// How long the first of a batch waits for others.
const PATIENCE: Duration = Duration::from_secs(1);

/// A queue that loses its oldest digests rather than grow: the newest say most about the mail of today.
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

    /// Adds a digest. `false` when the oldest one was dropped for it.
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

    /// When the next batch is to be sent: at once when it is whole.
    pub(super) fn due_at(&self) -> Option<Tick> {
        match self.waiting.len() {
            0 => None,
            BATCH.. => Some(Tick::default()),
            _ => Some(self.due_at),
        }
    }

    /// Takes a batch, whole or not.
    pub(super) fn take(&mut self, now: Tick) -> Vec<Digest> {
        let count = self.waiting.len().min(BATCH);
        self.due_at = now.after(PATIENCE);
        self.waiting.drain(..count).collect()
    }

    /// Those that are waiting need wait no longer.
    pub(super) fn hurry(&mut self) {
        self.due_at = Tick::default();
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
