//! Requests from templates.

use pyzord_core::{HashedKey, HeaderBlock, Operation};

use super::digests::{DigestSampler, decimal, numbered};
use crate::random::Random;

/// The digest specification that Python's client sends in a report.
const SPEC: &str = "20,3,60,3";
const NO_THREAD: &str = "00000";
const NO_SIGNATURE: &str = "0000000000000000000000000000000000000000";

/// Signs requests as a user.
#[derive(Clone, Debug)]
pub struct Signer {
    user: String,
    key: HashedKey,
}

impl Signer {
    /// Returns the signer for a user, with the key as in the server's signers file.
    #[must_use]
    pub fn new(user: &str, key: &str) -> Self {
        Self { user: user.to_owned(), key: HashedKey::new(user.as_bytes(), key.as_bytes()) }
    }
}

/// Writes requests in the form of Python's client.
#[derive(Debug)]
pub(crate) struct Writer {
    templates: Vec<(Operation, Template)>,
    signer: Option<Signer>,
    time: i64,
}

impl Writer {
    /// Creates templates with `batch` digests for each operation that takes digests.
    pub(crate) fn new(signer: Option<Signer>, batch: usize, time: i64) -> Self {
        let user = signer.as_ref().map_or("anonymous", |signer| &signer.user);
        let template = |operation| (operation, Template::new(operation, user, batch, time));
        Self { templates: Operation::ALL.map(template).into(), signer, time }
    }

    /// Sets the time of the requests, in Unix seconds.
    pub(crate) fn set_time(&mut self, time: i64) {
        if time != self.time {
            self.time = time;
            for (_, template) in &mut self.templates {
                patch(&mut template.bytes, template.time, time.to_string().as_bytes());
            }
        }
    }

    /// Replaces the content of `out` with a request.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        operation: Operation,
        thread: u16,
        digests: &mut DigestSampler,
        random: &mut Random,
    ) {
        out.clear();
        let template = self.template(operation);
        out.extend_from_slice(&template.bytes);
        patch(out, template.thread, decimal(&mut [0; 20], u64::from(thread)));
        for at in &template.digests {
            patch(out, *at, &numbered(digests.next(random)).hex());
        }
        if let Some(signer) = &self.signer {
            let signature = signer.key.sign(HeaderBlock::new(out), self.time);
            patch(out, template.signature, &signature);
        }
    }

    #[expect(clippy::expect_used, reason = "`new` makes a template of every operation")]
    fn template(&self, operation: Operation) -> &Template {
        let found = self.templates.iter().find(|(other, _)| *other == operation);
        &found.expect("every operation has a template").1
    }
}

/// A request, and the offsets of the values to fill in.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    digests: Vec<usize>,
    thread: usize,
    time: usize,
    signature: usize,
}

impl Template {
    fn new(operation: Operation, user: &str, batch: usize, time: i64) -> Self {
        let mut text = format!("Op: {operation}\n");
        let mut place = |before: &str, value: &str| {
            text.push_str(before);
            let at = text.len();
            text.push_str(value);
            text.push('\n');
            at
        };
        // Python's client sends a digest with pong too.
        let batch = if operation == Operation::Ping { 0 } else { batch };
        let digests = (0..batch).map(|_| place("Op-Digest: ", NO_SIGNATURE)).collect();
        if matches!(operation, Operation::Report | Operation::Whitelist) {
            place("Op-Spec: ", SPEC);
        }
        let thread = place("Thread: ", NO_THREAD);
        place("PV: ", "2.1");
        place("User: ", user);
        let time = place("Time: ", &time.to_string());
        let signature = place("Sig: ", NO_SIGNATURE);
        text.push('\n');
        Self { bytes: text.into_bytes(), digests, thread, time, signature }
    }
}

/// Overwrites the value at `at`, which has the length of `value`.
#[expect(clippy::indexing_slicing, reason = "`Template::new` put a value of this length at this offset")]
fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use pyzord_core::{AccessOrder, Batch, Guard, Limits, Now, Policy, Request, Server, Tick, UnixTime};

    use super::super::digests::Distribution;
    use super::*;

    const NOW: i64 = 1_700_000_123;

    fn written(signer: Option<Signer>, operation: Operation, batch: usize) -> String {
        let mut writer = Writer::new(signer, batch, NOW - 1);
        writer.set_time(NOW);
        let (mut out, mut digests) =
            (b"before".to_vec(), DigestSampler::new(Distribution::Sequence, 10, 0, 1));
        writer.write(&mut out, operation, 65_535, &mut digests, &mut Random::new(0));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_anonymous_request_equals_that_of_pythons_client() {
        let (digest, none) = (numbered(0), "0".repeat(40));
        assert_eq!(
            written(None, Operation::Report, 1),
            format!(
                "Op: report\nOp-Digest: {digest}\nOp-Spec: 20,3,60,3\nThread: 65535\nPV: 2.1\nUser: anonymous\n\
                 Time: {NOW}\nSig: {none}\n\n"
            )
        );
        assert!(written(None, Operation::Ping, 5).starts_with("Op: ping\nThread: 65535\nPV"));
    }

    #[test]
    fn a_signed_request_is_accepted_only_at_its_time_and_with_its_key() {
        let request = written(Some(Signer::new("bob", "ABcd")), Operation::Check, 3);
        assert_eq!(Request::parse(request.as_bytes()).unwrap().user, b"bob");
        assert_eq!(request.matches("Op-Digest: ").count(), 3);
        for (key, now, accepted) in [("abcd", NOW, true), ("abcd", NOW + 301, false), ("abce", NOW, false)] {
            let signers = format!("bob : {key}");
            let access = Some(&b"all : bob : allow"[..]);
            let (policy, _) = Policy::parse(Some(signers.as_bytes()), access, AccessOrder::FirstMatch);
            let server: Server = Server::new(policy, Guard::new(Limits::default(), [7; 16]));
            let (mut batch, wall) = (Batch::new(), UnixTime::from_seconds(now));
            let clocks = Now { wall, tick: Tick::default() };
            assert_eq!(batch.accept(&server, (), request.as_bytes(), clocks), Ok(()));
            // A refused request does not wait for the store.
            assert_eq!(batch.waiting() == 1, accepted, "{key} {now}");
        }
    }
}
