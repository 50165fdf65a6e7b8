//! The named differences as changes of Python's reply.

use std::iter;

use pyzord_core::{
    self as core, Digest, HashedKey, MAX_REQUEST, Operation, Request, UnixTime, lines, verify,
};

use crate::differences::Coverage;
use crate::exchange::{FIELDS, Reply};
use crate::generate::{STORED, ServerFiles, of_kind, stored};

/// A request, and the configuration of the two servers.
pub(crate) struct RequestCase<'a> {
    pub(crate) datagram: &'a [u8],
    pub(crate) files: &'a ServerFiles,
    /// The policy of the core for these files.
    pub(crate) rights: &'a core::Policy,
    pub(crate) now: i64,
    /// The request as the core parses it; of a longer datagram, the whole lines within the limit.
    pub(crate) request: Option<Request<'a>>,
}

impl<'a> RequestCase<'a> {
    pub(crate) fn new(
        datagram: &'a [u8],
        files: &'a ServerFiles,
        rights: &'a core::Policy,
        now: i64,
    ) -> Self {
        Self { datagram, files, rights, now, request: readable(datagram) }
    }

    /// Predicts the reply of this server, before truncation, from Python's reply and log lines.
    pub(crate) fn predicted(
        &self,
        python: Option<Reply>,
        log: &[String],
        coverage: &mut Coverage,
    ) -> Option<Reply> {
        let Some(request) = &self.request else {
            coverage.hit("request-without-op");
            return None;
        };
        let mut reply = python.or_else(|| unsent(request, log))?;
        for (name, change) in RULES {
            let before = reply.clone();
            change(self, request, &mut reply);
            if before != reply {
                coverage.hit(name);
            }
        }
        Some(reply)
    }

    /// Truncates the text of a refusal that exceeds three times the size of the request.
    pub(crate) fn cut(&self, reply: &mut Reply, coverage: &mut Coverage) {
        if reply.code != 200 && reply.len() + 28 > (self.datagram.len() + 28) * 3 {
            reply.diag = reply.diag.split(':').next().unwrap().to_owned();
            coverage.hit("reply-size");
        }
    }

    fn account(&self, request: &Request<'_>) -> Option<&(&str, &str)> {
        self.files.users.iter().find(|(user, _)| user.as_bytes() == request.user)
    }

    fn signed(&self, request: &Request<'_>) -> bool {
        self.account(request).is_some_and(|(user, key)| {
            let key = HashedKey::new(user.as_bytes(), key.as_bytes());
            verify(request, &key, UnixTime::from_seconds(self.now)).is_ok()
        })
    }
}

/// Returns the names of the differences that requests can hit.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name).chain(["request-without-op", "reply-size"])
}

type Change = fn(&RequestCase<'_>, &Request<'_>, &mut Reply);

const FORBIDDEN: &str = "Forbidden: User is not authorized to request the operation.";

/// The differences in the order in which a server checks them.
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

fn too_long(case: &RequestCase<'_>, _: &Request<'_>, reply: &mut Reply) {
    if case.datagram.len() > MAX_REQUEST {
        reply.refuse(400, "Bad request: Request is longer than 8192 bytes");
    }
}

fn raised(reply: &Reply, words: &str) -> bool {
    reply.code == 500
        && reply.diag.strip_prefix("Internal Server Error: ").is_some_and(|text| text.starts_with(words))
}

fn time_form(case: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    if case.account(request).is_none() {
        return;
    }
    let is_number =
        request.time.and_then(|time| str::from_utf8(time).ok()?.trim().parse::<i128>().ok()).is_some();
    if !is_number && (raised(reply, "int() argument must be") || raised(reply, "invalid literal for int()")) {
        reply.refuse(401, "Unauthorized: Signature Error: Invalid signature.");
    }
}

fn signed_oddities(case: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    let refused = raised(reply, "folded header contains newline")
        || raised(reply, "header value appears to contain an embedded header");
    let invalid = reply.code == 401 && reply.diag.ends_with("Invalid signature.");
    if (refused || invalid) && case.signed(request) {
        let allowed = Operation::parse(request.op).is_some_and(|op| case.rights.allows(request.user, op));
        if allowed {
            *reply = uncounted(request, reply.thread.clone());
        } else {
            reply.refuse(403, FORBIDDEN);
        }
    } else if refused {
        reply.refuse(401, "Unauthorized: Signature Error: Invalid signature.");
    }
}

