//! The protocol from the outside: bytes in, bytes out, against the table of codes and the memory store.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::OneRequest;
use pyzord_core::{
    AccessOrder, Batch, HashedKey, HeaderBlock, Ignored, MemoryStore, Now, Operation, Policy, Refusal, Store,
    StoreError, StoreFailure, Tick, UnixTime,
};

const NOW: i64 = 1_700_000_000;
const DIGEST: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
const OTHER: &str = "DA39A3EE5E6B4B0D3255BFEF95601890AFD80700";

fn now() -> Now {
    Now { wall: UnixTime::from_seconds(NOW), tick: Tick::default() }
}

fn policy() -> Policy {
    let access = b"all : anonymous bob : allow\nfrobnicate : anonymous : allow\nping : eve : allow";
    Policy::parse(Some(b"bob : abcdef\neve : 123456"), Some(access), AccessOrder::FirstMatch).0
}

/// The reply to a datagram; `None` when it is not answered.
fn ask(store: &mut MemoryStore, datagram: &[u8]) -> Option<String> {
    let request = OneRequest::accept(&policy(), datagram, now().wall).ok()?;
    let mut answers = Vec::new();
    store.execute(now(), request.calls(), &mut answers);
    let (out, _) = request.resolve(&answers);
    assert!(out.len() + 28 <= 3 * (datagram.len() + 28), "a reply of {} to {}", out.len(), datagram.len());
    Some(String::from_utf8(out).unwrap())
}

fn ok(fields: &str) -> String {
    format!("Code: 200\nDiag: OK\nPV: 2.1\nThread: 5\n{fields}\n")
}

fn request(op: &str, digests: &[&str]) -> String {
    let digests: String = digests.iter().map(|digest| format!("Op-Digest: {digest}\n")).collect();
    format!("Op: {op}\n{digests}Thread: 5\nPV: 2.1\n\n")
}

fn signed(user: &str, key: &str, time: i64, op: &str) -> String {
    let text = format!("Op: {op}\nThread: 5\nPV: 2.1\nUser: {user}\nTime: {time}\n");
    let signature =
        HashedKey::new(user.as_bytes(), key.as_bytes()).sign(HeaderBlock::new(text.as_bytes()), time);
    format!("{text}Sig: {}\n\n", String::from_utf8_lossy(&signature))
}

#[test]
fn each_operation_answers_with_its_fields() {
    let mut store = MemoryStore::new();
    let zero = "Entered: 0\nUpdated: 0\nWL-Entered: 0\nWL-Updated: 0\nCount: 0\nWL-Count: 0\n";
    let after = format!(
        "Entered: {NOW}\nUpdated: {NOW}\nWL-Entered: {NOW}\nWL-Updated: {NOW}\nCount: 3\nWL-Count: 1\n"
    );
    for (op, digests, fields) in [
        ("ping", &[][..], ""),
        ("ping", &[DIGEST], ""),
        ("pong", &[], "Count: 9223372036854775807\nWL-Count: 0\n"),
        ("pong", &[DIGEST], "Count: 9223372036854775807\nWL-Count: 0\n"),
        ("check", &[DIGEST], "Count: 0\nWL-Count: 0\n"),
        ("info", &[DIGEST], zero),
        ("report", &[DIGEST, DIGEST, OTHER], ""),
        ("report", &[DIGEST], ""),
        ("whitelist", &[DIGEST], ""),
        ("check", &[DIGEST, OTHER], "Count: 3\nWL-Count: 1\n"),
        ("check", &[&OTHER.to_lowercase(), DIGEST], "Count: 1\nWL-Count: 0\n"),
        ("info", &[DIGEST], &after),
    ] {
        assert_eq!(ask(&mut store, request(op, digests).as_bytes()), Some(ok(fields)), "{op} {digests:?}");
    }
    assert_eq!(store.records().count(), 2);
}

#[test]
fn refusals_have_the_reference_servers_codes_and_words() {
    let table = [
        (
            "Op: ping\nThread: 5\nX-Padding-For-The-Budget: 1\n",
            400,
            "Bad request: Protocol Version not specified in request",
        ),
        ("Op: ping\nThread: 5\nPV: two\n", 400, "Bad request: Invalid Protocol Version"),
        ("Op: ping\nThread: 5\nPV: nan\n", 400, "Bad request: Invalid Protocol Version"),
        ("Op: ping\nThread: 5\nPV: inf\n", 400, "Bad request: Invalid Protocol Version"),
        ("Op: ping\nThread: 5\nPV: 3.0\n", 505, "Version Not Supported: "),
        ("Op: ping\nThread: 5\nPV: 1.99\n", 505, "Version Not Supported: "),
        ("Op: ping\nThread: 5\nPV: -2\n", 505, "Version Not Supported: "),
        ("Op: ping\nThread: 5\nPV: 2.1\nUser: nobody\n", 401, "Unauthorized: Signature Error: Unknown user."),
        (
            "Op: ping\nThread: 5\nPV: 2.1\nUser: bob\n",
            401,
            "Unauthorized: Signature Error: Invalid signature.",
        ),
        (
            "Op: PING\nThread: 5\nPV: 2.1\nPad: 12345678901\n",
            403,
            "Forbidden: User is not authorized to request the operation.",
        ),
        (
            "Op: other\nThread: 5\nPV: 2.1\nPad: 12345678901\n",
            403,
            "Forbidden: User is not authorized to request the operation.",
        ),
        (
            "Op: frobnicate\nThread: 5\nPV: 2.1\nPad: 123456\n",
            501,
            "Not implemented: Requested operation is not implemented.",
        ),
        ("Op: check\nThread: 5\nPV: 2.1\nPad: 123456\n", 400, "Bad request: Digest not specified in request"),
        (
            "Op: report\nThread: 5\nPV: 2.1\nOp-Digest: 123\n",
            400,
            "Bad request: Digest is not 40 hexadecimal digits",
        ),
    ];
    for (datagram, code, diag) in table {
        let expected = format!("Code: {code}\nDiag: {diag}\nPV: 2.1\nThread: 5\n\n");
        assert_eq!(ask(&mut MemoryStore::new(), datagram.as_bytes()), Some(expected), "{datagram:?}");
    }
    for version in ["2", "2.0", "2.9", " 2.1 ", "2e0"] {
        let datagram = format!("Op: ping\nThread: 5\nPV: {version}\n");
        assert_eq!(ask(&mut MemoryStore::new(), datagram.as_bytes()), Some(ok("")), "{version}");
    }
}

