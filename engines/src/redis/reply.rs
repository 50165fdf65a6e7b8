//! What the replies to commands mean.

use std::fmt;

use ::redis::{ServerError, Value};

use super::resp::Reply;
use crate::codec::{redis, redis_v0};

/// Why there is no result in a reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplyError {
    /// The stored value is not a record; it was left as it is.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The server refused this command; others may work.
    #[error(transparent)]
    Refused(Refusal),
    /// The server refused this command, as it can do nothing for now or is not the server to ask. Another
    /// connection may lead to the right one.
    #[error(transparent)]
    Away(Refusal),
    /// The server does not know the script by its hash, and has not executed it.
    #[error(transparent)]
    NoScript(Refusal),
    /// The server belongs to a cluster and has not executed the command: it may be for another node, or for a later time.
    #[error(transparent)]
    Redirected(Refusal),
    /// The reply is not of a kind that the command has: the connection is out of step.
    #[error("the server's reply is of an unexpected kind")]
    Unexpected,
}

/// Why a stored value is not a record.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is of another type")]
    Type,
    /// A script that counts does not say which field it is.
    #[error("a field is not of a known form")]
    Field,
    #[error(transparent)]
    Hash(redis::Unreadable),
    #[error(transparent)]
    Text(redis_v0::Unreadable),
}

/// An error reply, displayed as one line.
#[derive(Clone, Debug)]
pub(super) struct Refusal(pub(super) ServerError);

impl Refusal {
    /// Returns the refusal in a reply; `None` if it is none.
    pub(super) fn read(reply: Reply<'_>) -> Option<Self> {
        let Reply::Error(line) = reply else { return None };
        let line = format!("-{}\r\n", String::from_utf8_lossy(line));
        match ::redis::parse_redis_value(line.as_bytes()) {
            Ok(Value::ServerError(error)) => Some(Self(error)),
            _ => None,
        }
    }

    /// Returns the word that names the kind of error.
    pub(super) fn code(&self) -> &str {
        self.0.code()
    }

    /// Returns whether the server does not know the command.
    pub(super) fn is_unknown_command(&self) -> bool {
        self.0.code() == "ERR"
            && self.0.details().is_some_and(|details| details.starts_with("unknown command"))
    }

    /// Returns whether the server copies another one, and could do neither this nor any other change.
    pub(super) fn is_of_replica(&self) -> bool {
        matches!(self.0.code(), "READONLY" | "MASTERDOWN" | "UNBLOCKED")
    }

    /// Whether the user lacks a right.
    pub(super) fn is_missing_right(&self) -> bool {
        self.0.code() == "NOPERM"
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code())?;
        self.0.details().map_or(Ok(()), |details| write!(f, " {details}"))
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Returns whether the text has this secret.
    pub(super) fn repeats(&self, secret: &[u8]) -> bool {
        let secret = String::from_utf8_lossy(secret);
        !secret.is_empty() && self.to_string().contains(&*secret)
    }

    /// Returns whether the command has a number of arguments that the server does not know.
    pub(super) fn is_wrong_arity(&self) -> bool {
        self.0.code() == "ERR" && self.0.details().is_some_and(|details| details.contains("wrong number"))
    }
}

/// Returns why a reply is not the one that the command has.
pub(super) fn error(reply: Reply<'_>) -> ReplyError {
    let Some(refusal) = Refusal::read(reply) else { return ReplyError::Unexpected };
    match refusal.0.code() {
        "WRONGTYPE" => Unreadable::Type.into(),
        // READONLY above all: a replica that was the master until a failover. The address may lead to the new
        // master now.
        "READONLY" | "MASTERDOWN" | "UNBLOCKED" | "LOADING" | "BUSY" | "NOAUTH" => ReplyError::Away(refusal),
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "CROSSSLOT" => ReplyError::Redirected(refusal),
        "NOSCRIPT" => ReplyError::NoScript(refusal),
        _ => ReplyError::Refused(refusal),
    }
}

/// Returns why a command was refused, if its reply is an error.
pub(super) fn refused(reply: Reply<'_>) -> Option<ReplyError> {
    matches!(reply, Reply::Error(_)).then(|| error(reply))
}

/// What a script has done that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counting {
    Counted,
    /// The mark was there.
    AlreadyCounted,
    /// The mark tells that it may have been counted.
    Pending,
}

/// Reads the reply of a script that counts.
pub(super) fn counted(reply: Reply<'_>) -> Result<Counting, ReplyError> {
    match reply {
        Reply::Number(1) => Ok(Counting::Counted),
        Reply::Number(2) => Ok(Counting::AlreadyCounted),
        Reply::Number(3) => Ok(Counting::Pending),
        Reply::Number(_) => Err(Unreadable::Field.into()),
        _ => Err(error(reply)),
    }
}

/// Checks the reply of a command that stores or removes.
pub(super) fn stored(reply: Reply<'_>) -> Result<(), ReplyError> {
    match reply {
        Reply::Number(_) | Reply::Status(b"OK") => Ok(()),
        _ => Err(error(reply)),
    }
}

/// Reads the reply of a script that changes the expected record alone: whether it was there.
pub(super) fn changed(reply: Reply<'_>) -> Result<bool, ReplyError> {
    match reply {
        Reply::Number(changed) => Ok(changed == 1),
        _ => Err(error(reply)),
    }
}

/// Returns the number in the reply of a command that counts keys.
pub(super) fn number(reply: Option<Reply<'_>>) -> Result<u64, ReplyError> {
    match reply.ok_or(ReplyError::Unexpected)? {
        Reply::Number(number) => u64::try_from(number).map_err(|_| ReplyError::Unexpected),
        other => Err(error(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_replies_are_sorted_by_what_they_concern() {
        let table = [
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "unreadable"),
            ("READONLY You can't write against a read only replica.", "away"),
            ("UNBLOCKED force unblock from blocking operation, instance state changed", "away"),
            ("LOADING Redis is loading the dataset in memory", "away"),
            ("MASTERDOWN Link with MASTER is down", "away"),
            ("BUSY Redis is busy running a script.", "away"),
            ("NOAUTH Authentication required.", "away"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "refused"),
            ("MISCONF Redis is configured to save RDB snapshots", "refused"),
            ("NOPERM this user has no permissions", "refused"),
            ("NOSCRIPT No matching script.", "no script"),
            ("MOVED 3999 127.0.0.1:6381", "redirected"),
            ("ASK 3999 127.0.0.1:6381", "redirected"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "redirected"),
            ("CLUSTERDOWN The cluster is down", "redirected"),
            ("ERR unknown command", "refused"),
        ];
        for (text, expected) in table {
            let sorted = match error(Reply::Error(text.as_bytes())) {
                ReplyError::Unreadable(_) => "unreadable",
                ReplyError::Refused(cause) => {
                    assert_eq!(cause.to_string(), text);
                    "refused"
                }
                ReplyError::Away(cause) => {
                    assert_eq!(cause.to_string(), text);
                    "away"
                }
                ReplyError::NoScript(_) => "no script",
                ReplyError::Redirected(cause) => {
                    assert_eq!(cause.to_string(), text);
                    "redirected"
                }
                ReplyError::Unexpected => "unexpected",
            };
            assert_eq!(sorted, expected, "{text}");
        }
        assert!(matches!(error(Reply::Number(3)), ReplyError::Unexpected));
    }
}
