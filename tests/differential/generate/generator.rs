//! The state of the generator, and the parts that all kinds of requests share.

use super::headers::{Headers, render, sign};
use super::policies::{ServerFiles, USERS};
use super::stored::{of_kind, stored};
use crate::random::Random;

pub(super) const OPERATIONS: [&str; 6] = ["ping", "pong", "check", "info", "report", "whitelist"];

/// Values that are not ASCII, that have a line break of Python's `str.splitlines` within a header line, or that have a
/// blank at the end of a line.
pub(super) const ODD_TEXTS: [&[u8]; 10] = [
    b"1\n 2 \n   3",
    b"1\n \n 3",
    b"caf\xc3\xa9",
    b"\xff",
    b"\x80\x81",
    b"a\x0bb",
    b"a\x0cb",
    b"a\x1cb\x1d",
    b"x\x1ey",
    b"\xc2\x85",
];

/// Draws the parts of requests for one policy.
pub(super) struct Generator {
    pub(super) random: Random,
    pub(super) files: ServerFiles,
    /// Unix time in seconds.
    pub(super) now: i64,
    spare: usize,
}

impl Generator {
    pub(super) fn new(seed: u64, files: ServerFiles) -> Self {
        Self { random: Random::new(seed), files, now: 0, spare: 0 }
    }

    /// Draws the headers of a request as Python's client sends it.
    pub(super) fn headers(&mut self) -> Headers {
        let op = self.random.pick(&OPERATIONS);
        let count = match op {
            "ping" => 0,
            "report" | "whitelist" => 1 + self.random.below(3),
            _ => 1,
        };
        let mut headers = vec![("Op", op.as_bytes().to_vec())];
        headers.extend((0..count).map(|_| ("Op-Digest", self.sound_digest())));
        if op == "report" && self.random.percent(50) {
            headers.push(("Op-Spec", b"20,3,60,3".to_vec()));
        }
        headers.extend([("Thread", self.thread()), ("PV", b"2.1".to_vec())]);
        headers
    }

    /// Draws headers with digests of their own, for a request that perhaps only one server counts.
    pub(super) fn own_headers(&mut self) -> Headers {
        let mut headers = self.headers();
        for (_, value) in headers.iter_mut().filter(|(name, _)| *name == "Op-Digest") {
            *value = self.spare_digest();
        }
        headers
    }

    pub(super) fn thread(&mut self) -> Vec<u8> {
        (1024 + self.random.below(64_000)).to_string().into_bytes()
    }

    /// Draws a digest with a readable record or none. Other requests use it too.
    pub(super) fn sound_digest(&mut self) -> Vec<u8> {
        let sound: Vec<usize> = of_kind("sound").chain(100..106).collect();
        stored(self.random.pick(&sound)).into_bytes()
    }

    /// Returns a new digest, so that the request does not affect others.
    pub(super) fn spare_digest(&mut self) -> Vec<u8> {
        self.spare += 1;
        format!("beefc0de{:032x}", self.spare).into_bytes()
    }

    /// Writes the request, anonymous or signed by a user of the policy.
    pub(super) fn written(&mut self, mut headers: Headers) -> Vec<u8> {
        if self.files.users.is_empty() || self.random.percent(40) {
            if self.random.percent(50) {
                headers.push(("User", b"anonymous".to_vec()));
            }
            return render(&headers);
        }
        let (user, key) = self.random.pick(self.files.users);
        sign(headers, user, key, self.now)
    }

    /// Draws a user and its key.
    pub(super) fn user(&mut self) -> (&'static str, &'static str) {
        if self.files.users.is_empty() { USERS[0] } else { self.random.pick(self.files.users) }
    }
}
