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
    v4: Arc<[UdpSocket]>,
    v6: Arc<[UdpSocket]>,
    /// The server has several addresses: only a reply that names its local address leaves from the right one.
    names_local: bool,
    secret: RandomState,
}

impl Lanes {
    pub(crate) fn new(v4: Vec<UdpSocket>, v6: Vec<UdpSocket>, names_local: bool) -> Self {
        Self { v4: v4.into(), v6: v6.into(), names_local, secret: RandomState::new() }
    }

    /// Returns the spare socket for a reply, if there is one.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no portable socket sends only"))]
    pub(super) fn of(&self, path: &Path) -> Option<&UdpSocket> {
        if self.names_local && path.local.is_none() {
            return None;
        }
        let hash = self.secret.hash_one(path.peer.ip());
        let sockets = if path.peer.is_ipv4() { &self.v4 } else { &self.v6 };
        let lane = hash.checked_rem(sockets.len() as u64)?;
        sockets.get(usize::try_from(lane).ok()?)
    }
}
