//! From a datagram to a verdict: the checks, in the order of the reference server.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::access::OpSet;
use crate::digest::Digest;
use crate::operation::Operation;
use crate::policy::Policy;
use crate::record::Record;
use crate::reply::{Outcome, Refusal, Success, budget, write_reply};
use crate::request::{ANONYMOUS, MAX_REQUEST, Request};
use crate::signature::{BadSignature, verify};
use crate::store::{StoreAnswer, StoreCall, StoreError, StoreOp};
use crate::time::UnixTime;

/// Why a datagram is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It has no header `Op`, so it is not a request.
    NotARequest,
    /// It came from UDP port 0, where nobody can listen.
    SourcePortZero,
    /// It came from a network that is not served.
    DeniedNetwork,
    /// Its network is over the limit for requests.
    TooManyRequests,
    /// Its signature is wrong, and its network is over the limit for answers to such requests.
    TooManyFailures,
    /// It is a copy of a signed count whose first copy waits for the store, and will be answered with it.
    InFlight,
}

/// What becomes of one datagram.
#[derive(Debug)]
#[must_use = "a request that is dropped here is never answered"]
pub enum Step {
    /// Nothing is sent.
    Ignore(Reason),
    /// This is sent.
    Reply(Reply),
    /// The store is asked first.
    Store(Pending),
}

/// Judges one datagram at the time `now`, and says what is to be done with it.
///
/// This is the whole protocol for one request at a time; [`Batch`](crate::Batch) does the same for many,
/// without an allocation.
pub fn accept(policy: &Policy, datagram: &[u8], now: UnixTime) -> Step {
    let mut digests = Vec::new();
    let judged = match judge(policy, datagram, now, &mut digests) {
        Ok(judged) => judged,
        Err(reason) => return Step::Ignore(reason),
    };
    let reply =
        |outcome| Reply { outcome, thread: judged.request.thread.map(Box::from), budget: judged.budget };
    match judged.verdict {
        Err(refusal) => Step::Reply(reply(Err(refusal))),
        Ok(operation) => {
            let calls: Vec<StoreCall> = calls(operation, &digests).collect();
            let reply = reply(conclude(operation, &[]));
            if calls.is_empty() {
                Step::Reply(reply)
            } else {
                Step::Store(Pending { operation, calls, reply })
            }
        }
    }
}

/// A request that waits for the store.
#[derive(Debug)]
#[must_use = "a request that is dropped here is never answered"]
pub struct Pending {
    operation: Operation,
    calls: Vec<StoreCall>,
    reply: Reply,
}

impl Pending {
    /// What to ask the store; at least one call.
    #[must_use]
    pub fn calls(&self) -> &[StoreCall] {
        &self.calls
    }

    /// The reply that the store's answers make. A missing answer counts as [`StoreError::Unavailable`].
    pub fn resume(self, answers: &[StoreAnswer]) -> Reply {
        let answers = if answers.len() < self.calls.len() { &UNAVAILABLE } else { answers };
        Reply { outcome: conclude(self.operation, answers), ..self.reply }
    }
}

/// What a store's silence counts as.
pub(crate) const UNAVAILABLE: [StoreAnswer; 1] = [Err(StoreError::Unavailable)];

/// An answer, not yet in bytes.
#[derive(Debug)]
#[must_use = "a reply is there to be sent"]
pub struct Reply {
    outcome: Outcome,
    thread: Option<Box<[u8]>>,
    budget: usize,
}

impl Reply {
    /// Appends the reply's bytes to the caller's buffer: the payload of one datagram, 8 KiB and some headers at most.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_reply(out, self.outcome, self.thread.as_deref(), self.budget);
    }

    /// Why the request was refused; `None` when it was not.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.outcome.err()
    }
}

/// A request and what the policy says to it.
pub(crate) struct Judged<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) verdict: Result<Operation, Refusal>,
    pub(crate) budget: usize,
}

