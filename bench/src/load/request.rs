//! Requests, prebuilt as far as they can be.

use pyzord_core::{HashedKey, HeaderBlock, Operation};

use super::digests::{Drawer, decimal, numbered};
use crate::random::Random;

/// The normalisation that Python's client names in a report.
const SPEC: &str = "20,3,60,3";
const NO_THREAD: &str = "00000";
const NO_SIGNATURE: &str = "0000000000000000000000000000000000000000";

/// Who signs.
#[derive(Clone, Debug)]
pub struct Account {
    user: String,
    key: HashedKey,
}

impl Account {
    /// The account of a user, with the key as it stands in the server's accounts file.
    #[must_use]
    pub fn new(user: &str, key: &str) -> Self {
        Self { user: user.to_owned(), key: HashedKey::new(user.as_bytes(), key.as_bytes()) }
    }
}

/// Writes requests as Python's client would.
#[derive(Debug)]
pub(crate) struct Writer {
    templates: Vec<(Operation, Template)>,
    account: Option<Account>,
    time: i64,
}

impl Writer {
    /// `batch` digests go into each request that has any.
    pub(crate) fn new(account: Option<Account>, batch: usize, time: i64) -> Self {
        let user = account.as_ref().map_or("anonymous", |account| &account.user);
        let template = |operation| (operation, Template::new(operation, user, batch, time));
        Self { templates: Operation::ALL.map(template).into(), account, time }
    }

    /// Brings the requests to this time, in Unix seconds.
    pub(crate) fn set_time(&mut self, time: i64) {
        if time != self.time {
            self.time = time;
            for (_, template) in &mut self.templates {
                patch(&mut template.bytes, template.time, time.to_string().as_bytes());
            }
        }
    }

    /// Puts a request in the place of what is in `out`.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        operation: Operation,
        thread: u16,
        digests: &mut Drawer,
        random: &mut Random,
    ) {
        out.clear();
        let Some((_, template)) = self.templates.iter().find(|(other, _)| *other == operation) else {
            return;
        };
        out.extend_from_slice(&template.bytes);
        patch(out, template.thread, decimal(&mut [0; 20], u64::from(thread)));
        for at in &template.digests {
            patch(out, *at, &numbered(digests.next(random)).hex());
        }
        if let Some(account) = &self.account {
            let signature = account.key.sign(HeaderBlock::new(out), self.time);
            patch(out, template.signature, &signature);
        }
    }
}

/// A request with places to fill in.
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
        // Python's client sends a digest with pong, too.
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

fn patch(bytes: &mut [u8], at: usize, part: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + part.len()) {
        place.copy_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use pyzord_core::{AccessOrder, Policy, Request, Step, UnixTime, accept};

    use super::super::digests::Draw;
    use super::*;

    const NOW: i64 = 1_700_000_123;

    fn written(account: Option<Account>, operation: Operation, batch: usize) -> String {
        let mut writer = Writer::new(account, batch, NOW - 1);
        writer.set_time(NOW);
        let (mut out, mut digests) = (b"before".to_vec(), Drawer::new(Draw::Sequence, 10, 0, 1));
        writer.write(&mut out, operation, 65_535, &mut digests, &mut Random::new(0));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_anonymous_request_is_what_pythons_client_sends() {
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
    fn a_signed_request_is_accepted_at_its_time_and_by_its_key_alone() {
        let request = written(Some(Account::new("bob", "ABcd")), Operation::Check, 3);
        assert_eq!(Request::parse(request.as_bytes()).unwrap().user, b"bob");
        assert_eq!(request.matches("Op-Digest: ").count(), 3);
        for (key, now, accepted) in [("abcd", NOW, true), ("abcd", NOW + 301, false), ("abce", NOW, false)] {
            let accounts = format!("bob : {key}");
            let access = Some(&b"all : bob : allow"[..]);
            let (policy, _) = Policy::parse(Some(accounts.as_bytes()), access, AccessOrder::FirstMatch);
            let step = accept(&policy, request.as_bytes(), UnixTime::from_seconds(now));
            assert_eq!(matches!(step, Step::Store(_)), accepted, "{key} {now}");
        }
    }
}
