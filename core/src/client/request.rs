//! Requests as Python's client writes them.

use alloc::vec::Vec;

use crate::client::accounts::Credentials;
use crate::decimal::Decimal;
use crate::digest::Digest;
use crate::header::HeaderBlock;
use crate::operation::Operation;
use crate::time::UnixTime;

/// "(0, 1024) is reserved".
const FIRST: u16 = 1024;

/// A client's mark for a request, from 1024 to 65535, which the reply repeats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Thread(u16);

impl Thread {
    /// The mark that random bits make.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        let marks = u64::from(u16::MAX - FIRST) + 1;
        Self(u16::try_from(bits % marks).map_or(FIRST, |offset| FIRST.saturating_add(offset)))
    }

    /// Reads the header `Thread`. `None` for what no client of ours has sent.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let number: u16 = core::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()?;
        (number >= FIRST).then_some(Self(number))
    }

    /// The number itself.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What a request says, beside who says it and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// About which digests, or which are counted: a report or whitelisting may have several.
    pub digests: &'a [Digest],
    /// The mark by which the reply is known.
    pub thread: Thread,
    /// Whether another server sends on what it was told. Whoever is told so does not send it on again.
    pub forwarded: bool,
}

impl Message<'_> {
    /// Appends the signed request to the caller's buffer: the payload of one datagram. With ten digests it has less
    /// than 1 KiB, the user's name aside.
    ///
    /// The headers are those of Python's client, in its order, for the anonymous user too; `Forwarded` is ours, and
    /// covered by the signature. Servers skip headers that they do not know.
    pub fn write(&self, credentials: &Credentials, time: UnixTime, out: &mut Vec<u8>) {
        let start = out.len();
        let mut header = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
            out.push(b'\n');
        };
        header("Op: ", self.operation.name().as_bytes());
        for digest in self.digests {
            header("Op-Digest: ", &digest.hex());
        }
        if matches!(self.operation, Operation::Report | Operation::Whitelist) {
            // Which parts of a mail the digest was made of: every client uses these, and no server looks.
            header("Op-Spec: ", b"20,3,60,3");
        }
        if self.forwarded {
            header("Forwarded: ", b"1");
        }
        header("Thread: ", Decimal::from(u64::from(self.thread.number())).as_bytes());
        header("PV: ", b"2.1");
        header("User: ", credentials.user());
        header("Time: ", Decimal::from(time.seconds()).as_bytes());
        let signed = HeaderBlock::new(out.get(start..).unwrap_or_default());
        let signature = credentials.key().sign(signed, time.seconds());
        for part in [&b"Sig: "[..], &signature, b"\n\n"] {
            out.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{AccessOrder, Policy};
    use crate::request::Request;
    use crate::{Step, accept};
    use alloc::string::String;
    use proptest::prelude::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);

    fn written(message: &Message<'_>, credentials: &Credentials) -> Vec<u8> {
        let mut out = Vec::new();
        message.write(credentials, NOW, &mut out);
        out
    }

    /// The first was written and signed by `pyzor.message` and `pyzor.account` of Python's pyzor 1.1.2.
    #[test]
    fn requests_are_pythons_bytes() {
        let digests = [Digest::new([1; 20]), Digest::new([0xab; 20])];
        let message = Message {
            operation: Operation::Report,
            digests: &digests,
            thread: Thread(12_345),
            forwarded: false,
        };
        let report = String::from_utf8(written(&message, &Credentials::anonymous())).unwrap();
        assert_eq!(
            report,
            "Op: report\nOp-Digest: 0101010101010101010101010101010101010101\n\
             Op-Digest: abababababababababababababababababababab\nOp-Spec: 20,3,60,3\nThread: 12345\nPV: 2.1\n\
             User: anonymous\nTime: 1700000000\nSig: 9bd92b727d7ed1b32300bb1887a5552d856faedd\n\n"
        );
        let ping = Message { operation: Operation::Ping, digests: &[], ..message };
        let ping = String::from_utf8(written(&ping, &Credentials::anonymous())).unwrap();
        assert!(ping.starts_with("Op: ping\nThread: 12345\nPV: 2.1\nUser: anonymous\n"), "{ping}");
    }

    #[test]
    fn marks_are_in_their_range() {
        let number = |bits| Thread::from_random(bits).number();
        assert_eq!([number(0), number(64_511), number(64_512)], [1024, u16::MAX, 1024]);
        for text in ["0", "1023", "65536", "-1", "x", ""] {
            assert_eq!(Thread::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_accepted(
            operation in proptest::sample::select(&Operation::ALL[..]),
            digests in proptest::collection::vec(any::<[u8; 20]>().prop_map(Digest::new), 1..=10),
            bits: u64,
            forwarded: bool,
            user in "[!-9;-~]{1,20}",
            key in "[0-9a-fA-F]{1,40}",
        ) {
            let message = Message { operation, digests: &digests, thread: Thread::from_random(bits), forwarded };
            let datagram = written(&message, &Credentials::new(user.as_bytes(), key.as_bytes()));
            let request = Request::parse(&datagram).unwrap();
            let read: Vec<Digest> = request.digests().filter_map(Digest::parse).collect();
            prop_assert_eq!(Operation::parse(request.op), Some(operation));
            prop_assert_eq!(&read, &digests);
            prop_assert_eq!(request.thread.and_then(Thread::parse), Some(message.thread));
            prop_assert_eq!((request.user, request.forwarded), (user.as_bytes(), forwarded));

            prop_assume!(!user.starts_with('#') && user != "anonymous" && user != "all");
            let accounts = [&user, ":", &key].concat();
            let access = ["all:", &user, ":allow"].concat();
            let (policy, _) =
                Policy::parse(Some(accounts.as_bytes()), Some(access.as_bytes()), AccessOrder::FirstMatch);
            let refusal = match accept(&policy, &datagram, NOW) {
                Step::Reply(reply) => reply.refusal(),
                Step::Store(_) | Step::Ignore(_) => None,
            };
            prop_assert_eq!(refusal, None);
        }
    }
}
