//! The datagrams of a run, and what their senders know of them.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pyzord_core::{Digest, HashedKey, HeaderBlock, Peer};

/// A datagram that arrives at the server. A repeated datagram is several copies.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) copy: u64,
    pub(crate) source: SocketAddr,
    pub(crate) payload: Arc<Payload>,
}

/// The sender of a copy, as the core passes it through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) copy: u64,
    pub(crate) address: SocketAddr,
}

impl Peer for Sender {
    fn network(&self) -> Option<IpAddr> {
        self.address.network()
    }

    fn is_answerable(&self) -> bool {
        self.address.is_answerable()
    }
}

/// The bytes of a datagram, and their meaning.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Request(RequestSpec),
    /// Bytes without `Op`.
    NoRequest,
    /// A ping with changed bytes: anything but a report or a whitelisting.
    Scrambled,
}

/// The content of a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestSpec {
    pub(crate) op: &'static str,
    pub(crate) digests: Vec<Digest>,
    /// Whether one more `Op-Digest` is not a digest.
    pub(crate) bad_digest: bool,
    pub(crate) version: Option<&'static str>,
    pub(crate) signer: Option<Signer>,
    pub(crate) thread: u64,
    /// Bytes of an unknown header.
    pub(crate) padding: usize,
}

/// The user, the key, the time and the kind of a signature.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) user: &'static str,
    pub(crate) key: String,
    pub(crate) time: i64,
    pub(crate) signature: SignatureKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SignatureKind {
    Valid,
    /// A header was changed after it was signed.
    Tampered,
    Missing,
}

impl RequestSpec {
    pub(crate) fn into_payload(self) -> Arc<Payload> {
        Arc::new(Payload { bytes: self.bytes(), content: Content::Request(self) })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("Op: {}\n", self.op);
        for digest in &self.digests {
            let _ = writeln!(text, "Op-Digest: {digest}");
        }
        if self.bad_digest {
            text.push_str("Op-Digest: no digest\n");
        }
        if self.padding > 0 {
            let _ = writeln!(text, "X-Padding: {}", "x".repeat(self.padding));
        }
        if let Some(version) = self.version {
            let _ = writeln!(text, "PV: {version}");
        }
        let _ = writeln!(text, "Thread: {}", self.thread);
        let Some(signer) = &self.signer else { return [text.as_bytes(), b"\n"].concat() };
        let _ = write!(text, "User: {}\nTime: {}\n", signer.user, signer.time);
        let key = HashedKey::new(signer.user.as_bytes(), signer.key.as_bytes());
        let signed = if signer.signature == SignatureKind::Tampered {
            text.replace("Op: ", "Op: x")
        } else {
            text.clone()
        };
        let signature = key.sign(HeaderBlock::new(signed.as_bytes()), signer.time);
        match signer.signature {
            SignatureKind::Missing => [text.as_bytes(), b"\n"].concat(),
            _ => [text.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat(),
        }
    }
}
