//! What the named differences make of Python's reply.

use std::iter;

use pyzord_core::{
    self as core, Digest, HashedKey, MAX_REQUEST, Operation, Request, UnixTime, lines, verify,
};

use crate::differences::Met;
use crate::exchange::{FIELDS, Reply};
use crate::generate::{Policy, STORED, of_kind, stored};

/// One request, and what is known about the two servers that got it.
pub(crate) struct Exchange<'a> {
    pub(crate) datagram: &'a [u8],
    pub(crate) policy: &'a Policy,
    /// The same policy as the core reads it.
    pub(crate) rights: &'a core::Policy,
    pub(crate) now: i64,
    /// The request as the core reads it; of one that is too long, the lines that fit.
    pub(crate) request: Option<Request<'a>>,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(datagram: &'a [u8], policy: &'a Policy, rights: &'a core::Policy, now: i64) -> Self {
        let readable = if datagram.len() > MAX_REQUEST {
            let end = datagram[..MAX_REQUEST].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            &datagram[..end]
        } else {
            datagram
        };
        Self { datagram, policy, rights, now, request: Request::parse(readable) }
    }

    /// What ours must answer where Python answered and logged this, but for the size of the reply.
    pub(crate) fn promised(&self, python: Option<Reply>, log: &[String], met: &mut Met) -> Option<Reply> {
        let Some(request) = &self.request else {
            met.meet("request-without-op");
            return None;
        };
        let mut reply = python.or_else(|| unsent(request, log))?;
        for (name, change) in RULES {
            let before = reply.clone();
            change(self, request, &mut reply);
            if before != reply {
                met.meet(name);
            }
        }
        Some(reply)
    }

    /// Cuts the words of a refusal whose whole text would weigh more than three times the request.
    pub(crate) fn cut(&self, reply: &mut Reply, met: &mut Met) {
        if reply.code != 200 && reply.len() + 28 > (self.datagram.len() + 28) * 3 {
            reply.diag = reply.diag.split(':').next().unwrap().to_owned();
            met.meet("reply-size");
        }
    }

    fn account(&self, request: &Request<'_>) -> Option<&(&str, &str)> {
        self.policy.users.iter().find(|(user, _)| user.as_bytes() == request.user)
    }

    fn signed(&self, request: &Request<'_>) -> bool {
        self.account(request).is_some_and(|(user, key)| {
            let key = HashedKey::new(user.as_bytes(), key.as_bytes());
            verify(request, &key, UnixTime::from_seconds(self.now)).is_ok()
        })
    }
}

/// The names of the differences that requests can meet.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name).chain(["request-without-op", "reply-size"])
}

type Change = fn(&Exchange<'_>, &Request<'_>, &mut Reply);

const FORBIDDEN: &str = "Forbidden: User is not authorized to request the operation.";

/// In the order in which a server comes upon them.
const RULES: &[(&str, Change)] = &[
    ("request-length", too_long),
    ("time-form", time_form),
    ("signed-oddities", signed_oddities),
    ("version-infinite", version_infinite),
    ("number-form", number_form),
    ("not-ascii", not_ascii),
    ("digest-form", digest_form),
    ("no-digest", no_digest),
    ("pong-without-digest", pong_without_digest),
    ("unreadable-record", unreadable_record),
    ("oldest-record", oldest_record),
    ("no-thread", no_thread),
    ("odd-thread", odd_thread),
];

fn too_long(exchange: &Exchange<'_>, _: &Request<'_>, reply: &mut Reply) {
    if exchange.datagram.len() > MAX_REQUEST {
        reply.refuse(400, "Bad request: Request is longer than 8192 bytes");
    }
}

fn raised(reply: &Reply, words: &str) -> bool {
    reply.code == 500
        && reply.diag.strip_prefix("Internal Server Error: ").is_some_and(|text| text.starts_with(words))
}

fn time_form(exchange: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    if exchange.account(request).is_none() {
        return;
    }
    let is_number =
        request.time.and_then(|time| str::from_utf8(time).ok()?.trim().parse::<i128>().ok()).is_some();
    if !is_number && (raised(reply, "int() argument must be") || raised(reply, "invalid literal for int()")) {
        reply.refuse(401, "Unauthorized: Signature Error: Invalid signature.");
    }
}

fn signed_oddities(exchange: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    let refused = raised(reply, "folded header contains newline")
        || raised(reply, "header value appears to contain an embedded header");
    let invalid = reply.code == 401 && reply.diag.ends_with("Invalid signature.");
    if (refused || invalid) && exchange.signed(request) {
        let allowed = Operation::parse(request.op).is_some_and(|op| exchange.rights.allows(request.user, op));
        if allowed {
            *reply = uncounted(request, reply.thread.clone());
        } else {
            reply.refuse(403, FORBIDDEN);
        }
    } else if refused {
        reply.refuse(401, "Unauthorized: Signature Error: Invalid signature.");
    }
}

fn version_infinite(_: &Exchange<'_>, _: &Request<'_>, reply: &mut Reply) {
    if raised(reply, "cannot convert float infinity to integer") {
        reply.refuse(400, "Bad request: Invalid Protocol Version");
    }
}

