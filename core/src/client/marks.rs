//! The marks of a client's requests.

use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::protocol::origin::Origin;
use crate::protocol::thread::Thread;

/// Makes the marks of requests: a sequence that only a reader of the requests can predict.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    hasher: SipHasher13,
    used: u64,
    origin: Origin,
}

impl Marks {
    /// Returns a sequence. `secret` is 16 random bytes.
    pub(super) fn new(secret: [u8; 16]) -> Self {
        let hasher = SipHasher13::new_with_key(&secret);
        // No mark hashes 0: the counter is raised before.
        Self { hasher, used: 0, origin: Origin::from_random(hash(hasher, 0)) }
    }

    /// Returns what tells that a request comes from here.
    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the next mark.
    pub(super) fn next(&mut self) -> Thread {
        self.used = self.used.wrapping_add(1);
        Thread::from_random(hash(self.hasher, self.used))
    }
}

fn hash(mut hasher: SipHasher13, number: u64) -> u64 {
    hasher.write_u64(number);
    hasher.finish()
}