#[test]
fn one_bad_digest_counts_nothing() {
    let mut store = MemoryStore::new();
    let reply = ask(&mut store, request("report", &[DIGEST, "spam", OTHER]).as_bytes()).unwrap();
    assert!(reply.starts_with("Code: 400\n"), "{reply}");
    assert_eq!(store.records().count(), 0);
}

#[test]
fn signed_requests_have_their_users_rights() {
    for (datagram, code) in [
        (signed("bob", "ABCDEF", NOW, "ping"), 200),
        (signed("bob", "abcdef", NOW - 300, "pong"), 200),
        (signed("bob", "abcdef", NOW - 301, "ping"), 401),
        (signed("bob", "abcdee", NOW, "ping"), 401),
        (signed("eve", "123456", NOW, "ping"), 200),
        (signed("eve", "123456", NOW, "pong"), 403),
        // The signature is looked at before the version: a forger learns nothing else.
        (signed("eve", "123450", NOW, "pong").replace("2.1", "9"), 401),
    ] {
        let reply = ask(&mut MemoryStore::new(), datagram.as_bytes()).unwrap();
        assert!(reply.starts_with(&format!("Code: {code}\n")), "{datagram}{reply}");
    }
}

/// Python cut a longer datagram and counted the digests of the part that it had read.
#[test]
fn a_datagram_over_8192_bytes_is_refused_whole() {
    let mut store = MemoryStore::new();
    let longest = format!("{}Pad: {}", request("report", &[DIGEST]).trim_end(), "");
    let padding = "x".repeat(8192 - longest.len() - 1);
    let fits = longest.replace("Pad: ", &format!("\nPad: {padding}"));
    assert_eq!(fits.len(), 8192);
    assert_eq!(ask(&mut store, fits.as_bytes()), Some(ok("")));
    let too_long = format!("{fits}x");
    let refused = "Code: 400\nDiag: Bad request: Request is longer than 8192 bytes\nPV: 2.1\nThread: 5\n\n";
    assert_eq!(ask(&mut store, too_long.as_bytes()).as_deref(), Some(refused));
    assert_eq!(store.records().next().unwrap().1.reports.count, 1);
    assert_eq!(ask(&mut store, &[b'x'; 60_000]), None);
}

/// Half a `Thread` would be no mark of the client's.
#[test]
fn of_a_datagram_that_is_cut_only_whole_lines_are_read() {
    let text = |thread: &str| format!("Op: ping\nPV: 2.1\nPad: {}\nThread: {thread}", "x".repeat(8150));
    let cut = ask(&mut MemoryStore::new(), text("123456789012345\n").as_bytes());
    let refused = "Code: 400\nDiag: Bad request: Request is longer than 8192 bytes\nPV: 2.1\n\n";
    assert_eq!(cut.as_deref(), Some(refused));
    let whole = ask(&mut MemoryStore::new(), text("1\nX: 123456789\n").as_bytes());
    assert_eq!(whole, Some(refused.replace("2.1\n\n", "2.1\nThread: 1\n\n")));
}

/// Operators read them in logs: a policy is printed without its keys, an error says what the client is told.
#[test]
fn what_is_printed_says_enough_and_no_key() {
    let key = HashedKey::new(b"bob", b"abcdef");
    assert_eq!(format!("{key:?}"), "HashedKey(..)");
    assert!(!format!("{:?}", policy()).contains("abcdef"));
    for error in [StoreError::Unavailable, StoreError::Unreadable, StoreError::NoPlace] {
        assert_eq!(Refusal::Store(error).diag(), format!("Internal Server Error: {error}"));
    }
    assert_eq!(StoreFailure::new("disk full").to_string(), "disk full");
    assert!(Operation::ALL.iter().all(|operation| operation.to_string() == operation.name()));
}

#[test]
fn what_is_no_request_is_ignored() {
    let server = common::server(&policy());
    let mut batch = Batch::new();
    let mut accept = |peer: &str, datagram: &[u8]| {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        batch.accept(&server, peer, datagram, now())
    };
    assert_eq!(accept("192.0.2.1:9", b""), Err(Ignored::NotARequest));
    assert_eq!(accept("192.0.2.1:9", ok("").as_bytes()), Err(Ignored::NotARequest));
    assert_eq!(accept("192.0.2.1:0", request("ping", &[]).as_bytes()), Err(Ignored::Unanswerable));
    assert!(batch.is_empty());
}
