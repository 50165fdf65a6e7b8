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

/// Counters of digests: some thirty for each count that a queue of three stores has room for. Each digest has two, so that
/// of a thousand reads of other digests less than five find both of theirs in use.
const PLACES: usize = 1 << 16;

/// The counts that were handed over and are not yet done.
///
/// A queue [adds](crate::Queue::beside_readers) and removes them, under its lock. Clients choose digests, so that the hash
/// has a secret; equal hashes of different digests cost a wait and nothing else.
#[derive(Debug)]
pub struct CountsUnderWay {
    hasher: SipHasher13,
    total: AtomicU32,
    /// By both halves of the hash: some digests share a counter.
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
        for call in calls.iter().filter(|call| is_count(call)) {
            // The total comes last: a reader that sees it sees the count, too.
            for count in self.counts(self.hash(&call.digest)).chain([&self.total]) {
                count.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Removes a count that was added: it was executed, or never will be.
    pub(crate) fn end(&self, digest: &Digest) {
        for count in self.counts(self.hash(digest)).chain([&self.total]) {
            let before = count.fetch_sub(1, Ordering::Release);
            debug_assert!(before > 0, "a count of {digest} ends that has not begun");
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        self.counts(hash).all(|count| count.load(Ordering::Acquire) > 0)
    }

    fn hash(&self, digest: &Digest) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(digest.as_bytes());
        hasher.finish()
    }

    #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is a hash")]
    fn counts(&self, hash: u64) -> impl Iterator<Item = &AtomicU32> {
        [hash, hash >> 32].into_iter().filter_map(|half| self.counts.get(half as usize % PLACES))
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
        let counting = calls.iter().filter(|call| is_count(call)).count();
        if counting == 0 && under_way.is_empty() {
            return Execution::Here;
        }
        if counting == calls.len() {
            return Execution::Elsewhere;
        }
        hashes.clear();
        hashes.extend(calls.iter().map(|call| under_way.hash(&call.digest)));
        counted.clear();
        counted.extend(calls.iter().zip(&*hashes).filter(|(call, _)| is_count(call)).map(|(_, hash)| *hash));
        goes.clear();
        goes.extend(
            calls
                .iter()
                .zip(&*hashes)
                .map(|(call, hash)| is_count(call) || counted.contains(hash) || under_way.may_have(*hash)),
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

fn is_count(call: &StoreCall) -> bool {
    call.op != StoreOp::Read
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use pyzord_core::{Guard, Limits, Now, Peer, Policy, Server, Tick, UnixTime};

    /// A request, by its number.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Id(usize);

    impl Peer for Id {
        fn network(&self) -> Option<std::net::IpAddr> {
            None
        }
    }

    /// A request: whether it counts, and its digests. No digests make a ping.
    type Request = (bool, Vec<u8>);

    fn batch(requests: &[Request]) -> Batch<Id> {
        let server: Server = Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]));
        let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
        let mut batch = Batch::new();
        for (index, (counts, digests)) in requests.iter().enumerate() {
            let op = if digests.is_empty() {
                "ping"
            } else if *counts {
                "report"
            } else {
                "check"
            };
            let lines: String = digests.iter().map(|digest| format!("Op-Digest: {digest:040x}\n")).collect();
            let request = format!("Op: {op}\n{lines}PV: 2.1\n\n");
            batch.accept(&server, Id(index), request.as_bytes(), now).unwrap();
        }
        batch
    }

    fn waiting(batch: Batch<Id>) -> Vec<usize> {
        batch.ask().asking().map(|(id, _)| id.0).collect()
    }

    fn under_way() -> Arc<CountsUnderWay> {
        Arc::new(CountsUnderWay::with_secret([7; 16]))
    }

    #[test]
    fn a_count_is_known_until_the_last_of_its_digest_ends() {
        let under_way = under_way();
        let calls = |op| [StoreCall::new(Digest::new([1; 20]), op)];
        under_way.begin(&calls(StoreOp::Read));
        assert!(under_way.is_empty(), "a read is no count");
        under_way.begin(&calls(StoreOp::Report));
        under_way.begin(&calls(StoreOp::Whitelist));
        let may_have = |byte| under_way.may_have(under_way.hash(&Digest::new([byte; 20])));
        for _ in 0..2 {
            assert!(!under_way.is_empty() && may_have(1) && !may_have(2));
            under_way.end(&Digest::new([1; 20]));
        }
        assert!(under_way.is_empty() && !may_have(1));
    }

    /// A flood of counts must not send most checks of other digests behind them.
    #[test]
    fn few_digests_share_a_place() {
        let under_way = CountsUnderWay::new();
        let digest = |number: u32| {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_ne_bytes());
            Digest::new(bytes)
        };
        (0..2000).for_each(|number| under_way.begin(&[StoreCall::new(digest(number), StoreOp::Report)]));
        let others = 10_000..20_000;
        let shared = others.filter(|number| under_way.may_have(under_way.hash(&digest(*number)))).count();
        assert!(shared < 100, "{shared} of 10000");
    }

    #[test]
    fn a_batch_of_one_kind_is_not_parted() {
        let under_way = under_way();
        let split = |requests: &[Request]| {
            let (mut batch, mut handed) = (batch(requests), Batch::new());
            let execution = Splitter::new(Arc::clone(&under_way)).split(&mut batch, &mut handed);
            assert!(handed.is_empty() && batch.len() == requests.len());
            execution
        };
        let (ping, check, report) = ((false, vec![]), (false, vec![1]), (true, vec![1, 2]));
        assert_eq!(split(&[ping.clone(), check.clone()]), Execution::Here);
        assert_eq!(split(&[ping.clone(), report.clone()]), Execution::Elsewhere);
        assert_eq!(split(&[check.clone(), report, ping]), Execution::Elsewhere, "they share a digest");
        under_way.begin(batch(&[(true, vec![2])]).calls());
        assert_eq!(split(std::slice::from_ref(&check)), Execution::Here);
        assert_eq!(split(&[(false, vec![2])]), Execution::Elsewhere);
    }

    proptest! {
        /// What goes is what counts, and what shares a digest with a count; all of it keeps its order.
        #[test]
        fn no_read_stays_that_shares_a_digest_with_a_count(
            requests in prop::collection::vec((any::<bool>(), prop::collection::vec(0..9_u8, 0..4)), 1..40),
            counted in prop::collection::vec(0..9_u8, 0..3),
        ) {
            // A check asks about its first digest.
            let asks = |(counts, digests): &Request| digests[..if *counts { digests.len() } else { digests.len().min(1) }].to_vec();
            let under_way = under_way();
            under_way.begin(batch(&[(true, counted.clone())]).calls());
            let (mut own, mut handed) = (batch(&requests), Batch::new());
            let execution = Splitter::new(under_way).split(&mut own, &mut handed);
            if execution == Execution::Elsewhere {
                std::mem::swap(&mut own, &mut handed);
            }
            let counts: Vec<u8> =
                requests.iter().filter(|(counts, _)| *counts).flat_map(&asks).chain(counted).collect();
            let goes = |request: &Request| {
                let asked = asks(request);
                !asked.is_empty() && (request.0 || asked.iter().any(|digest| counts.contains(digest)))
            };
            let indices = |filter: &dyn Fn(&Request) -> bool| -> Vec<usize> {
                (0..).zip(&requests).filter(|(_, request)| filter(request)).map(|(index, _)| index).collect()
            };
            let here = indices(&|request| !goes(request) && !request.1.is_empty());
            prop_assert_eq!(execution == Execution::Both, own.waiting() > 0 && handed.waiting() > 0);
            prop_assert_eq!(waiting(handed), indices(&goes));
            prop_assert_eq!(waiting(own), here);
        }
    }
}
