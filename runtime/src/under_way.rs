//! Which reads may go beside the counts that other threads execute.
//!
//! With [split stores](crate::Stores::Split) a worker reads from a store of its own and hands counts over. A read that
//! shares a digest with a count that was handed over and is not done would pass it, so it is handed over, too, and the
//! [queue](crate::Queue) keeps their order. Workers look for such counts in a table without a lock: while there are none,
//! a look is one load.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pyzord_core::{Batch, Digest, StoreCall, StoreOp};
use siphasher::sip::SipHasher13;

/// Counters of digests: some thirty for each count that a queue of three stores has room for, so that few reads of other
/// digests share one.
const PLACES: usize = 1 << 16;

/// The counts that were handed over and are not yet done.
///
/// A queue [adds](crate::Queue::beside_readers) and removes them, under its lock. Clients choose digests, so that the hash
/// has a secret; equal hashes of different digests cost a wait and nothing else.
#[derive(Debug)]
pub struct CountsUnderWay {
    hasher: SipHasher13,
    total: AtomicU32,
    /// By hash: some digests share a counter.
    counts: Box<[AtomicU32]>,
}

/// Tells the requests of one worker that it executes itself from those that it hands over.
#[derive(Debug)]
pub struct Splitter {
    under_way: Arc<CountsUnderWay>,
    /// The hash of each call, and those of the counts among them; kept for their memory.
    hashes: Vec<u64>,
    counted: Vec<u64>,
    /// Whether each call is for another thread.
    goes: Vec<bool>,
}

/// Where the requests of a batch that wait for the store are executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "requests that are not handed over are never answered"]
pub enum Execution {
    /// The worker executes all that is in the batch.
    Here,
    /// The batch is for another thread.
    Elsewhere,
    /// What has moved is for another thread, and the worker executes what is left.
    Both,
}

impl Default for CountsUnderWay {
    fn default() -> Self {
        Self::new()
    }
}

impl CountsUnderWay {
    /// Returns an empty table with a random secret.
    #[must_use]
    pub fn new() -> Self {
        let random = RandomState::new();
        let mut secret = [0; 16];
        let (low, high) = secret.split_at_mut(8);
        low.copy_from_slice(&random.hash_one(0).to_ne_bytes());
        high.copy_from_slice(&random.hash_one(1).to_ne_bytes());
        Self::with_secret(secret)
    }

    /// Returns an empty table with this secret, for a run that can be repeated.
    #[must_use]
    pub fn with_secret(secret: [u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(&secret),
            total: AtomicU32::new(0),
            counts: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Whether no count is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total.load(Ordering::Acquire) == 0
    }

    /// Adds those of `calls` that count. Only one thread at a time adds or removes.
    pub(crate) fn begin(&self, calls: &[StoreCall]) {
        for call in calls.iter().filter(|call| counts(call)) {
            // The total comes last: a reader that sees it sees the count, too.
            for count in self.count(self.hash(&call.digest)).into_iter().chain([&self.total]) {
                count.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Removes a count that was added: it was executed, or never will be.
    pub(crate) fn end(&self, digest: &Digest) {
        for count in self.count(self.hash(digest)).into_iter().chain([&self.total]) {
            let before = count.fetch_sub(1, Ordering::Release);
            debug_assert!(before > 0, "a count of {digest} ends that has not begun");
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        self.count(hash).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    fn hash(&self, digest: &Digest) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(digest.as_bytes());
        hasher.finish()
    }

    #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is a hash")]
    fn count(&self, hash: u64) -> Option<&AtomicU32> {
        self.counts.get(hash as usize % PLACES)
    }
}

impl Splitter {
    /// Returns the splitter of a worker.
    #[must_use]
    pub const fn new(under_way: Arc<CountsUnderWay>) -> Self {
        Self { under_way, hashes: Vec::new(), counted: Vec::new(), goes: Vec::new() }
    }

    /// Tells where the requests of a batch are executed. If not all of them have the same place, those for another thread
    /// are moved behind the requests of `handed`, in their order.
    ///
    /// These are the counts, and the reads that share a digest with one: with a count of this batch, or with one that is
    /// under way.
    pub fn split<P>(&mut self, batch: &mut Batch<P>, handed: &mut Batch<P>) -> Execution {
        let Self { under_way, hashes, counted, goes } = self;
        let calls = batch.calls();
        let counting = calls.iter().filter(|call| counts(call)).count();
        if counting == 0 && under_way.is_empty() {
            return Execution::Here;
        }
        if counting == calls.len() {
            return Execution::Elsewhere;
        }
        hashes.clear();
        hashes.extend(calls.iter().map(|call| under_way.hash(&call.digest)));
        counted.clear();
        counted.extend(calls.iter().zip(&*hashes).filter(|(call, _)| counts(call)).map(|(_, hash)| *hash));
        goes.clear();
        goes.extend(
            calls
                .iter()
                .zip(&*hashes)
                .map(|(call, hash)| counts(call) || counted.contains(hash) || under_way.may_have(*hash)),
        );
        match goes.iter().filter(|goes| **goes).count() {
            0 => return Execution::Here,
            all if all == goes.len() => return Execution::Elsewhere,
            _ => (),
        }
        let mut rest = goes.as_slice();
        batch.part(handed, |calls| {
            let (own, others) = rest.split_at_checked(calls.len()).unwrap_or((rest, &[]));
            rest = others;
            own.contains(&true)
        });
        Execution::Both
    }
}

fn counts(call: &StoreCall) -> bool {
    call.op != StoreOp::Read
}