/// Judges a datagram; the digests of an accepted request are appended to `digests`.
pub(crate) fn judge<'a>(
    policy: &Policy,
    datagram: &'a [u8],
    now: UnixTime,
    digests: &mut Vec<Digest>,
) -> Result<Judged<'a>, Reason> {
    let budget = budget(datagram.len());
    if datagram.len() > MAX_REQUEST {
        let request = Request::parse(whole_lines(datagram)).ok_or(Reason::NotARequest)?;
        return Ok(Judged { request, verdict: Err(Refusal::TooLong), budget });
    }
    let request = Request::parse(datagram).ok_or(Reason::NotARequest)?;
    let known = digests.len();
    let verdict = check(policy, &request, now).and_then(|operation| {
        collect_digests(&request, operation, digests)?;
        Ok(operation)
    });
    if verdict.is_err() {
        digests.truncate(known);
    }
    Ok(Judged { request, verdict, budget })
}

/// The part of a cut datagram whose lines are whole: half a `Thread` must not be echoed.
fn whole_lines(datagram: &[u8]) -> &[u8] {
    let readable = datagram.get(..MAX_REQUEST).unwrap_or(datagram);
    let end = readable.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    readable.get(..end).unwrap_or_default()
}

/// Signature, version, access rule, known operation: in this order, which a client can see from the outside.
fn check(policy: &Policy, request: &Request<'_>, now: UnixTime) -> Result<Operation, Refusal> {
    let allowed = authenticate(policy, request, now).map_err(Refusal::Signature)?;
    check_version(request.version)?;
    if let Some(operation) = Operation::parse(request.op) {
        let permitted = allowed.contains(OpSet::of(operation));
        return if permitted { Ok(operation) } else { Err(Refusal::Forbidden) };
    }
    let granted = allowed.contains(policy.words().find(request.op));
    Err(if granted { Refusal::NotImplemented } else { Refusal::Forbidden })
}

/// What the request's user may ask for, once it is certain who that is.
fn authenticate(policy: &Policy, request: &Request<'_>, now: UnixTime) -> Result<OpSet, BadSignature> {
    if request.user == ANONYMOUS {
        return Ok(policy.anonymous());
    }
    let account = policy.account(request.user).ok_or(BadSignature::UnknownUser)?;
    verify(request, &account.key, now)?;
    Ok(account.allowed)
}

/// "The protocol version is compatible if the major number is identical", which is 2.
fn check_version(version: Option<&[u8]>) -> Result<(), Refusal> {
    let version = version.ok_or(Refusal::NoVersion)?;
    if version == b"2.1" {
        return Ok(());
    }
    let number = core::str::from_utf8(version.trim_ascii()).ok().and_then(|text| text.parse::<f64>().ok());
    match number {
        Some(number) if (2.0..3.0).contains(&number) => Ok(()),
        Some(number) if number.is_finite() => Err(Refusal::Version),
        _ => Err(Refusal::BadVersion),
    }
}

fn collect_digests(
    request: &Request<'_>,
    operation: Operation,
    digests: &mut Vec<Digest>,
) -> Result<(), Refusal> {
    let known = digests.len();
    for text in request.digests() {
        digests.push(Digest::parse(text).ok_or(Refusal::BadDigest)?);
    }
    let none = digests.len() == known;
    if none && operation.needs_digest() { Err(Refusal::NoDigest) } else { Ok(()) }
}

/// What an operation asks the store: about the first digest, or to count each, a repeated one each time.
pub(crate) fn calls(operation: Operation, digests: &[Digest]) -> impl Iterator<Item = StoreCall> {
    let (op, count) = match operation {
        Operation::Ping | Operation::Pong => (StoreOp::Read, 0),
        Operation::Check | Operation::Info => (StoreOp::Read, 1),
        Operation::Report => (StoreOp::Report, usize::MAX),
        Operation::Whitelist => (StoreOp::Whitelist, usize::MAX),
    };
    digests.iter().take(count).map(move |digest| StoreCall { digest: *digest, op })
}

/// The outcome that the store's answers give. One failed count fails the request, though the others counted:
/// a client that repeats it counts those again, which is better than a spam that was never counted.
pub(crate) fn conclude(operation: Operation, answers: &[StoreAnswer]) -> Outcome {
    if let Some(error) = answers.iter().find_map(|answer| answer.err()) {
        return Err(Refusal::Store(error));
    }
    let record: Record = answers.first().and_then(|answer| answer.ok()).unwrap_or_default();
    Ok(match operation {
        Operation::Ping | Operation::Report | Operation::Whitelist => Success::Bare,
        Operation::Pong => Success::PONG,
        Operation::Check => {
            Success::Counts { reports: record.reports.count, whitelists: record.whitelists.count }
        }
        Operation::Info => Success::Info(record),
    })
}
