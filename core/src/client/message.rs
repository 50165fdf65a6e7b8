//! Requests, written as the Python client writes them.

use alloc::vec::Vec;

use crate::client::credentials::Credentials;
use crate::protocol::digest::Digest;
use crate::protocol::header::HeaderBlock;
use crate::protocol::operation::Operation;
use crate::protocol::origin::Origin;
use crate::protocol::thread::Thread;
use crate::time::UnixTime;

/// A request without its user, its time and its signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// The operation.
    pub operation: Operation,
    /// The digests: one for a check or info, any number for a report or whitelisting.
    pub digests: &'a [Digest],
    /// The mark of the request, which its reply repeats.
    pub thread: Thread,
    /// The server that forwards what it has counted. The receiving server does not forward it again.
    pub forwarded: Option<Origin>,
}

impl Message<'_> {
    /// Appends the signed request to the caller's buffer: the payload of one datagram, less than 1 KiB for ten digests
    /// and a short user name.
    ///
    /// The headers and their order are those of the Python client, which signs for the anonymous user too. `Forwarded`
    /// is an extension and covered by the signature; servers skip headers that they do not know.
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
            // The parts of a mail that the digest covers: the same for every client, ignored by every server.
            header("Op-Spec: ", b"20,3,60,3");
        }
        if let Some(origin) = &self.forwarded {
            header("Forwarded: ", origin.as_bytes());
        }
        header("Thread: ", itoa::Buffer::new().format(self.thread.number()).as_bytes());
        header("PV: ", b"2.1");
        header("User: ", credentials.user());
        header("Time: ", itoa::Buffer::new().format(time.seconds()).as_bytes());
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
    use crate::protocol::request::Request;
    use crate::server::testing;
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
            thread: Thread::parse(b"12345").unwrap(),
            forwarded: None,
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

    proptest! {
        #[test]
        fn what_was_written_is_read_and_accepted(
            operation in proptest::sample::select(&Operation::ALL[..]),
            digests in proptest::collection::vec(any::<[u8; 20]>().prop_map(Digest::new), 1..=10),
            bits: u64,
            forwarded: Option<u64>,
            user in "[!-9;-~]{1,20}",
            key in "[0-9a-fA-F]{1,40}",
        ) {
            let forwarded = forwarded.map(Origin::from_random);
            let message = Message { operation, digests: &digests, thread: Thread::from_random(bits), forwarded };
            let datagram = written(&message, &Credentials::new(user.as_bytes(), key.as_bytes()));
            let request = Request::parse(&datagram).unwrap();
            let read: Vec<Digest> = request.digests().filter_map(Digest::parse).collect();
            prop_assert_eq!(Operation::parse(request.op), Some(operation));
            prop_assert_eq!(&read, &digests);
            prop_assert_eq!(request.thread.and_then(Thread::parse), Some(message.thread));
            prop_assert_eq!((request.user, request.forwarded), (user.as_bytes(), forwarded.as_ref().map(|origin| &origin.as_bytes()[..])));

            prop_assume!(!user.starts_with('#') && user != "anonymous" && user != "all");
            let accounts = [&user, ":", &key].concat();
            let access = ["all:", &user, ":allow"].concat();
            let (policy, _) =
                Policy::parse(Some(accounts.as_bytes()), Some(access.as_bytes()), AccessOrder::FirstMatch);
            let (_, refusal) = testing::answer(&policy, &datagram, NOW).unwrap();
            prop_assert_eq!(refusal, None);
        }
    }
}
