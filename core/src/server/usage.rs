//! What the usage log says of a request.

use core::fmt;

use crate::protocol::digest::Digest;
use crate::protocol::refusal::Refusal;
use crate::server::peer::Peer;
use crate::time::Tick;

/// The longest name of a peer that is logged, in bytes.
const MAX_NAME: usize = 64;

/// One request, as the usage log has it.
///
/// The line is the Python server's: `user,address,operation,['digest', ...],200`, with `None` for no digests, and
/// `code: diag` for a refusal, with ` (user,address,operation)` added. It is one line: the texts of a peer are escaped and
/// cut. The address of a peer without one is `local`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Usage<'a, P> {
    /// The peer that sent the request.
    pub peer: &'a P,
    /// When it was received, by the monotonic clock.
    pub received: Tick,
    /// `User`. Only the success of a request proves it.
    pub user: &'a [u8],
    /// `Op`, as the peer sent it.
    pub op: &'a [u8],
    /// The digests of an accepted request.
    pub digests: &'a [Digest],
    /// Why the request was refused; `None` for success.
    pub refusal: Option<Refusal>,
}

impl<P: Peer> fmt::Display for Usage<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refusal) = self.refusal {
            write!(f, "{}: {} (", refusal.code(), refusal.diag())?;
        }
        write!(f, "{},", Escaped(self.user))?;
        match self.peer.network() {
            // An IPv6 socket that serves IPv4 too has mapped addresses; the log shows the plain ones.
            Some(address) => write!(f, "{}", address.to_canonical())?,
            None => f.write_str("local")?,
        }
        write!(f, ",{}", Escaped(self.op))?;
        if self.refusal.is_some() { f.write_str(")") } else { write!(f, ",{},200", Digests(self.digests)) }
    }
}

/// A text from a peer, escaped and cut: it cannot begin a line of its own in the log.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..MAX_NAME).unwrap_or(self.0);
        shown.escape_ascii().fmt(f)?;
        if shown.len() < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}

/// A list of digests, as Python prints it.
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
    use core::net::SocketAddr;

    #[test]
    fn a_peer_without_an_address_is_local() {
        let usage = Usage {
            peer: &(),
            received: Tick::default(),
            user: b"bob",
            op: b"ping",
            digests: &[],
            refusal: None,
        };
        assert_eq!(usage.to_string(), "bob,local,ping,None,200");
    }

    #[test]
    fn lines_are_pythons() {
        let digest = Digest::parse(b"da39a3ee5e6b4b0d3255bfef95601890afd80709").unwrap();
        let peer: SocketAddr = "[::ffff:192.0.2.7]:5".parse().unwrap();
        let usage = Usage {
            peer: &peer,
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
