//! The marks of a client's requests.

use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::protocol::thread::Thread;

/// Makes the marks of requests: a sequence that only a reader of the requests can predict.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    hasher: SipHasher13,
    used: u64,
}

impl Marks {
    /// Returns a sequence. `secret` is 16 random bytes.
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(&secret), used: 0 }
    }

    /// Returns the next mark.
    pub(super) fn next(&mut self) -> Thread {
        self.used = self.used.wrapping_add(1);
        let mut hasher = self.hasher;
        hasher.write_u64(self.used);
        Thread::from_random(hasher.finish())
    }
}
