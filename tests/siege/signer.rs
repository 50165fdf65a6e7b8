//! Signed requests.

use std::time::{SystemTime, UNIX_EPOCH};

use pyzord_core::{HashedKey, HeaderBlock};

/// An account, and the number of its last request.
pub(crate) struct Signer {
    user: &'static str,
    key: HashedKey,
    thread: u16,
}

impl Signer {
    pub(crate) fn new(user: &'static str, key: &str) -> Self {
        Self { user, key: HashedKey::new(user.as_bytes(), key.as_bytes()), thread: 1024 }
    }

    /// Returns a request with a new `Thread`, so that no two of them have one signature.
    pub(crate) fn request(&mut self, op: &str, digest: &str) -> Vec<u8> {
        self.thread = self.thread.checked_add(1).unwrap_or(1024);
        let (user, thread, time) = (self.user, self.thread, unix_time());
        let text = format!(
            "Op: {op}\nOp-Digest: {digest}\nThread: {thread}\nPV: 2.1\nUser: {user}\nTime: {time}\nSig: \n\n"
        );
        let signature = self.key.sign(HeaderBlock::new(text.as_bytes()), time);
        let signature = String::from_utf8(signature.to_vec()).unwrap();
        text.replace("Sig: ", &format!("Sig: {signature}")).into_bytes()
    }

    /// Returns the `Thread` of the last request.
    pub(crate) fn thread(&self) -> String {
        self.thread.to_string()
    }
}

#[expect(clippy::disallowed_methods, reason = "a client reads the clock of its machine")]
fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
