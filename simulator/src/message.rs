//! What travels: datagrams, and what the one who made them knows of them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use pyzord_core::{Digest, HashedKey, HeaderBlock};

/// A datagram that arrives at the server. Repeated ones are several copies.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) copy: u64,
    pub(crate) source: SocketAddr,
    pub(crate) parcel: Arc<Parcel>,
}

/// Bytes, and what they are.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Request(Message),
    /// Has no `Op`.
    NoRequest,
    /// A ping with bytes that changed on the way: it may be anything but a count.
    Scrambled,
}

/// A request, as its sender means it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) op: &'static str,
    pub(crate) digests: Vec<Digest>,
    /// One more `Op-Digest` is no digest.
    pub(crate) bad_digest: bool,
    pub(crate) version: Option<&'static str>,
    pub(crate) signer: Option<Signer>,
    pub(crate) thread: u64,
    /// Bytes of a header that says nothing.
    pub(crate) padding: usize,
}

/// Who signed, with what and when.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) user: &'static str,
    pub(crate) key: String,
    pub(crate) time: i64,
    pub(crate) signature: Signature,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signature {
    Valid,
    /// A header was changed after it was signed.
    Tampered,
    Missing,
}

impl Message {
    pub(crate) fn into_parcel(self) -> Arc<Parcel> {
        Arc::new(Parcel { bytes: self.bytes(), content: Content::Request(self) })
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
        let signed = if signer.signature == Signature::Tampered {
            text.replace("Op: ", "Op: x")
        } else {
            text.clone()
        };
        let signature = key.sign(HeaderBlock::new(signed.as_bytes()), signer.time);
        match signer.signature {
            Signature::Missing => [text.as_bytes(), b"\n"].concat(),
            _ => [text.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat(),
        }
    }
}
