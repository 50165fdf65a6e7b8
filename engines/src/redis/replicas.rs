//! Waiting until replicas have what was counted, with `WAIT`.

use std::num::NonZeroU8;
use std::time::Duration;

use super::options::Options;
use super::reply::{self, ReplyError};
use super::request::Request;
use super::resp::Reply;

/// How many replicas must have a write before it is acknowledged, and how long redis waits for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Replicas {
    count: NonZeroU8,
    limit: Duration,
}

/// Why a write that was made may be lost with its master.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReplicated {
    #[error("{0} of {1} replicas (wait-replicas of the DSN) have confirmed in time what was written")]
    Short(i64, NonZeroU8),
    #[error("WAIT, for wait-replicas of the DSN, is refused: {0}")]
    Refused(ReplyError),
}

impl Replicas {
    /// Returns the wait for so many replicas. It takes half the time of an exchange at most, so that the replies arrive in
    /// any case.
    pub(super) fn new(count: NonZeroU8, options: Options) -> Self {
        Self { count, limit: (options.exchange / 2).min(Duration::from_secs(10)) }
    }

    /// Adds the command, behind the writes.
    pub(super) fn wait(self, request: &mut Request) {
        let (count, limit) = (self.count.to_string(), self.limit.as_millis().max(1).to_string());
        request.command(&[b"WAIT", count.as_bytes(), limit.as_bytes()]);
    }

    /// Reads its reply.
    pub(super) fn read(self, reply: Reply<'_>) -> Result<(), NotReplicated> {
        match reply {
            Reply::Number(count) if count >= i64::from(self.count.get()) => Ok(()),
            Reply::Number(count) => Err(NotReplicated::Short(count, self.count)),
            other => Err(NotReplicated::Refused(reply::error(other))),
        }
    }
}
