//! What a server answers, and the one place where a cause becomes a code and words.

use alloc::vec::Vec;

use crate::decimal::Decimal;
use crate::header::lines;
use crate::record::{Record, Tally};
use crate::signature::BadSignature;
use crate::store::StoreError;
use crate::time::UnixTime;

/// IPv4 and UDP headers: what a datagram weighs on the wire beside its payload.
const WIRE_OVERHEAD: usize = 28;

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: more than [`MAX_REQUEST`](crate::MAX_REQUEST) bytes.
    TooLong,
    /// 400: no header `PV`.
    NoVersion,
    /// 400: `PV` is no number.
    BadVersion,
    /// 400: an `Op-Digest` is not 40 hex digits.
    BadDigest,
    /// 400: an operation on a digest came without one.
    NoDigest,
    /// 401: the request is not its user's.
    Signature(BadSignature),
    /// 403: the access rules do not allow the user this operation.
    Forbidden,
    /// 500: the store has no answer.
    Store(StoreError),
    /// 501: the access rules allow an operation that does not exist.
    NotImplemented,
    /// 505: the integer part of `PV` is not 2.
    Version,
}

impl Refusal {
    /// The reply's `Code`.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::TooLong | Self::NoVersion | Self::BadVersion | Self::BadDigest | Self::NoDigest => 400,
            Self::Signature(_) => 401,
            Self::Forbidden => 403,
            Self::Store(_) => 500,
            Self::NotImplemented => 501,
            Self::Version => 505,
        }
    }

    /// The reply's `Diag`, word for word as the Python server says it where it says the same.
    #[must_use]
    pub const fn diag(self) -> &'static str {
        match self {
            Self::TooLong => "Bad request: Request is longer than 8192 bytes",
            Self::NoVersion => "Bad request: Protocol Version not specified in request",
            Self::BadVersion => "Bad request: Invalid Protocol Version",
            Self::BadDigest => "Bad request: Digest is not 40 hexadecimal digits",
            Self::NoDigest => "Bad request: Digest not specified in request",
            Self::Signature(BadSignature::UnknownUser) => "Unauthorized: Signature Error: Unknown user.",
            Self::Signature(BadSignature::Timestamp) => {
                "Unauthorized: Signature Error: Timestamp not within allowed range."
            }
            Self::Signature(BadSignature::Invalid) => "Unauthorized: Signature Error: Invalid signature.",
            Self::Forbidden => "Forbidden: User is not authorized to request the operation.",
            Self::Store(StoreError::Unreadable) => {
                "Internal Server Error: The record of this digest is unreadable."
            }
            Self::Store(StoreError::Unavailable) => {
                "Internal Server Error: Database temporarily unavailable."
            }
            Self::NotImplemented => "Not implemented: Requested operation is not implemented.",
            Self::Version => "Version Not Supported: ",
        }
    }

    /// The first part of [`diag`](Self::diag), for requests too small to be told more.
    fn short_diag(self) -> &'static str {
        self.diag().split(':').next().unwrap_or_default()
    }
}

/// What follows `200 OK`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Success {
    /// Nothing: ping, report, whitelist.
    Bare,
    /// The counts: check and pong.
    Counts { reports: u64, whitelists: u64 },
    /// Dates and counts: info.
    Info(Record),
}

impl Success {
    /// The client's self-test is always answered with the largest count.
    pub(crate) const PONG: Self = Self::Counts { reports: Tally::MAX, whitelists: 0 };
}

pub(crate) type Outcome = Result<Success, Refusal>;

/// The largest reply, in bytes, to a request of this many: three times its weight on the wire.
///
/// Who spoofs a source address gains at most this factor, and a short `Diag` fits in it for any request:
/// the smallest, `Op:`, leaves 65 bytes, and each byte of `Thread` brings three.
pub(crate) const fn budget(request: usize) -> usize {
    (request + WIRE_OVERHEAD) * 3 - WIRE_OVERHEAD
}

/// Appends a reply, of `budget` bytes at most.
pub(crate) fn write_reply(out: &mut Vec<u8>, outcome: Outcome, thread: Option<&[u8]>, budget: usize) {
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
    out.push(b'\n');
}

/// The order matters: clients written in Perl match `PV: 2.1` as bytes and want `Thread` behind it.
fn write_head(out: &mut Vec<u8>, code: u16, diag: &str, thread: Option<&[u8]>) {
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

/// Never is 0.
fn write_time(out: &mut Vec<u8>, name: &str, time: Option<UnixTime>) {
    write_number(out, name, time.map_or(0, UnixTime::seconds));
}

fn write_number(out: &mut Vec<u8>, name: &str, number: impl Into<Decimal>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(number.into().as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn reply(outcome: Outcome, thread: Option<&[u8]>, request: usize) -> String {
        let mut out = Vec::new();
        write_reply(&mut out, outcome, thread, budget(request));
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
