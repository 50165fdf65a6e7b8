//! Tries what serving needs, and leaves no record behind.

use pyzord_core::{Digest, StoreFailure};

use super::engine::Redis;
use super::layout::Layout;
use super::reply::{self, Refusal, ReplyError};
use super::request::Request;
use super::resp::{Replies, Reply};
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

impl Redis {
    /// Tries what serving needs, and returns what the server refuses. It leaves no record behind.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn refusals(&mut self) -> Result<Vec<StoreFailure>, StoreFailure> {
        request(&mut self.layout, &mut self.request);
        let name = self.connection.name().to_owned();
        self.wait_for_trip().map_err(|error| {
            self.connection.close();
            failure(&name, error)
        })?;
        Ok(refusals(&self.replies).into_iter().map(|refused| failure(&name, refused)).collect())
    }
}

/// Makes a request of all trials.
pub(super) fn request(layout: &mut Layout, request: &mut Request) {
    request.clear();
    layout.read(TRIED, request);
    layout.probe(request);
    // By its hash, as all but the first script of a batch are called.
    layout.probe(request);
    layout.probe_marks(request);
}

/// Returns the refusals in the replies to these trials. What refuses all counts is told once.
pub(super) fn refusals(replies: &Replies) -> Vec<RefusedTrial> {
    let kinds: [fn(Refusal) -> RefusedTrial; 4] = [
        |cause| RefusedTrial::Read { cause },
        |cause| RefusedTrial::Count { cause },
        |cause| RefusedTrial::Count { cause },
        |cause| RefusedTrial::Marks { cause },
    ];
    let mut refused = Vec::new();
    for (reply, kind) in replies.iter().zip(kinds) {
        let Reply::Error(_) = reply else { continue };
        if let Some(RefusedTrial::Count { .. }) = refused.last() {
            break;
        }
        // NoScript: a proxy has sent the hash to a server that does not know it.
        if let ReplyError::Refused(cause) | ReplyError::Away(cause) = reply::error(reply) {
            refused.push(kind(cause));
        }
    }
    refused
}