/// `int` and `float` read digits as Python's source code has them, and strip what `str` takes for blanks.
fn number_form(exchange: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    let is_pythons = |byte: &u8| matches!(byte, b'_' | 0x0b | 0x1c..=0x1f);
    let is_odd = |value: Option<&[u8]>| value.is_some_and(|value| value.iter().any(is_pythons));
    if is_odd(request.time) && exchange.account(request).is_some() {
        reply.refuse(401, "Unauthorized: Signature Error: Invalid signature.");
    } else if is_odd(request.version) && !matches!(reply.code, 400 | 401) {
        reply.refuse(400, "Bad request: Invalid Protocol Version");
    }
}

fn not_ascii(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    let odd = |value: &[u8]| !value.is_ascii();
    if raised(reply, "float() argument must be") {
        reply.refuse(400, "Bad request: Invalid Protocol Version");
    } else if raised(reply, "unhashable type: 'Header'") && odd(request.user) {
        reply.refuse(401, "Unauthorized: Signature Error: Unknown user.");
    } else if raised(reply, "unhashable type: 'Header'") && odd(request.op) {
        reply.refuse(403, FORBIDDEN);
    }
}

fn digest_form(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    let odd = |text: &[u8]| Digest::parse(text).is_none();
    if matches!(reply.code, 200 | 500) && request.digests().any(odd) {
        reply.refuse(400, "Bad request: Digest is not 40 hexadecimal digits");
    }
}

fn no_digest(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    let needs_digest = Operation::parse(request.op).is_some_and(Operation::needs_digest);
    if reply.code == 200 && needs_digest && request.digests().next().is_none() {
        reply.refuse(400, "Bad request: Digest not specified in request");
    }
}

fn pong_without_digest(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    if reply.code == 200 && request.op == b"pong" && request.digests().next().is_none() {
        reply.fields = vec![("Count".into(), i64::MAX.cast_unsigned()), ("WL-Count".into(), 0)];
    }
}

fn unreadable_record(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    let unreadable = |text: &[u8]| of_kind("unreadable").any(|number| stored(number).as_bytes() == text);
    if reply.code == 500 && request.digests().any(unreadable) {
        reply.refuse(500, "Internal Server Error: The record of this digest is unreadable.");
    }
}

fn oldest_record(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    let oldest =
        of_kind("oldest").find(|number| request.digests().any(|text| stored(*number).as_bytes() == text));
    if let (Some(number), true) = (oldest, raised(reply, "'int' object has no attribute 'timetuple'")) {
        let parts: Vec<u64> = STORED[number].1.split(',').map(|part| part.parse().unwrap()).collect();
        let values = [parts[1], parts[2], 0, 0, parts[0], 0];
        let fields = FIELDS.into_iter().map(str::to_owned).zip(values).collect();
        *reply = Reply { code: 200, diag: "OK".into(), thread: reply.thread.clone(), fields };
    }
}

fn no_thread(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    if request.thread.is_none() && reply.thread.as_deref() == Some(b"") {
        reply.thread = None;
    }
}

/// Python's `email` encodes what is not ASCII, breaks lines where `str.splitlines` does, and drops a blank before
/// a line break.
fn odd_thread(_: &Exchange<'_>, request: &Request<'_>, reply: &mut Reply) {
    if let Some(thread) = request.thread.filter(|thread| is_odd(thread)) {
        reply.thread = Some(lines(thread).collect::<Vec<_>>().join(&b'\n'));
    }
}

fn is_odd(thread: &[u8]) -> bool {
    let breaks = |byte: &u8| !byte.is_ascii() || matches!(byte, 0x0b | 0x0c | 0x1c..=0x1e);
    let folded = lines(thread).count() > 1;
    thread.iter().any(breaks)
        || folded && lines(thread).any(|line| line.ends_with(b" ") || line.ends_with(b"\t"))
}

/// The reply that Python had ready and logged, where its `email` then refuses to write an odd `Thread`. Such requests
/// are made for digests that nobody has counted.
fn unsent(request: &Request<'_>, log: &[String]) -> Option<Reply> {
    request.thread.filter(|thread| is_odd(thread))?;
    let [line] = log else { return None };
    let thread = Some(b"?".to_vec());
    if let Some((code, diag)) = line.strip_prefix("ERROR ").and_then(|line| line.split_once(": ")) {
        return Some(Reply {
            code: code.parse().unwrap(),
            diag: diag.to_owned(),
            thread,
            fields: Vec::new(),
        });
    }
    Some(uncounted(request, thread))
}

/// The reply to a request about a digest that nobody has counted.
fn uncounted(request: &Request<'_>, thread: Option<Vec<u8>>) -> Reply {
    let (names, first): (&[&str], u64) = match (request.op, request.digests().next()) {
        (b"check", Some(_)) => (&FIELDS[4..], 0),
        (b"pong", Some(_)) => (&FIELDS[4..], i64::MAX.cast_unsigned()),
        (b"info", Some(_)) => (&FIELDS, 0),
        _ => (&[], 0),
    };
    let values = iter::once(first).chain(iter::repeat(0));
    let fields = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
    Reply { code: 200, diag: "OK".into(), thread, fields }
}
