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
/// `code: diag` for a refusal, with ` (user,address,operation)` added. The address of a peer without one is `local`.
///
/// The line has one reading. In the texts of a peer, a comma, a parenthesis, a bracket, a space at either end and all
/// bytes that are not printable ASCII are `\xHH` (a tab, carriage return and line feed are `\t`, `\r` and `\n`); a quote
/// and a backslash have a backslash in front. A text of more than 64 bytes is cut and followed by `...`. So the commas
/// outside the list of digests separate fields, and a line that ends with `)` ends with the three of a refusal.
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
    /// Whether it is a check, and its reply tells of at least one report.
    pub hit: bool,
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

/// A text from a peer as the usage log shows it, escaped and cut: it can neither begin a line nor a field of its own.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..MAX_NAME).unwrap_or(self.0);
        let last = shown.len().saturating_sub(1);
        for (at, byte) in shown.iter().enumerate() {
            let is_edge = at == 0 || at == last;
            match byte {
                b',' | b'(' | b')' | b'[' | b']' => write!(f, "\\x{byte:02x}")?,
                b' ' if is_edge => f.write_str("\\x20")?,
                _ => core::ascii::escape_default(*byte).fmt(f)?,
            }
        }
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
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use core::net::SocketAddr;
    use proptest::prelude::*;

    #[test]
    fn a_peer_without_an_address_is_local() {
        let usage = Usage {
            peer: &(),
            received: Tick::default(),
            user: b"bob",
            op: b"ping",
            digests: &[],
            refusal: None,
            hit: false,
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
            hit: false,
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

    /// `User: root,203.0.113.66` made a line whose second field was an address that the sender had chosen; a tool that
    /// bans addresses then banned that one.
    #[test]
    fn a_name_cannot_pass_for_other_fields() {
        let peer: SocketAddr = "192.0.2.7:5".parse().unwrap();
        let line = |user: &[u8], op: &[u8], refusal| {
            let received = Tick::default();
            Usage { peer: &peer, received, user, op, digests: &[], refusal, hit: false }.to_string()
        };
        assert_eq!(
            line(b"root,203.0.113.66", b"ping", None),
            "root\\x2c203.0.113.66,192.0.2.7,ping,None,200"
        );
        let forged = line(b"x) (root,203.0.113.66,ping)", b" ping,['a'] ", Some(Refusal::Forbidden));
        let expected = "403: Forbidden: User is not authorized to request the operation. \
                        (x\\x29 \\x28root\\x2c203.0.113.66\\x2cping\\x29,192.0.2.7,\\x20ping\\x2c\\x5b\\'a\\'\\x5d\\x20)";
        assert_eq!(forged, expected);
        let ordinary = "bob.o-neil+x@example.org: 50% #1 /a;b=c";
        assert_eq!(line(ordinary.as_bytes(), b"ping", None), [ordinary, ",192.0.2.7,ping,None,200"].concat());
    }

    /// A name as the log shows it, read by the rule of the documentation.
    fn unescape(shown: &str) -> Vec<u8> {
        let (mut name, mut rest) = (Vec::new(), shown.chars());
        while let Some(c) = rest.next() {
            if c != '\\' {
                name.push(u8::try_from(c).unwrap());
                continue;
            }
            name.push(match rest.next().unwrap() {
                'x' => u8::from_str_radix(&rest.by_ref().take(2).collect::<String>(), 16).unwrap(),
                't' => b'\t',
                'r' => b'\r',
                'n' => b'\n',
                quoted => u8::try_from(quoted).unwrap(),
            });
        }
        name
    }

    /// Splits a line by the rule of the documentation: user, address and operation.
    fn fields(line: &str) -> [&str; 3] {
        match line.strip_suffix(')') {
            Some(refused) => {
                refused.split_once(" (").unwrap().1.split(',').collect::<Vec<_>>().try_into().unwrap()
            }
            None => line.split(',').take(3).collect::<Vec<_>>().try_into().unwrap(),
        }
    }

    /// Texts in which what the line is made of is frequent.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), prop::sample::select(b",()[]'\"\\ \n\r\tNone200.x".to_vec()),];
        prop::collection::vec(byte, 0..80)
    }

    proptest! {
        #[test]
        fn a_line_has_one_reading(
            user in name(), op in name(), address: core::net::IpAddr, digests in 0_usize..3, refused: bool,
        ) {
            let (peer, digests) = (SocketAddr::new(address, 1), &[Digest::new([7; 20]); 2][..digests.min(2)]);
            let refusal = refused.then_some(Refusal::Version);
            let received = Tick::default();
            let usage = Usage { peer: &peer, received, user: &user, op: &op, digests, refusal, hit: false };
            let line = usage.to_string();
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", line);
            let [shown_user, shown_address, shown_op] = fields(&line);
            prop_assert_eq!(shown_address, address.to_canonical().to_string());
            for (shown, name) in [(shown_user, &user), (shown_op, &op)] {
                prop_assert!(!shown.starts_with(' ') && !shown.ends_with(' '), "{}", line);
                let read = unescape(shown);
                if name.len() > MAX_NAME {
                    prop_assert_eq!(read, [&name[..MAX_NAME], b"..."].concat());
                } else {
                    prop_assert_eq!(&read, name);
                }
            }
        }
    }
}
