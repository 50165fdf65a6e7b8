//! An account, and the requests that it signs.

use std::time::{SystemTime, UNIX_EPOCH};

use pyzord_core::{HashedKey, HeaderBlock};

use crate::harness::{Home, digest};

/// The key of the account bob.
pub(crate) const BOBS_KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// A home directory with the account bob, which has all rights, as anonymous clients have.
pub(crate) fn home_of_bob() -> Home {
    let home = Home::new();
    home.write("pyzord.passwd", format!("bob : {BOBS_KEY}\n"));
    home.write("pyzord.access", "all : bob anonymous : allow\n");
    home
}

/// A signed request and what it counts.
pub(crate) struct Signed {
    pub(crate) datagram: Vec<u8>,
    pub(crate) signature: String,
    pub(crate) op: &'static str,
    pub(crate) digests: Vec<String>,
}

/// Signs a request of bob's at this time.
pub(crate) fn signed(op: &'static str, digests: &[u32], thread: u32, time: i64) -> Signed {
    let digests: Vec<String> = digests.iter().copied().map(digest).collect();
    let lines: String = digests.iter().map(|digest| format!("Op-Digest: {digest}\n")).collect();
    let headers = format!("Op: {op}\n{lines}Thread: {thread}\nPV: 2.1\nUser: bob\nTime: {time}\n");
    let signature =
        HashedKey::new(b"bob", BOBS_KEY.as_bytes()).sign(HeaderBlock::new(headers.as_bytes()), time);
    let datagram = [headers.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat();
    Signed { datagram, signature: String::from_utf8(signature.to_vec()).unwrap(), op, digests }
}

#[expect(clippy::disallowed_methods, reason = "signatures are valid for a time")]
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}
