//! The rules of the protocol: the checks of a request, in the order of the reference server; what it asks the store; and
//! its outcome.

use alloc::vec::Vec;

use crate::guard::Places;
use crate::ignored::Ignored;
use crate::policy::{OpSet, Policy};
use crate::protocol::digest::Digest;
use crate::protocol::operation::Operation;
use crate::protocol::refusal::Refusal;
use crate::protocol::request::{ANONYMOUS, MAX_REQUEST, Request};
use crate::protocol::signature::{BadSignature, verify};
use crate::protocol::write::{Outcome, Success};
use crate::record::Record;
use crate::store::{Mark, StoreAnswer, StoreCall, StoreError, StoreOp};
use crate::time::UnixTime;

/// Parses a datagram. One that is too long is parsed as far as it is read, so that its refusal has its `Thread`.
pub(super) fn parse(datagram: &[u8]) -> Result<Request<'_>, Ignored> {
    let readable = if datagram.len() > MAX_REQUEST { whole_lines(datagram) } else { datagram };
    Request::parse(readable).ok_or(Ignored::NotARequest)
}

/// Judges a request whose datagram has `size` bytes. Its digests are judged by [`collect_digests`].
pub(super) fn judge(
    policy: &Policy,
    request: &Request<'_>,
    size: usize,
    now: UnixTime,
) -> Result<Operation, Refusal> {
    if size > MAX_REQUEST { Err(Refusal::TooLong) } else { check(policy, request, now) }
}

/// Returns the whole lines of a cut datagram: half a `Thread` must not be echoed.
fn whole_lines(datagram: &[u8]) -> &[u8] {
    let readable = datagram.get(..MAX_REQUEST).unwrap_or(datagram);
    let end = readable.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    readable.split_at(end).0
}

/// Checks signature, version, access rule and operation, in this order: clients see it in the codes of the replies.
fn check(policy: &Policy, request: &Request<'_>, now: UnixTime) -> Result<Operation, Refusal> {
    let allowed = authenticate(policy, request, now).map_err(Refusal::Signature)?;
    check_version(request.version)?;
    if let Some(operation) = Operation::parse(request.op) {
        let permitted = allowed.contains(OpSet::of(operation));
        return if permitted { Ok(operation) } else { Err(Refusal::Forbidden) };
    }
    let granted = allowed.contains(policy.word(request.op));
    Err(if granted { Refusal::NotImplemented } else { Refusal::Forbidden })
}

/// Returns what the request's user may ask for, once the signature proves the user.
fn authenticate(policy: &Policy, request: &Request<'_>, now: UnixTime) -> Result<OpSet, BadSignature> {
    if request.user == ANONYMOUS {
        return Ok(policy.anonymous());
    }
    let account = policy.account(request.user).ok_or(BadSignature::UnknownUser)?;
    verify(request, &account.key, now)?;
    Ok(account.allowed)
}

/// Checks that the integer part of the version is 2.
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

/// Appends the digests of a request, or leaves `digests` as it is if one of them is bad or one is missing.
pub(super) fn collect_digests(
    request: &Request<'_>,
    operation: Operation,
    digests: &mut Vec<Digest>,
) -> Result<(), Refusal> {
    let before = digests.len();
    for text in request.digests() {
        let Some(digest) = Digest::parse(text) else {
            digests.truncate(before);
            return Err(Refusal::BadDigest);
        };
        digests.push(digest);
    }
    let missing = digests.len() == before && operation.store_op().is_some();
    if missing { Err(Refusal::NoDigest) } else { Ok(()) }
}

/// Returns the calls of a request: a read of its first digest, or a count of each, repeated ones each time, but for those
/// at places that are `done`. Counts of a signed request have marks.
pub(super) fn calls(
    op: StoreOp,
    digests: &[Digest],
    signature: Option<Digest>,
    done: Places,
) -> impl Iterator<Item = StoreCall> {
    let count = match op {
        StoreOp::Read => 1,
        StoreOp::Report | StoreOp::Whitelist => usize::MAX,
    };
    let places = (0..=u8::MAX).chain(core::iter::repeat(u8::MAX));
    let wanted = digests.iter().zip(places).take(count).filter(move |(_, place)| !done.contains(*place));
    wanted.map(move |(digest, place)| StoreCall {
        digest: *digest,
        op,
        mark: signature.map(|signature| Mark { signature, place }),
    })
}

/// Returns the signature by which copies of a signed count are recognized; `None` for other requests, whose copies do
/// no harm or look like other requests.
pub(super) fn signature_of_count(request: &Request<'_>, op: StoreOp) -> Option<Digest> {
    let counts = match op {
        StoreOp::Read => false,
        StoreOp::Report | StoreOp::Whitelist => true,
    };
    if !counts || request.user == ANONYMOUS {
        return None;
    }
    // A valid signature is 40 hex digits.
    request.signature.and_then(Digest::parse)
}

/// Returns the outcome of a request that is answered without the store: it needs none, or it is a copy of a count.
pub(super) const fn conclude_without_store(operation: Operation) -> Outcome {
    Ok(match operation {
        Operation::Pong => Success::PONG,
        Operation::Ping | Operation::Report | Operation::Whitelist => Success::Bare,
        // Neither is ever answered without the store.
        Operation::Check | Operation::Info => Success::Info(Record::EMPTY),
    })
}

/// Returns the outcome of a request from the store's answers to its calls.
///
/// One failed count refuses the whole request though others counted: a client that repeats a request without a signature
/// counts those again, which is better than spam that is never counted.
pub(super) fn conclude(operation: Operation, answers: &[StoreAnswer]) -> Outcome {
    let mut first = None;
    for answer in answers {
        match answer {
            Ok(record) => first = first.or(Some(record)),
            Err(StoreError::AlreadyCounted) => (),
            Err(error) => return Err(Refusal::Store(*error)),
        }
    }
    let record = first.copied().unwrap_or(Record::EMPTY);
    Ok(match operation {
        Operation::Ping | Operation::Pong | Operation::Report | Operation::Whitelist => {
            return conclude_without_store(operation);
        }
        Operation::Check => {
            Success::Counts { reports: record.reports.count, whitelists: record.whitelists.count }
        }
        Operation::Info => Success::Info(record),
    })
}