fn version_infinite(_: &RequestCase<'_>, _: &Request<'_>, reply: &mut Reply) {
    if raised(reply, "cannot convert float infinity to integer") {
        reply.refuse(400, "Bad request: Invalid Protocol Version");
    }
}

/// Python's `int` and `float` accept underscores between digits, and strip the white space of `str`.
fn number_form(case: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    let is_pythons = |byte: &u8| matches!(byte, b'_' | 0x0b | 0x1c..=0x1f);
    let is_odd = |value: Option<&[u8]>| value.is_some_and(|value| value.iter().any(is_pythons));
    if is_odd(request.time) && case.account(request).is_some() {
        reply.refuse(401, "Unauthorized: Signature Error: Invalid signature.");
    } else if is_odd(request.version) && !matches!(reply.code, 400 | 401) {
        reply.refuse(400, "Bad request: Invalid Protocol Version");
    }
}

fn not_ascii(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    let odd = |value: &[u8]| !value.is_ascii();
    if raised(reply, "float() argument must be") {
        reply.refuse(400, "Bad request: Invalid Protocol Version");
    } else if raised(reply, "unhashable type: 'Header'") && odd(request.user) {
        reply.refuse(401, "Unauthorized: Signature Error: Unknown user.");
    } else if raised(reply, "unhashable type: 'Header'") && odd(request.op) {
        reply.refuse(403, FORBIDDEN);
    }
}

fn digest_form(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    let odd = |text: &[u8]| Digest::parse(text).is_none();
    if matches!(reply.code, 200 | 500) && request.digests().any(odd) {
        reply.refuse(400, "Bad request: Digest is not 40 hexadecimal digits");
    }
}

fn no_digest(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    let needs_digest =
        Operation::parse(request.op).is_some_and(|operation: Operation| operation.store_op().is_some());
    if reply.code == 200 && needs_digest && request.digests().next().is_none() {
        reply.refuse(400, "Bad request: Digest not specified in request");
    }
}

fn pong_without_digest(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    if reply.code == 200 && request.op == b"pong" && request.digests().next().is_none() {
        reply.fields = vec![("Count".into(), i64::MAX.cast_unsigned()), ("WL-Count".into(), 0)];
    }
}

fn unreadable_record(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    let unreadable = |text: &[u8]| of_kind("unreadable").any(|number| stored(number).as_bytes() == text);
    if reply.code == 500 && request.digests().any(unreadable) {
        reply.refuse(500, "Internal Server Error: The record of this digest is unreadable.");
    }
}

fn oldest_record(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    let oldest =
        of_kind("oldest").find(|number| request.digests().any(|text| stored(*number).as_bytes() == text));
    if let (Some(number), true) = (oldest, raised(reply, "'int' object has no attribute 'timetuple'")) {
        let parts: Vec<u64> = STORED[number].1.split(',').map(|part| part.parse().unwrap()).collect();
        let values = [parts[1], parts[2], 0, 0, parts[0], 0];
        let fields = FIELDS.into_iter().map(str::to_owned).zip(values).collect();
        *reply = Reply { code: 200, diag: "OK".into(), thread: reply.thread.clone(), fields };
    }
}

fn no_thread(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
    if request.thread.is_none() && reply.thread.as_deref() == Some(b"") {
        reply.thread = None;
    }
}

/// Python's `email` encodes text that is not ASCII, breaks lines as `str.splitlines`, and removes a blank before a line
/// break.
fn odd_thread(_: &RequestCase<'_>, request: &Request<'_>, reply: &mut Reply) {
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

/// Returns the request of a datagram, unless this server does not answer it.
pub(crate) fn readable(datagram: &[u8]) -> Option<Request<'_>> {
    let readable = if datagram.len() > MAX_REQUEST {
        let end = datagram[..MAX_REQUEST].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        &datagram[..end]
    } else {
        datagram
    };
    Request::parse(readable)
}

/// Returns the reply that Python logged and then failed to send, because `email` refuses an unusual `Thread`. Such
/// requests have digests without a count.
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

/// Returns the reply to a request for a digest without a count.
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
