//! Tries what serving needs, and leaves no record behind.

use pyzord_core::{Digest, StoreFailure};

use super::engine::Single;
use super::layout::Layout;
use super::reply::{self, Refusal, ReplyError};
use super::request::Request;
use super::resp::Replies;
use super::role::{IsSentinel, Role};
use crate::failure::failure;

/// A digest that no mail has.
const TRIED: Digest = Digest::new([0; 20]);

/// Something that the server refuses, and serving needs.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefusedTrial {
    #[error("records cannot be read, requests get 500: {cause}; {}", remedy(cause))]
    Read { cause: Refusal },
    #[error("nothing is counted, reports get 500: {cause}; {}", remedy(cause))]
    Count { cause: Refusal },
    #[error(
        "signed counts have no marks, so a restart forgets which were counted: {cause}; give the user the right to the keys \
         pyzord.digest*"
    )]
    Marks { cause: Refusal },
}

/// Returns what the operator can do about a refusal.
fn remedy(refusal: &Refusal) -> &'static str {
    match refusal.0.code() {
        // Within a script a missing right is ERR, as a command that has another name is.
        "NOPERM" | "ERR" => {
            "the server must have EVAL, EVALSHA and the other commands of docs/redis.md, and allow the user \
                             these and the keys pyzord.digest*"
        }
        _ => "see docs/redis.md",
    }
}

impl Single {
    /// Tries what serving needs, and returns what the server refuses. It leaves no record behind.
    ///
    /// # Errors
    /// If the server does not answer, or is a sentinel.
    pub(super) fn refusals(&mut self) -> Result<Vec<StoreFailure>, StoreFailure> {
        requests(&mut self.layout, &mut self.request);
        let name = self.connection.name().to_owned();
        self.try_trip(&name)?;
        let refused = refusals(self.replies.iter().map(reply::refused));
        if is_no_database(&refused) {
            ask_role(&mut self.request);
            self.try_trip(&name)?;
            if let Some(sentinel) = sentinel(&self.replies) {
                return Err(failure(&name, sentinel));
            }
        }
        Ok(refused.into_iter().map(|refused| failure(&name, refused)).collect())
    }

    fn try_trip(&mut self, name: &str) -> Result<(), StoreFailure> {
        self.wait_for_trip().map_err(|error| {
            self.connection.close();
            failure(name, error)
        })
    }
}

/// How many trials there are.
pub(super) const TRIALS: usize = 4;

/// Makes a request of all trials.
pub(super) fn requests(layout: &mut Layout, request: &mut Request) {
    request.clear();
    for number in 0..TRIALS {
        self::request(number, None, layout, request);
    }
}

/// Adds the trial of this number. A tag chooses the slot of its key in a cluster.
pub(super) fn request(number: usize, tag: Option<u32>, layout: &mut Layout, request: &mut Request) {
    match (number, tag) {
        (0, None) => layout.read(TRIED, request),
        (0, Some(tag)) => layout.read_tagged(tag, request),
        // The second time by its hash, as all but the first script of a batch are called.
        (1 | 2, _) => layout.probe(tag, request),
        _ => layout.probe_marks(tag, request),
    }
}

/// Returns the refusals among the errors in the replies to these trials. What refuses all counts is told once.
pub(super) fn refusals(errors: impl IntoIterator<Item = Option<ReplyError>>) -> Vec<RefusedTrial> {
    let kinds: [fn(Refusal) -> RefusedTrial; TRIALS] = [
        |cause| RefusedTrial::Read { cause },
        |cause| RefusedTrial::Count { cause },
        |cause| RefusedTrial::Count { cause },
        |cause| RefusedTrial::Marks { cause },
    ];
    let mut refused = Vec::new();
    for (error, kind) in errors.into_iter().zip(kinds) {
        let Some(error) = error else { continue };
        if let Some(RefusedTrial::Count { .. }) = refused.last() {
            break;
        }
        // NoScript: a proxy has sent the hash to a server that does not know it.
        if let ReplyError::Refused(cause) | ReplyError::Away(cause) | ReplyError::Redirected(cause) = error {
            refused.push(kind(cause));
        }
    }
    refused
}

/// Returns whether the server lacks commands that any database has.
pub(super) fn is_no_database(refused: &[RefusedTrial]) -> bool {
    matches!(refused.first(), Some(RefusedTrial::Read { cause }) if cause.is_unknown_command())
}

/// Makes a request that asks the server what it is.
pub(super) fn ask_role(request: &mut Request) {
    request.clear();
    request.command(&[b"ROLE"]);
}

/// Returns what the reply says, if it is that of a sentinel.
pub(super) fn sentinel(replies: &Replies) -> Option<IsSentinel> {
    match Role::read(replies.first()) {
        Role::Sentinel { services } => Some(IsSentinel { services }),
        _ => None,
    }
}
