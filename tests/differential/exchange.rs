//! Exchanges with a server: requests and replies, in order.

use std::ops::Range;

use crate::harness::Client;

/// Bytes of requests in flight: less than the receive buffer of any system holds.
const WINDOW_BYTES: usize = 40_000;
const WINDOW: usize = 16;

/// A longer datagram is executed apart, so that small ones do not wait for it. Its own marker is as long, and no other is
/// in flight with it.
pub(crate) const LONG: usize = 384;

/// A ping after each request. Its reply shows that the request before it was processed, and its digest marks the
/// position in the usage log.
#[derive(Clone, Debug)]
pub(crate) struct Marker {
    pub(crate) datagram: Vec<u8>,
    pub(crate) reply: Vec<u8>,
    /// For a long request, a ping after the marker, and its reply: the thread that executes long requests has logged the
    /// marker when it answers the next one.
    pub(crate) flush: Option<(Vec<u8>, Vec<u8>)>,
}

impl Marker {
    /// The number of the marker before all requests. Replies before it belong to the start of the server.
    pub(crate) const OPENING: usize = usize::MAX;

    pub(crate) fn digest(number: usize) -> String {
        format!("ffffffff{number:032x}")
    }

    /// The digest of every ping behind a marker.
    pub(crate) const FLUSH: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

    /// Returns the reply to a ping with this `Thread`.
    pub(crate) fn pong(thread: &str) -> Vec<u8> {
        format!("Code: 200\nDiag: OK\nPV: 2.1\nThread: {thread}\n\n").into_bytes()
    }
}

/// Sends each request and its marker, and returns the reply to each request; `None` if there is none.
///
/// The server must answer in the order of the requests, as a single thread or worker does.
pub(crate) fn converse(client: &Client, cases: &[(Vec<u8>, Marker)]) -> Vec<Option<Vec<u8>>> {
    let mut replies = Vec::new();
    for window in windows(cases) {
        let window = &cases[window];
        for (request, marker) in window {
            client.send(request);
            client.send(&marker.datagram);
        }
        for (request, marker) in window {
            let mut reply = None;
            loop {
                let received = client.receive_bytes();
                if received == marker.reply {
                    break;
                }
                let earlier = reply.replace(received);
                assert_eq!(earlier, None, "two replies to {}", request.escape_ascii());
            }
            if let Some((ping, pong)) = &marker.flush {
                client.send(ping);
                assert_eq!(client.receive_bytes(), *pong);
            }
            replies.push(reply);
        }
    }
    replies
}

/// Sends each request, receives its reply, and then sends its marker, since a server that reads beside its writers answers
/// a ping before an earlier report. `expected` is whether a reply must be waited for.
#[cfg(feature = "sqlite")]
pub(crate) fn converse_in_turn(
    client: &Client,
    cases: &[(Vec<u8>, Marker)],
    expected: &[bool],
) -> Vec<Option<Vec<u8>>> {
    let answer = |((request, marker), is_expected): (&(Vec<u8>, Marker), &bool)| {
        client.send(request);
        let reply = is_expected.then(|| client.receive_bytes());
        client.send(&marker.datagram);
        let reply = match client.receive_bytes() {
            received if received == marker.reply => return reply,
            received => {
                assert_eq!(reply, None, "two replies to {}", request.escape_ascii());
                Some(received)
            }
        };
        assert_eq!(client.receive_bytes(), marker.reply);
        reply
    };
    cases.iter().zip(expected).map(answer).collect()
}

/// Sends the opening marker, and discards all replies before that of the marker.
pub(crate) fn open(client: &Client, marker: &Marker) {
    client.send(&marker.datagram);
    let mut last = None;
    loop {
        match client.receive_within(20_000) {
            Some(reply) if reply.as_bytes() == marker.reply => return,
            Some(reply) => last = Some(reply),
            None => panic!(
                "{} does not answer {}; its last reply is {last:?}",
                client.server(),
                marker.datagram.escape_ascii()
            ),
        }
    }
}

/// Divides the cases into ranges that fit into a window, a long request alone.
fn windows(cases: &[(Vec<u8>, Marker)]) -> Vec<Range<usize>> {
    let (mut windows, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, (request, _)) in cases.iter().enumerate() {
        let apart = request.len() > LONG || index > 0 && cases[index - 1].0.len() > LONG;
        if index > start && (apart || bytes + request.len() > WINDOW_BYTES || index - start == WINDOW) {
            windows.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += request.len();
    }
    windows.push(start..cases.len());
    windows
}

/// A parsed reply. The parts are kept unchanged, so two equal replies are equal in all bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) diag: String,
    /// The value of `Thread`, with its line breaks.
    pub(crate) thread: Option<Vec<u8>>,
    pub(crate) fields: Vec<(String, u64)>,
}

/// The headers after `Thread`: `info` has all of them, `check` and `pong` the last two.
pub(crate) const FIELDS: [&str; 6] = ["Entered", "Updated", "WL-Entered", "WL-Updated", "Count", "WL-Count"];

impl Reply {
    /// Parses a reply of either server; panics if it has another form.
    pub(crate) fn parse(datagram: &[u8]) -> Self {
        let malformed = || -> ! { panic!("a reply of an unknown form: {}", datagram.escape_ascii()) };
        let Some(mut rest) = datagram.strip_suffix(b"\n\n") else { malformed() };
        let mut fields = Vec::new();
        while let Some((before, field)) =
            last_line(rest).and_then(|(before, line)| Some((before, field(line)?)))
        {
            fields.insert(0, field);
            rest = before;
        }
        let mut parts = rest.splitn(4, |byte| *byte == b'\n');
        let mut next = |name: &str| parts.next().and_then(|line| line.strip_prefix(name.as_bytes()));
        let (Some(code), Some(diag), Some(b"2.1")) = (next("Code: "), next("Diag: "), next("PV: ")) else {
            malformed()
        };
        let thread =
            parts.next().map(|line| line.strip_prefix(b"Thread: ").unwrap_or_else(|| malformed()).to_vec());
        let code = str::from_utf8(code).unwrap().parse().unwrap();
        Self { code, diag: String::from_utf8(diag.to_vec()).unwrap(), thread, fields }
    }

    /// Makes the reply a refusal.
    pub(crate) fn refuse(&mut self, code: u16, diag: &str) {
        (self.code, self.diag) = (code, diag.to_owned());
        self.fields.clear();
    }

    /// Returns its size in bytes.
    pub(crate) fn len(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| format!("{name}: {value}\n").len()).sum();
        let thread = self.thread.as_ref().map_or(0, |thread| "Thread: \n".len() + thread.len());
        format!("Code: {}\nDiag: {}\nPV: 2.1\n\n", self.code, self.diag).len() + thread + fields
    }
}

fn last_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().rposition(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

fn field(line: &[u8]) -> Option<(String, u64)> {
    let (name, value) = str::from_utf8(line).ok()?.split_once(": ")?;
    Some((FIELDS.contains(&name).then(|| name.to_owned())?, value.parse().ok()?))
}
