use pyzord_core::{ANONYMOUS, Request, lines};

use crate::email;

/// A request is its headers by name: case is ignored, the first of several equal names counts, and a datagram
/// without `Op` is not a request.
pub fn request(datagram: &[u8]) {
    let headers = email::headers(datagram);
    let all = |name: &'static str| {
        let named = move |(found, _): &&email::Field| found.eq_ignore_ascii_case(name.as_bytes());
        headers.iter().filter(named).map(|(_, value)| value.clone())
    };
    let first = |name| all(name).next();
    let Some(request) = Request::parse(datagram) else { return assert_eq!(first("Op"), None) };
    for (field, name) in [
        (Some(request.op), "Op"),
        (request.thread, "Thread"),
        (request.version, "PV"),
        (request.time, "Time"),
        (request.signature, "Sig"),
    ] {
        assert_eq!(field.map(value), first(name), "{name}");
    }
    let user = first("User").filter(|user| *user != [b""]);
    assert_eq!(value(request.user), user.unwrap_or_else(|| vec![ANONYMOUS.to_vec()]));
    assert!(request.digests().map(value).eq(all("Op-Digest")));
}

fn value(value: &[u8]) -> Vec<Vec<u8>> {
    lines(value).map(<[u8]>::to_vec).collect()
}
