//! A received datagram until its reply, and what that reply must be.

use std::net::SocketAddr;
use std::sync::Arc;

use pyzord_core::{MAX_REQUEST, Record, Tally, Tick, UnixTime};

use super::guard_model::Places;
use super::reply::Reply;
use crate::invariant::{Checked, Invariant};
use crate::payload::{Content, Datagram, Payload};
use crate::rules::Expected;

/// Bytes of the IPv4 and UDP headers.
const WIRE_OVERHEAD: usize = 28;

/// A copy of a datagram that a server has received and not yet answered.
#[derive(Debug)]
pub(super) struct PendingCopy {
    pub(super) source: SocketAddr,
    pub(super) payload: Arc<Payload>,
    pub(super) arrived: Tick,
    /// Known after the server has accepted it.
    pub(super) expected: Option<Expected>,
    /// The record that a read must return; known after the store was asked.
    pub(super) record: Option<Record>,
    /// The code 500 is allowed.
    pub(super) excused: bool,
    /// The places of digests that earlier copies have settled.
    pub(super) done: Places,
    /// The calls that the store has answered with "already counted".
    pub(super) repeated: Vec<bool>,
}

impl PendingCopy {
    pub(super) fn new(datagram: &Datagram, now: Tick) -> Self {
        Self {
            source: datagram.source,
            payload: Arc::clone(&datagram.payload),
            arrived: now,
            expected: None,
            record: None,
            excused: false,
            done: Places::new(),
            repeated: Vec::new(),
        }
    }

    /// Checks that the copy may have a reply.
    pub(super) fn check_may_be_answered(&self, copy: u64) -> Checked {
        let source = self.source;
        Invariant::NoReplyToPortZero
            .holds(source.port() != 0, || format!("copy {copy} from {source} is answered"))?;
        let request = !matches!(self.payload.content, Content::NoRequest);
        Invariant::NoReplyWithoutOp.holds(request, || format!("copy {copy} has no Op and is answered"))
    }

    /// Checks the size, the receiver and the content of the reply.
    pub(super) fn check_reply(&self, copy: u64, peer: SocketAddr, bytes: usize, reply: &Reply) -> Checked {
        self.check_size(bytes)?;
        self.check_peer(peer, reply)?;
        self.check_rules(reply)?;
        let detail = || format!("copy {copy} is refused: {}", reply.text);
        Invariant::RefusedForAReason.holds(reply.code != 500 || self.excused, detail)
    }

    fn check_size(&self, bytes: usize) -> Checked {
        let (reply, request) = (bytes + WIRE_OVERHEAD, self.payload.bytes.len() + WIRE_OVERHEAD);
        let detail = || format!("a reply has {reply} bytes on the wire, its request {request}");
        Invariant::RepliesAreSmall.holds(reply <= 3 * request, detail)
    }

    fn check_peer(&self, peer: SocketAddr, reply: &Reply) -> Checked {
        let Content::Request(request) = &self.payload.content else { return Ok(()) };
        // The server ignores the end of a longer request.
        let readable = self.payload.bytes.get(..MAX_REQUEST).unwrap_or(&self.payload.bytes);
        let line = format!("\nThread: {}\n", request.thread);
        let sent = readable.windows(line.len()).any(|part| part == line.as_bytes());
        let thread = sent.then(|| request.thread.to_string());
        let own = peer == self.source && reply.field("Thread").map(str::to_owned) == thread;
        let source = self.source;
        let detail = || format!("the reply to {source} and {thread:?} went to {peer}: {}", reply.text);
        Invariant::RepliesGoToTheSender.holds(own, detail)
    }

    fn check_rules(&self, reply: &Reply) -> Checked {
        let Some(expected) = self.expected else {
            let detail = format!("a reply before the request was checked: {}", reply.text);
            return Err(Invariant::RepliesFollowTheRules.broken(detail));
        };
        let correct = match expected {
            Expected::NoReply => false,
            Expected::Unknown => true,
            Expected::Code(code) => reply.code == code,
            Expected::Pong | Expected::AlreadyCounted => reply.code == 200,
            Expected::Counts | Expected::Info | Expected::Report | Expected::Whitelist => {
                matches!(reply.code, 200 | 500)
            }
        };
        let detail = || format!("expected {expected:?} for {:?}, the reply is {}", self.payload, reply.text);
        Invariant::RepliesFollowTheRules.holds(correct, detail)?;
        if reply.code == 200 { self.check_record(expected, reply) } else { Ok(()) }
    }

    fn check_record(&self, expected: Expected, reply: &Reply) -> Checked {
        let record = match expected {
            Expected::Pong => {
                Record { reports: Tally { count: Tally::MAX, ..Tally::default() }, ..Record::default() }
            }
            // Without a record, only `AcknowledgedIsCounted` can tell that the store was not asked.
            _ => self.record.unwrap_or_default(),
        };
        let counts =
            [("Count", record.reports.count.to_string()), ("WL-Count", record.whitelists.count.to_string())];
        let date = |date: Option<UnixTime>| date.map_or(0, UnixTime::seconds).to_string();
        let dates = [
            ("Entered", date(record.reports.entered)),
            ("Updated", date(record.reports.updated)),
            ("WL-Entered", date(record.whitelists.entered)),
            ("WL-Updated", date(record.whitelists.updated)),
        ];
        let fields = match expected {
            Expected::Info => dates.into_iter().chain(counts).collect(),
            Expected::Pong | Expected::Counts => Vec::from(counts),
            _ => Vec::new(),
        };
        let equal = fields.iter().all(|(name, value)| reply.field(name) == Some(value));
        Invariant::ReadsMatchRecords
            .holds(equal, || format!("a reply must have {fields:?} and is {}", reply.text))
    }
}
