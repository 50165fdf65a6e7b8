//! Replies, written.

use alloc::vec::Vec;

use crate::protocol::header::lines;
use crate::protocol::refusal::Refusal;
use crate::protocol::reply::{COPIES_ONCE, UNCOUNTED};
use crate::record::{Record, Tally};
use crate::time::UnixTime;

/// The IPv4 and UDP headers of a datagram, in bytes.
const WIRE_OVERHEAD: usize = 28;

/// The fields behind `200 OK`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Success {
    /// None: ping, report, whitelist.
    Bare,
    /// The counts: check and pong.
    Counts { reports: u64, whitelists: u64 },
    /// Dates and counts: info.
    Info(Record),
}

impl Success {
    /// The answer to a client's self-test: the largest count.
    pub(crate) const PONG: Self = Self::Counts { reports: Tally::MAX, whitelists: 0 };
}

pub(crate) type Outcome = Result<Success, Refusal>;

/// Returns the largest size of a reply to a request of `request` bytes: three times its weight on the wire.
///
/// A spoofed source address gains at most this factor. A short `Diag` always fits: the smallest request, `Op:`, leaves
/// 65 bytes, and each byte of `Thread` brings three.
pub(crate) const fn budget(request: usize) -> usize {
    (request + WIRE_OVERHEAD) * 3 - WIRE_OVERHEAD
}

/// What the reply to a forwarded request says to the server that forwards.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Assurance {
    /// Copies of a signed request count once.
    pub(crate) copies_once: bool,
    /// Nothing of the request was counted, or will be.
    pub(crate) uncounted: bool,
}

/// Appends a reply of at most `budget` bytes.
pub(crate) fn write_reply(
    out: &mut Vec<u8>,
    outcome: Outcome,
    thread: Option<&[u8]>,
    assurance: Assurance,
    budget: usize,
) {
    let start = out.len();
    match outcome {
        Ok(success) => {
            write_head(out, 200, "OK", thread);
            write_fields(out, success);
        }
        Err(refusal) => {
            write_head(out, refusal.code(), refusal.diag(), thread);
            if out.len() - start >= budget {
                out.truncate(start);
                write_head(out, refusal.code(), refusal.short_diag(), thread);
            }
        }
    }
    let Assurance { copies_once, uncounted } = assurance;
    for (name, value) in [(copies_once, COPIES_ONCE), (uncounted, UNCOUNTED)]
        .into_iter()
        .filter_map(|(said, header)| said.then_some(header))
    {
        // With `: `, the line feed, and the one that ends the reply.
        if out.len() - start + name.len() + value.len() + 4 <= budget {
            for part in [name, ": ", value, "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    out.push(b'\n');
}

fn write_head(out: &mut Vec<u8>, code: u16, diag: &str, thread: Option<&[u8]>) {
    // Perl clients match `PV: 2.1` as bytes, and `Thread` behind it.
    write_number(out, "Code: ", u64::from(code));
    for part in ["Diag: ", diag, "\nPV: 2.1\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let Some(thread) = thread else { return };
    out.extend_from_slice(b"Thread: ");
    for (index, line) in lines(thread).enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(line);
    }
    out.push(b'\n');
}

fn write_fields(out: &mut Vec<u8>, success: Success) {
    match success {
        Success::Bare => (),
        Success::Counts { reports, whitelists } => {
            write_number(out, "Count: ", reports);
            write_number(out, "WL-Count: ", whitelists);
        }
        Success::Info(Record { reports, whitelists }) => {
            write_time(out, "Entered: ", reports.entered);
            write_time(out, "Updated: ", reports.updated);
            write_time(out, "WL-Entered: ", whitelists.entered);
            write_time(out, "WL-Updated: ", whitelists.updated);
            write_number(out, "Count: ", reports.count);
            write_number(out, "WL-Count: ", whitelists.count);
        }
    }
}

/// Writes a time; 0 is never.
fn write_time(out: &mut Vec<u8>, name: &str, time: Option<UnixTime>) {
    write_number(out, name, time.map_or(0, UnixTime::seconds));
}

fn write_number(out: &mut Vec<u8>, name: &str, number: impl itoa::Integer) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::signature::BadSignature;
    use alloc::string::String;

    fn reply(outcome: Outcome, thread: Option<&[u8]>, request: usize) -> String {
        let mut out = Vec::new();
        write_reply(&mut out, outcome, thread, Assurance::default(), budget(request));
        assert!(out.len() <= budget(request), "{} bytes for {request}", out.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_are_the_reference_servers_bytes() {
        let tally = |count, seconds| Tally {
            count,
            entered: Some(UnixTime::from_seconds(seconds)),
            updated: Some(UnixTime::from_micros(seconds * 1_000_000 + 1_999_999)),
        };
        let info = Record { reports: tally(7, 1_700_000_000), whitelists: Tally::default() };
        let counts = Success::Counts { reports: 7, whitelists: 1 };
        for (outcome, expected) in [
            (Ok(Success::Bare), "Code: 200\nDiag: OK\nPV: 2.1\nThread: 5\n\n"),
            (Ok(counts), "Code: 200\nDiag: OK\nPV: 2.1\nThread: 5\nCount: 7\nWL-Count: 1\n\n"),
            (
                Ok(Success::PONG),
                "Code: 200\nDiag: OK\nPV: 2.1\nThread: 5\nCount: 9223372036854775807\nWL-Count: 0\n\n",
            ),
            (
                Ok(Success::Info(info)),
                "Code: 200\nDiag: OK\nPV: 2.1\nThread: 5\nEntered: 1700000000\nUpdated: 1700000001\n\
                 WL-Entered: 0\nWL-Updated: 0\nCount: 7\nWL-Count: 0\n\n",
            ),
            (Err(Refusal::Version), "Code: 505\nDiag: Version Not Supported: \nPV: 2.1\nThread: 5\n\n"),
        ] {
            assert_eq!(reply(outcome, Some(b"5"), 200), expected);
        }
        assert_eq!(reply(Ok(Success::Bare), None, 100), "Code: 200\nDiag: OK\nPV: 2.1\n\n");
    }

    #[test]
    fn a_folded_thread_is_echoed_folded() {
        let expected = "Code: 200\nDiag: OK\nPV: 2.1\nThread: 1\n 2\n\t3\n\n";
        assert_eq!(reply(Ok(Success::Bare), Some(b"1\n\n 2\r\n\t3"), 100), expected);
    }

    #[test]
    fn the_smallest_request_gets_a_short_diag() {
        assert_eq!(reply(Err(Refusal::NoVersion), None, 3), "Code: 400\nDiag: Bad request\nPV: 2.1\n\n");
        let refusals = [Refusal::Forbidden, Refusal::Signature(BadSignature::Timestamp), Refusal::Version];
        for refusal in refusals {
            reply(Err(refusal), None, 3);
            reply(Err(refusal), Some(b"12345"), 3 + 7 + 5);
        }
    }
}
