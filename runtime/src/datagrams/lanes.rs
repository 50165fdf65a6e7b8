//! Spare sockets for replies, for when the send buffer of a worker's socket is full.

use std::hash::{BuildHasher as _, RandomState};
use std::net::UdpSocket;
use std::sync::Arc;

use super::path::Path;

/// Sockets that send only, on the port of the server.
///
/// The system charges a reply to its socket until it has left the machine. A client behind a slow link, or one whose
/// hardware address is not known, can so fill the buffer of a worker's socket. Then each reply leaves through the spare
/// socket that its client's address is assigned to: a slow client fills that one, too, and the clients of the others are
/// served. Which clients share one is a secret.
#[derive(Clone, Default, Debug)]
pub(crate) struct Lanes {
    sockets: Arc<[UdpSocket]>,
    /// The sockets are bound to a wildcard address: only a reply that names its local address leaves from the right one.
    wildcard: bool,
    secret: RandomState,
}

impl Lanes {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no portable socket sends only"))]
    pub(crate) fn new(sockets: Vec<UdpSocket>, wildcard: bool) -> Self {
        Self { sockets: sockets.into(), wildcard, secret: RandomState::new() }
    }

    /// Returns the spare socket for a reply, if there is one.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no portable socket sends only"))]
    pub(super) fn of(&self, path: &Path) -> Option<&UdpSocket> {
        if self.wildcard && path.local.is_none() {
            return None;
        }
        let hash = self.secret.hash_one(path.peer.ip());
        let lane = hash.checked_rem(self.sockets.len() as u64)?;
        self.sockets.get(usize::try_from(lane).ok()?)
    }
}
