//! Replies, parsed.

use crate::protocol::header::{Header, HeaderBlock};
use crate::protocol::request::MAX_REQUEST;
use crate::protocol::thread::Thread;

/// The header by which a server says that it counts copies of a signed request once.
pub(crate) const COPIES_ONCE: (&str, &str) = ("Copies", "once");
/// The header by which a server says that it has counted nothing of a request, and never will.
pub(crate) const UNCOUNTED: (&str, &str) = ("Counted", "none");

/// A server's reply to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Reply<'a> {
    /// `Code`: 200 for success.
    pub code: u16,
    /// `Diag`: the code in words. A peer chose them: escape them before you show them.
    pub diag: &'a [u8],
    /// `Thread`: the mark of the request that it answers.
    pub thread: Thread,
    /// `Count` and `WL-Count` of a check, a pong or an info.
    pub counts: Option<(u64, u64)>,
    /// `Copies: once`: the server counts copies of a signed request once. Replies to forwarded requests say so.
    pub copies_once: bool,
    /// `Counted: none`: the server has counted none of the request's digests, and never will. Replies to forwarded
    /// requests say so.
    pub uncounted: bool,
}

/// A datagram is not a reply: `Code`, `Diag`, `PV` or `Thread` is missing, or `Code` or `Thread` is out of range.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Incomplete;

impl<'a> Reply<'a> {
    /// The code of success.
    pub const OK: u16 = 200;

    /// Parses a reply: the first [`MAX_REQUEST`] bytes of a datagram, which is what the Python client receives. The
    /// first of a repeated header counts.
    ///
    /// # Errors
    /// A header is missing that the Python client insists on.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Incomplete> {
        let datagram = datagram.get(..MAX_REQUEST).unwrap_or(datagram);
        const NAMES: [&str; 8] =
            ["Code", "Diag", "PV", "Thread", "Count", "WL-Count", COPIES_ONCE.0, UNCOUNTED.0];
        let mut values = [None; 8];
        for header in HeaderBlock::new(datagram).iter() {
            let slot = NAMES.iter().zip(&mut values).find(|(name, _)| header.is(name));
            if let Some((_, slot)) = slot {
                let Header { value, .. } = header;
                slot.get_or_insert(value);
            }
        }
        let [Some(code), Some(diag), Some(_version), Some(thread), reports, whitelists, copies, counted] =
            values
        else {
            return Err(Incomplete);
        };
        let says = |value: Option<&[u8]>, (_, said): (_, &str)| {
            value.map(<[u8]>::trim_ascii) == Some(said.as_bytes())
        };
        let number =
            |value: &[u8]| -> Option<u64> { core::str::from_utf8(value.trim_ascii()).ok()?.parse().ok() };
        Ok(Self {
            code: number(code).and_then(|code| u16::try_from(code).ok()).ok_or(Incomplete)?,
            diag,
            thread: Thread::parse(thread).ok_or(Incomplete)?,
            counts: reports.and_then(number).zip(whitelists.and_then(number)),
            copies_once: says(copies, COPIES_ONCE),
            uncounted: says(counted, UNCOUNTED),
        })
    }

    /// Whether the server did what the request asks for.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.code == Self::OK
    }

    /// Whether the same request may succeed later: the database failed.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        self.code == 500
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::server::testing;
    use crate::time::UnixTime;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn a_reply_has_all_that_python_insists_on() {
        let whole = "Code: 200\nDiag: OK\nPV: 2.1\nThread: 2000\nCount: 7\nWL-Count: 1\n\n";
        let reply = Reply::parse(whole.as_bytes()).unwrap();
        assert_eq!((reply.code, reply.diag, reply.thread.number()), (200, &b"OK"[..], 2000));
        assert_eq!(reply.counts, Some((7, 1)));
        for (part, instead) in [
            ("Code: 200\n", ""),
            ("Diag: OK\n", ""),
            ("PV: 2.1\n", ""),
            ("Thread: 2000\n", ""),
            ("2000", "0"),
            ("200\n", "many\n"),
        ] {
            let broken = whole.replacen(part, instead, 1);
            assert_eq!(Reply::parse(broken.as_bytes()), Err(Incomplete), "{broken}");
        }
        let bare =
            Reply::parse(b"code: 403\r\ndiag: No: way\r\npv: 9\r\nthread: 1024\r\ncount: x\r\n").unwrap();
        assert_eq!((bare.code, bare.diag, bare.counts), (403, &b"No: way"[..], None));
        assert!(!bare.copies_once && !bare.uncounted);
        let told =
            Reply::parse(b"Code: 500\nDiag: x\nPV: 2.1\nThread: 1024\nCopies: once\nCounted: none\n\n")
                .unwrap();
        assert!(told.copies_once && told.uncounted);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(datagram: Vec<u8>) {
            let _ = Reply::parse(&datagram);
        }

        #[test]
        fn what_the_server_wrote_is_read(
            op in proptest::sample::select(&["ping", "pong", "check", "info", "report", "whitelist", "x"][..]),
            bits: u64,
        ) {
            let thread = Thread::from_random(bits);
            let request = alloc::format!(
                "Op: {op}\nOp-Digest: {:040}\nThread: {}\nPV: 2.1\n\n", 7, thread.number());
            let now = UnixTime::from_seconds(1_700_000_000);
            let (datagram, refusal) = testing::answer(&Policy::default(), request.as_bytes(), now).unwrap();
            let code = refusal.map_or(200, crate::Refusal::code);
            let reply = Reply::parse(&datagram).unwrap();
            prop_assert_eq!((reply.code, reply.thread), (code, thread));
            prop_assert_eq!(reply.counts.is_some(), ["pong", "check", "info"].contains(&op));
        }
    }
}
