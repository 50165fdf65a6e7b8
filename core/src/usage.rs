//! What the usage log says of a request.

use core::fmt;
use core::net::SocketAddr;

use crate::digest::Digest;
use crate::reply::Refusal;
use crate::time::Tick;

/// How much of a name that a peer made up is worth logging, in bytes.
const MAX_NAME: usize = 64;

/// One request, as the usage log tells it.
///
/// It is written as the Python server did: `user,address,operation,['digest', ...],200`, with `None` for no
/// digests, and `code: diag` for a refusal, to which ` (user,address,operation)` is added.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Usage<'a> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// When it was received, by the runtime's monotonic clock.
    pub received: Tick,
    /// `User`; unless the request succeeded, nobody knows whether it was.
    pub user: &'a [u8],
    /// `Op`, as it was sent.
    pub op: &'a [u8],
    /// The digests of a request that was accepted.
    pub digests: &'a [Digest],
    /// Why it was refused; `None` when it succeeded.
    pub refusal: Option<Refusal>,
}

impl fmt::Display for Usage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, op) = (Name(self.user), Name(self.op));
        // A socket for IPv6 that serves IPv4 too sees mapped addresses; the log shows the plain ones.
        let address = self.peer.ip().to_canonical();
        match self.refusal {
            Some(refusal) => write!(f, "{}: {} ({user},{address},{op})", refusal.code(), refusal.diag()),
            None => write!(f, "{user},{address},{op},{},200", Digests(self.digests)),
        }
    }
}

/// Text from a peer, made harmless: it cannot begin a line of its own in the log.
struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..MAX_NAME).unwrap_or(self.0);
        shown.escape_ascii().fmt(f)?;
        if shown.len() < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}

/// A list as Python prints it.
struct Digests<'a>(&'a [Digest]);

impl fmt::Display for Digests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else { return f.write_str("None") };
        write!(f, "['{first}'")?;
        rest.iter().try_for_each(|digest| write!(f, ", '{digest}'"))?;
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn lines_are_pythons() {
        let digest = Digest::parse(b"da39a3ee5e6b4b0d3255bfef95601890afd80709").unwrap();
        let usage = Usage {
            peer: "[::ffff:192.0.2.7]:5".parse().unwrap(),
            received: Tick::default(),
            user: b"anonymous",
            op: b"report",
            digests: &[digest, digest],
            refusal: None,
        };
        let line = "anonymous,192.0.2.7,report,['da39a3ee5e6b4b0d3255bfef95601890afd80709', \
                    'da39a3ee5e6b4b0d3255bfef95601890afd80709'],200";
        assert_eq!(usage.to_string(), line);
        let ping = Usage { op: b"ping", digests: &[], ..usage };
        assert_eq!(ping.to_string(), "anonymous,192.0.2.7,ping,None,200");
        let refused =
            Usage { user: b"e\nve\xff", op: &[b'x'; 99], refusal: Some(Refusal::Forbidden), ..usage };
        let line = [
            "403: Forbidden: User is not authorized to request the operation. (e\\nve\\xff,192.0.2.7,",
            &"x".repeat(64),
            "...)",
        ];
        assert_eq!(refused.to_string(), line.concat());
    }
}
