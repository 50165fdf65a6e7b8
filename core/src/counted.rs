//! What a server has counted, for other servers.

use core::net::IpAddr;

use crate::protocol::digest::Digest;
use crate::store::{StoreCall, StoreOp};

/// A digest that was counted once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Counted {
    /// The digest.
    pub digest: Digest,
    /// Whether it was whitelisted; otherwise it was reported.
    pub whitelisted: bool,
    /// The address of the client, if its transport has addresses.
    pub peer: Option<IpAddr>,
}

impl Counted {
    /// Returns a report of `digest`, or its whitelisting, by `peer`.
    #[must_use]
    pub fn new(digest: Digest, whitelisted: bool, peer: Option<IpAddr>) -> Self {
        Self { digest, whitelisted, peer: peer.map(|peer| peer.to_canonical()) }
    }

    /// Returns what a successful call has counted; `None` for a call that only reads.
    pub(crate) fn by(call: &StoreCall, peer: Option<IpAddr>) -> Option<Self> {
        match call.op {
            StoreOp::Read => None,
            StoreOp::Report => Some(Self::new(call.digest, false, peer)),
            StoreOp::Whitelist => Some(Self::new(call.digest, true, peer)),
        }
    }
}
