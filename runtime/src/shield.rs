//! The guard that all threads share.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyzord_core::{Digest, Guard, Limits, Memory, Notice, Reason, Seen, Tick};

/// One memory of earlier requests for all threads. It is locked only for those few requests of which something has to
/// be remembered: with the default limits, wrong signatures and signed counts.
#[derive(Debug)]
pub struct Shield {
    /// Whether anything is to be asked of a datagram's sender at all.
    judges_peers: bool,
    guard: Mutex<Guard>,
}

impl Shield {
    /// A shield that has seen nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // The standard library's own way to a random number.
        let random = || RandomState::new().hash_one(()).to_ne_bytes();
        let mut secret = [0; 16];
        secret.as_chunks_mut().0.iter_mut().for_each(|half| *half = random());
        Self { judges_peers: limits.judge_peers(), guard: Mutex::new(Guard::new(limits, secret)) }
    }

    /// What is to be logged of networks over their limits.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.lock().notices().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Guard> {
        // Nothing panics while it holds this lock, and if it did, the tables would still be whole.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for &Shield {
    fn admit(&mut self, peer: IpAddr, now: Tick) -> Result<(), Reason> {
        if self.judges_peers { self.lock().admit(peer, now) } else { Ok(()) }
    }

    fn answer_failure(&mut self, peer: IpAddr, now: Tick) -> Result<(), Reason> {
        self.lock().answer_failure(peer, now)
    }

    fn look(&mut self, signature: Digest, now: Tick) -> Seen {
        self.lock().look(signature, now)
    }

    fn settle(&mut self, signature: Digest, counted: bool) {
        self.lock().settle(signature, counted);
    }
}
