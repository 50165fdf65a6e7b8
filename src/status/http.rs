//! As much of HTTP/1.1 as a status page needs: a request without a body, a response, and the end of the connection.

use httparse::{EMPTY_HEADER, Error, Status};

/// The longest head of a request, in bytes.
pub(super) const MOST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 64;

/// A request that can be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request<'a> {
    /// Without a query.
    pub(super) path: &'a str,
    /// Whom the client meant to ask, without the port; absent in HTTP/1.0.
    pub(super) host: Option<&'a str>,
    /// The body is left out.
    pub(super) head_only: bool,
}

/// What has come of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parsed<'a> {
    Incomplete,
    Complete(Request<'a>),
    /// This is the answer.
    Refused(Code),
}

/// A response's status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    Misdirected,
    TooLarge,
    Internal,
    Unavailable,
}

impl Code {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Misdirected => "421 Misdirected Request",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Internal => "500 Internal Server Error",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Reads the head of a request. Whatever follows it is nobody's.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Partial) if bytes.len() < MOST_HEAD => return Parsed::Incomplete,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => return Parsed::Refused(Code::TooLarge),
        Err(_) => return Parsed::Refused(Code::BadRequest),
        Ok(Status::Complete(_)) => (),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Parsed::Refused(Code::BadRequest);
    };
    if !matches!(method, "GET" | "HEAD") {
        return Parsed::Refused(Code::MethodNotAllowed);
    }
    let mut hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let host = match (hosts.next(), hosts.next(), request.version) {
        (Some(host), None, _) => Some(host.value),
        (None, _, Some(0)) => None,
        _ => return Parsed::Refused(Code::BadRequest),
    };
    let host = match host.map(std::str::from_utf8).transpose() {
        Ok(host) => host.map(without_port),
        Err(_) => return Parsed::Refused(Code::BadRequest),
    };
    Parsed::Complete(Request { path: path(target), host, head_only: method == "HEAD" })
}

/// `/a?b` and `http://host/a?b` are `/a`.
fn path(target: &str) -> &str {
    let behind_scheme = target.strip_prefix("http://");
    let target = behind_scheme.map_or(target, |rest| rest.find('/').map_or("/", |slash| &rest[slash..]));
    target.split('?').next().unwrap_or_default()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What goes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Response {
    pub(super) code: Code,
    pub(super) content_type: &'static str,
    /// What the page may do; nothing else needs a say.
    pub(super) policy: Option<String>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn new(code: Code, content_type: &'static str, body: String) -> Self {
        Self { code, content_type, policy: None, body }
    }

    /// One line of text.
    pub(super) fn text(code: Code, line: &str) -> Self {
        Self::new(code, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// An answer that says no more than its code.
    pub(super) fn bare(code: Code) -> Self {
        Self::text(code, code.line())
    }

    /// The bytes to send; `date` is that of now, as HTTP writes it.
    pub(super) fn to_bytes(&self, date: &str, head_only: bool) -> Vec<u8> {
        let Self { code, content_type, policy, body } = self;
        let mut head = format!(
            "HTTP/1.1 {}\r\nDate: {date}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n",
            code.line(),
            body.len()
        );
        if *code == Code::MethodNotAllowed {
            head += "Allow: GET, HEAD\r\n";
        }
        if let Some(policy) = policy {
            head += &format!("Content-Security-Policy: {policy}\r\n");
        }
        head += "\r\n";
        if !head_only {
            head += body;
        }
        head.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complete<'a>(path: &'a str, host: &'a str) -> Parsed<'a> {
        Parsed::Complete(Request { path, host: Some(host), head_only: false })
    }

    #[test]
    fn requests_are_taken_as_http_says() {
        let head_only = Request { path: "/", host: Some("a"), head_only: true };
        for (bytes, expected) in [
            ("", Parsed::Incomplete),
            ("GET / HTTP/1.1\r\nHost: a\r\n", Parsed::Incomplete),
            ("GET /metrics?x=1 HTTP/1.1\r\nHost: a:80\r\n\r\n", complete("/metrics", "a")),
            ("GET http://b:1/x?y HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", complete("/x", "[::1]")),
            ("GET http://b HTTP/1.1\r\nHost: [::1]\r\n\r\n", complete("/", "[::1]")),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Parsed::Complete(head_only)),
            ("GET / HTTP/1.0\r\n\r\n", Parsed::Complete(Request { path: "/", host: None, head_only: false })),
            ("GET / HTTP/1.1\r\n\r\n", Parsed::Refused(Code::BadRequest)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Parsed::Refused(Code::BadRequest)),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Parsed::Refused(Code::MethodNotAllowed)),
            ("\u{16}\u{3}\u{1}\u{2}", Parsed::Refused(Code::BadRequest)),
            ("GET / HTTP/2.0\r\n\r\n", Parsed::Refused(Code::BadRequest)),
        ] {
            assert_eq!(parse(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_has_an_end() {
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(MOST_HEAD));
        assert_eq!(parse(long.as_bytes()), Parsed::Refused(Code::TooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(parse(many.as_bytes()), Parsed::Refused(Code::TooLarge));
    }

    proptest! {
        /// Bytes that a stranger sends never panic, and a head that is complete is judged.
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let head = [b"GET /", &bytes[..], b" HTTP/1.1\r\nHost: ", &bytes[..], b"\r\n\r\n"].concat();
            prop_assert_ne!(parse(&head), Parsed::Incomplete);
        }
    }

    #[test]
    fn a_head_request_gets_the_length_of_the_body_it_does_not_get() {
        let response = Response::text(Code::Ok, "fine");
        let text = |head_only| String::from_utf8(response.to_bytes("now", head_only)).unwrap();
        assert!(text(false).ends_with("\r\n\r\nfine\n"));
        assert!(text(true).ends_with("\r\n\r\n") && text(true).contains("Content-Length: 5\r\n"));
    }
}
