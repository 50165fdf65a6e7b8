//! What a reply must be.

use std::net::SocketAddr;
use std::time::Duration;

use pyzord_core::{MAX_REQUEST, Record, Tally, Tick};

use super::{Copy, Judge};
use crate::invariant::{Checked, Invariant};
use crate::law::Verdict;
use crate::message::Content;

/// IPv4 and UDP headers.
const WIRE_OVERHEAD: usize = 28;
/// What needs no database is answered after this long, even behind a full receive buffer.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Judge {
    /// The server sends `bytes` to `peer`, as its answer to a copy. Gives the code.
    pub(crate) fn replied(
        &mut self,
        copy: u64,
        peer: SocketAddr,
        bytes: &[u8],
        now: Tick,
        local: bool,
    ) -> Checked<u16> {
        self.check_silence(copy)?;
        let calls = self.granted_calls(copy);
        let Some(open) = self.open.remove(&copy) else {
            return Err(Invariant::AnsweredOnce.broken(format!("copy {copy} has another answer")));
        };
        let reply = Reply::parse(bytes);
        open.check_weight(bytes)?;
        open.check_peer(peer, &reply)?;
        open.check_law(&reply)?;
        if reply.code == 500 {
            let detail = || format!("copy {copy} is refused: {}", reply.text);
            Invariant::RefusedForACause.holds(open.excused, detail)?;
        }
        if !local && calls.is_empty() {
            let waited = now.since(open.arrived);
            let detail = || format!("copy {copy} needs no database and has waited for {waited:?}");
            Invariant::PingsNeverWait.holds(waited <= AT_ONCE, detail)?;
        }
        self.past.answered(open.verdict, &open.parcel, reply.code);
        for call in calls {
            match reply.code {
                200 => self.counts.acknowledged(call)?,
                _ => self.counts.unanswered(call),
            }
        }
        self.answered += 1;
        Ok(reply.code)
    }

    /// What must have no answer is not on its way to one.
    pub(super) fn check_silence(&self, copy: u64) -> Checked {
        let Some(open) = self.open.get(&copy) else { return Ok(()) };
        let source = open.source;
        Invariant::NothingToPortZero
            .holds(source.port() != 0, || format!("copy {copy} from {source} is answered"))?;
        let request = !matches!(open.parcel.content, Content::NoRequest);
        Invariant::NothingWithoutOp.holds(request, || format!("copy {copy} has no Op and is answered"))
    }
}

impl Copy {
    fn check_weight(&self, bytes: &[u8]) -> Checked {
        let (reply, request) = (bytes.len() + WIRE_OVERHEAD, self.parcel.bytes.len() + WIRE_OVERHEAD);
        let detail = || format!("a reply weighs {reply} bytes, its request {request}");
        Invariant::RepliesWeighLittle.holds(reply <= 3 * request, detail)
    }

    fn check_peer(&self, peer: SocketAddr, reply: &Reply<'_>) -> Checked {
        let Content::Request(message) = &self.parcel.content else { return Ok(()) };
        // The end of a longer request is not read.
        let readable = self.parcel.bytes.get(..MAX_REQUEST).unwrap_or(&self.parcel.bytes);
        let line = format!("\nThread: {}\n", message.thread);
        let sent = readable.windows(line.len()).any(|part| part == line.as_bytes());
        let thread = sent.then(|| message.thread.to_string());
        let own = peer == self.source && reply.field("Thread").map(str::to_owned) == thread;
        let source = self.source;
        let detail = || format!("the reply to {source} and {thread:?} went to {peer}: {}", reply.text);
        Invariant::RepliesGoToTheirPeers.holds(own, detail)
    }

    fn check_law(&self, reply: &Reply<'_>) -> Checked {
        let Some(verdict) = self.verdict else { return Ok(()) };
        let lawful = match verdict {
            Verdict::Silence => false,
            Verdict::Unknown => true,
            Verdict::Code(code) => reply.code == code,
            Verdict::Pong | Verdict::Again => reply.code == 200,
            Verdict::Counts | Verdict::Info | Verdict::Report | Verdict::Whitelist => {
                matches!(reply.code, 200 | 500)
            }
        };
        let detail = || format!("the law says {verdict:?} to {:?}, the reply is {}", self.parcel, reply.text);
        Invariant::AnswersAreLawful.holds(lawful, detail)?;
        if reply.code == 200 { self.check_record(verdict, reply) } else { Ok(()) }
    }

    fn check_record(&self, verdict: Verdict, reply: &Reply<'_>) -> Checked {
        let record = match verdict {
            Verdict::Pong => {
                Record { reports: Tally { count: Tally::MAX, ..Tally::default() }, ..Record::default() }
            }
            _ => self.record.unwrap_or_default(),
        };
        let counts =
            [("Count", record.reports.count.to_string()), ("WL-Count", record.whitelists.count.to_string())];
        let date =
            |date: Option<pyzord_core::UnixTime>| date.map_or(0, pyzord_core::UnixTime::seconds).to_string();
        let dates = [
            ("Entered", date(record.reports.entered)),
            ("Updated", date(record.reports.updated)),
            ("WL-Entered", date(record.whitelists.entered)),
            ("WL-Updated", date(record.whitelists.updated)),
        ];
        let expected = match verdict {
            Verdict::Info => dates.into_iter().chain(counts).collect(),
            Verdict::Pong | Verdict::Counts => Vec::from(counts),
            _ => Vec::new(),
        };
        let shown = expected.iter().all(|(name, value)| reply.field(name) == Some(value));
        Invariant::ReadsAreTrue
            .holds(shown, || format!("a reply must say {expected:?} and says {}", reply.text))
    }
}

/// A reply as a client reads it.
struct Reply<'a> {
    text: &'a str,
    code: u16,
}

impl<'a> Reply<'a> {
    fn parse(bytes: &'a [u8]) -> Self {
        let mut reply = Self { text: str::from_utf8(bytes).unwrap_or_default(), code: 0 };
        reply.code = reply.field("Code").and_then(|code| code.parse().ok()).unwrap_or(0);
        reply
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
        self.text.lines().find_map(value)
    }
}
