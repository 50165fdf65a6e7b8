//! The part of HTTP/1.1 that a status page needs: a request without a body, a response, the end of the connection.

use httparse::{EMPTY_HEADER, Error, Status};

/// The longest head of a request, in bytes.
pub(super) const MOST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 64;

/// A complete request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HttpRequest<'a> {
    /// The path without the query.
    pub(super) path: &'a str,
    /// The host that the client asks, without the port; absent in HTTP/1.0.
    pub(super) host: Option<&'a str>,
    /// The response has no body.
    pub(super) head_only: bool,
}

/// The received part of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parsed<'a> {
    Incomplete,
    Complete(HttpRequest<'a>),
    /// The request cannot be served; its response has this status.
    Refused(StatusCode),
}

/// The status of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StatusCode {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    Misdirected,
    TooLarge,
    Internal,
    Unavailable,
}

impl StatusCode {
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

/// Parses the head of a request; bytes after it are ignored.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Partial) if bytes.len() < MOST_HEAD => return Parsed::Incomplete,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => return Parsed::Refused(StatusCode::TooLarge),
        Err(_) => return Parsed::Refused(StatusCode::BadRequest),
        Ok(Status::Complete(_)) => (),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Parsed::Refused(StatusCode::BadRequest);
    };
    if !matches!(method, "GET" | "HEAD") {
        return Parsed::Refused(StatusCode::MethodNotAllowed);
    }
    let mut hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let host = match (hosts.next(), hosts.next(), request.version) {
        (Some(host), None, _) => Some(host.value),
        (None, _, Some(0)) => None,
        _ => return Parsed::Refused(StatusCode::BadRequest),
    };
    let host = match host.map(std::str::from_utf8).transpose() {
        Ok(host) => host.map(without_port),
        Err(_) => return Parsed::Refused(StatusCode::BadRequest),
    };
    Parsed::Complete(HttpRequest { path: path(target), host, head_only: method == "HEAD" })
}

/// Returns the path of a request's target: `/a` for `/a?b` and `http://host/a?b`.
fn path(target: &str) -> &str {
    let behind_scheme = target.strip_prefix("http://");
    let target = behind_scheme.map_or(target, |rest| rest.find('/').map_or("/", |slash| &rest[slash..]));
    target.split_once('?').map_or(target, |(path, _)| path)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HttpResponse {
    pub(super) code: StatusCode,
    pub(super) content_type: &'static str,
    /// The content security policy of a page.
    pub(super) policy: Option<String>,
    pub(super) body: String,
}

impl HttpResponse {
    pub(super) fn new(code: StatusCode, content_type: &'static str, body: String) -> Self {
        Self { code, content_type, policy: None, body }
    }

    /// Returns a response of one line of text.
    pub(super) fn text(code: StatusCode, line: &str) -> Self {
        Self::new(code, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// Returns a response that repeats its status as text.
    pub(super) fn bare(code: StatusCode) -> Self {
        Self::text(code, code.line())
    }

    /// Returns the bytes to send. `date` is the current time in the form of HTTP, if the clock tells it.
    pub(super) fn to_bytes(&self, date: Option<&str>, head_only: bool) -> Vec<u8> {
        let Self { code, content_type, policy, body } = self;
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n",
            code.line(),
            body.len()
        );
        if let Some(date) = date {
            head += &format!("Date: {date}\r\n");
        }
        if *code == StatusCode::MethodNotAllowed {
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
        Parsed::Complete(HttpRequest { path, host: Some(host), head_only: false })
    }

    #[test]
    fn requests_are_parsed_as_http_says() {
        let head_only = HttpRequest { path: "/", host: Some("a"), head_only: true };
        for (bytes, expected) in [
            ("", Parsed::Incomplete),
            ("GET / HTTP/1.1\r\nHost: a\r\n", Parsed::Incomplete),
            ("GET /metrics?x=1 HTTP/1.1\r\nHost: a:80\r\n\r\n", complete("/metrics", "a")),
            ("GET http://b:1/x?y HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", complete("/x", "[::1]")),
            ("GET http://b HTTP/1.1\r\nHost: [::1]\r\n\r\n", complete("/", "[::1]")),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Parsed::Complete(head_only)),
            (
                "GET / HTTP/1.0\r\n\r\n",
                Parsed::Complete(HttpRequest { path: "/", host: None, head_only: false }),
            ),
            ("GET / HTTP/1.1\r\n\r\n", Parsed::Refused(StatusCode::BadRequest)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Parsed::Refused(StatusCode::BadRequest)),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Parsed::Refused(StatusCode::MethodNotAllowed)),
            ("\u{16}\u{3}\u{1}\u{2}", Parsed::Refused(StatusCode::BadRequest)),
            ("GET / HTTP/2.0\r\n\r\n", Parsed::Refused(StatusCode::BadRequest)),
        ] {
            assert_eq!(parse(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_that_is_too_long_is_refused() {
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(MOST_HEAD));
        assert_eq!(parse(long.as_bytes()), Parsed::Refused(StatusCode::TooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(parse(many.as_bytes()), Parsed::Refused(StatusCode::TooLarge));
    }

    proptest! {
        /// No bytes of a client panic, and a complete head is never incomplete.
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let head = [b"GET /", &bytes[..], b" HTTP/1.1\r\nHost: ", &bytes[..], b"\r\n\r\n"].concat();
            prop_assert_ne!(parse(&head), Parsed::Incomplete);
        }
    }

    #[test]
    fn a_head_request_gets_the_length_of_the_body_but_no_body() {
        let response = HttpResponse::text(StatusCode::Ok, "fine");
        let text = |head_only| String::from_utf8(response.to_bytes(Some("now"), head_only)).unwrap();
        assert!(text(false).ends_with("\r\n\r\nfine\n"));
        assert!(text(true).ends_with("\r\n\r\n") && text(true).contains("Content-Length: 5\r\n"));
    }
}
