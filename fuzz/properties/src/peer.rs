//! Datagrams of peers: arbitrary bytes, and requests that pass the first checks.

use arbitrary::Arbitrary;
use pyzord_core::{AccessOrder, HashedKey, HeaderBlock, Operation, Policy};

/// The accounts of the signed requests.
const ACCOUNTS: &[u8] = b"bob : abcdef\neve : 123456\n";

/// A policy for these accounts.
#[derive(Arbitrary, Debug)]
pub(crate) struct Rules {
    lines: Option<Vec<Line>>,
    last_match: bool,
}

/// A line of an access file.
#[derive(Arbitrary, Debug)]
struct Line {
    /// The six operations, `all`, and an unknown operation.
    operations: u8,
    /// `anonymous`, `bob`, `eve` and `all`.
    users: u8,
    allow: bool,
}

impl Rules {
    pub(crate) fn policy(&self) -> Policy {
        let access = self.lines.as_deref().map(|lines| lines.iter().map(Line::text).collect::<String>());
        let order = if self.last_match { AccessOrder::LastMatch } else { AccessOrder::FirstMatch };
        Policy::parse(Some(ACCOUNTS), access.as_ref().map(String::as_bytes), order).0
    }

    /// Returns whether the deciding line for the unknown operation allows it.
    pub(crate) fn grant_frobnicate(&self, user: &[u8]) -> bool {
        let users = match user {
            b"bob" => 0b1010,
            b"eve" => 0b1100,
            _ => 0b0001,
        };
        let lines = self.lines.as_deref().unwrap_or_default().iter();
        let mut deciding = lines.filter(|line| line.operations & 0x80 != 0 && line.users & users != 0);
        let line = if self.last_match { deciding.next_back() } else { deciding.next() };
        line.is_some_and(|line| line.allow)
    }
}

impl Line {
    fn text(&self) -> String {
        let chosen = |words: &[&str], bits: u8| -> String {
            let chosen = words.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
            chosen.map(|(_, word)| format!("{word} ")).collect()
        };
        let operations = ["check", "report", "ping", "pong", "info", "whitelist", "all", "frobnicate"];
        let users = chosen(&["anonymous", "bob", "eve", "all"], self.users);
        let verdict = if self.allow { "allow" } else { "deny" };
        format!("{}: {users}: {verdict}\n", chosen(&operations, self.operations))
    }
}

/// A datagram.
#[derive(Arbitrary, Debug)]
pub(crate) enum Datagram<'a> {
    Bytes(&'a [u8]),
    Request(Request<'a>),
    /// A request that may be too long.
    Padded(Request<'a>, u16),
}

/// A well-formed request, except for parts of the peer's choice.
#[derive(Arbitrary, Debug)]
pub(crate) struct Request<'a> {
    op: Word<'a>,
    digests: Vec<DigestText<'a>>,
    thread: Option<&'a [u8]>,
    version: Version<'a>,
    user: User<'a>,
    skew: i16,
    line_break: LineBreak,
}

#[derive(Arbitrary, Debug)]
enum Word<'a> {
    Known(u8),
    Frobnicate,
    Other(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum DigestText<'a> {
    /// Few digests, so that requests share records.
    Few(u8),
    Any([u8; 20]),
    Other(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Version<'a> {
    Current,
    Missing,
    Other(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum User<'a> {
    None,
    Bob,
    Eve,
    /// Bob's request, signed with another key.
    Forged,
    Other(&'a [u8]),
}

impl Datagram<'_> {
    /// Returns the bytes of a datagram that is sent at `now` by the server's clock.
    pub(crate) fn bytes(&self, now: i64) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Request(request) => request.bytes(now, 0),
            Self::Padded(request, padding) => request.bytes(now, usize::from(*padding % 16_384)),
        }
    }
}

impl Request<'_> {
    fn bytes(&self, now: i64, padding: usize) -> Vec<u8> {
        let end = self.line_break.bytes();
        let mut text = Vec::new();
        let mut push = |name: &str, value: &[u8]| text.extend([name.as_bytes(), b": ", value, end].concat());
        push("Op", &self.op.text());
        for digest in &self.digests {
            push("Op-Digest", &digest.text());
        }
        self.thread.iter().for_each(|thread| push("Thread", &header_value(thread)));
        match self.version {
            Version::Current => push("PV", b"2.1"),
            Version::Missing => (),
            Version::Other(version) => push("PV", &header_value(version)),
        }
        if padding > 0 {
            push("Padding", &vec![b'x'; padding]);
        }
        let (user, key): (&[u8], &[u8]) = match self.user {
            User::None => return text,
            User::Bob => (b"bob", b"abcdef"),
            User::Eve => (b"eve", b"123456"),
            User::Forged => (b"bob", b"abcdee"),
            User::Other(user) => (user, b""),
        };
        let time = now.saturating_add((self.skew / 64).into());
        push("User", &header_value(user));
        push("Time", time.to_string().as_bytes());
        let signature = HashedKey::new(user, key).sign(HeaderBlock::new(&text), time);
        [&text, &b"Sig: "[..], &signature, end].concat()
    }
}

impl Word<'_> {
    fn text(&self) -> Vec<u8> {
        match self {
            Self::Known(number) => {
                let known = Operation::ALL.iter().cycle().nth(usize::from(number % 6));
                known.map_or("", |operation| operation.name()).into()
            }
            Self::Frobnicate => b"frobnicate".to_vec(),
            Self::Other(word) => header_value(word),
        }
    }
}

impl DigestText<'_> {
    fn text(&self) -> Vec<u8> {
        match self {
            Self::Few(number) => pyzord_core::Digest::new([number % 4; 20]).hex().to_vec(),
            Self::Any(bytes) => pyzord_core::Digest::new(*bytes).hex().to_ascii_uppercase(),
            Self::Other(text) => header_value(text),
        }
    }
}

/// The line break of a client.
#[derive(Clone, Copy, Arbitrary, Debug)]
pub(crate) enum LineBreak {
    Lf,
    CrLf,
    DoubleLf,
}

impl LineBreak {
    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
            Self::DoubleLf => b"\n\n",
        }
    }
}

/// Turns arbitrary bytes into the name of a header.
pub(crate) fn header_name(bytes: &[u8]) -> Vec<u8> {
    let name: Vec<u8> =
        bytes.iter().filter(|byte| byte.is_ascii_graphic() && **byte != b':').copied().collect();
    if name.is_empty() { b"X".to_vec() } else { name }
}

/// Turns arbitrary bytes into the value of a header, folded at line breaks.
pub(crate) fn header_value(bytes: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split(|byte| b"\r\n".contains(byte)).collect();
    lines.join(&b"\n "[..])
}
