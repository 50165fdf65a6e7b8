//! Requests, parsed and not yet judged.

use crate::protocol::header::{Header, HeaderBlock};

/// The largest request, in bytes: what the Python server reads of a datagram.
pub const MAX_REQUEST: usize = 8192;

/// The user of requests without one. It has no account, and its requests are not signed.
pub const ANONYMOUS: &[u8] = b"anonymous";

/// The only header that a request may have several times.
const DIGEST: &[u8] = b"Op-Digest";

/// The headers of a request that a server reads, as they were sent. The first of a repeated header counts.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    block: HeaderBlock<'a>,
    /// The headers from the first `Op-Digest` on, and the number of headers of that name.
    digests: (HeaderBlock<'a>, usize),
    /// `Op`: the name of the operation.
    pub op: &'a [u8],
    /// `Thread`: the client's mark of the request, which the reply repeats.
    pub thread: Option<&'a [u8]>,
    /// `PV`: the protocol version.
    pub version: Option<&'a [u8]>,
    /// `User`; `anonymous` if it is absent or empty.
    pub user: &'a [u8],
    /// `Time`: when the request was signed, in Unix seconds.
    pub time: Option<&'a [u8]>,
    /// `Sig`: the signature, 40 hex digits in lower case.
    pub signature: Option<&'a [u8]>,
    /// `Forwarded`: another server forwards what it has counted. The value is its [`Origin`](crate::Origin), if it has one.
    pub forwarded: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Parses a datagram; `None` if it has no header `Op`.
    ///
    /// A datagram without `Op` is not a request and never answered. Replies have no `Op`, so one forged datagram cannot
    /// make two servers, or a server and itself, answer each other for ever.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let block = HeaderBlock::new(datagram);
        let [mut op, mut thread, mut version, mut user, mut time, mut signature, mut forwarded] = [None; 7];
        let (mut rest, mut digests) = (block, (block, 0));
        loop {
            let from = rest;
            let Some(Header { name, value }) = rest.take_header() else { break };
            // The lengths differ, so most names are compared once.
            let slot = match name.len() {
                9 if name.eq_ignore_ascii_case(DIGEST) => {
                    digests = if digests.1 == 0 { (from, 1) } else { (digests.0, digests.1 + 1) };
                    continue;
                }
                9 if name.eq_ignore_ascii_case(b"Forwarded") => &mut forwarded,
                2 if name.eq_ignore_ascii_case(b"Op") => &mut op,
                2 if name.eq_ignore_ascii_case(b"PV") => &mut version,
                3 if name.eq_ignore_ascii_case(b"Sig") => &mut signature,
                4 if name.eq_ignore_ascii_case(b"User") => &mut user,
                4 if name.eq_ignore_ascii_case(b"Time") => &mut time,
                6 if name.eq_ignore_ascii_case(b"Thread") => &mut thread,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        let user = user.filter(|user| !user.is_empty()).unwrap_or(ANONYMOUS);
        Some(Self { block, digests, op: op?, thread, version, user, time, signature, forwarded })
    }

    /// Returns all headers, in their order.
    #[must_use]
    pub const fn headers(&self) -> HeaderBlock<'a> {
        self.block
    }

    /// Returns the number of headers `Op-Digest`.
    #[must_use]
    pub const fn digest_count(&self) -> usize {
        self.digests.1
    }

    /// Returns the values of `Op-Digest`, in their order.
    pub fn digests(&self) -> impl Iterator<Item = &'a [u8]> {
        let (block, count) = self.digests;
        let digests = block.iter().filter(|header| header.name.eq_ignore_ascii_case(DIGEST));
        digests.take(count).map(|header| header.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn names_have_no_case_and_the_first_of_a_repeated_header_counts() {
        let request =
            Request::parse(b"oP: check\nTHREAD: 1\nThread: 2\nop-digest: a\nOp-Digest: b\n").unwrap();
        assert_eq!((request.op, request.thread), (&b"check"[..], Some(&b"1"[..])));
        assert_eq!(request.digests().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!((request.version, request.time, request.signature), (None, None, None));
    }

    #[test]
    fn other_names_of_the_same_length_are_not_taken_for_ours() {
        let others: Vec<u8> =
            [2, 3, 4, 6].iter().flat_map(|len| [&b"abcdef"[..*len], b": x\n"].concat()).collect();
        let ours = b"Op: a\nPV: b\nSig: c\nUser: d\nTime: e\nThread: f\n";
        let datagram = [&others[..], ours].concat();
        let request = Request::parse(&datagram).unwrap();
        let Request { op, version, signature, user, time, thread, .. } = request;
        assert_eq!((op, user), (&b"a"[..], &b"d"[..]));
        assert_eq!([version, signature, time, thread].map(Option::unwrap), [b"b", b"c", b"e", b"f"]);
    }

    #[test]
    fn no_user_and_an_empty_user_are_anonymous() {
        for datagram in [&b"Op: ping\n"[..], b"Op: ping\nUser:\n", b"Op: ping\nUser: \t\n"] {
            assert_eq!(Request::parse(datagram).unwrap().user, ANONYMOUS);
        }
        assert_eq!(Request::parse(b"Op: ping\nUser: bob \n").unwrap().user, b"bob ");
    }

    /// One forged datagram makes two Python servers answer each other for ever.
    #[test]
    fn a_reply_is_not_a_request() {
        let reply = b"Code: 200\nDiag: OK\nPV: 2.1\nThread: 5\n\n";
        for datagram in [&b""[..], b"\n", b"Thread: 5\nPV: 2.1\n", b"\0\0\0\0", reply] {
            assert!(Request::parse(datagram).is_none());
        }
    }
}
