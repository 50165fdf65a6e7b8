//! The operations of the protocol.

use core::fmt;

use crate::store::StoreOp;

/// The six operations of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// Reads how often a digest was reported and whitelisted.
    Check,
    /// Counts each digest as spam.
    Report,
    /// Tests whether the server answers.
    Ping,
    /// Is answered like a check, with the largest count: a client's self-test.
    Pong,
    /// Reads the counts and dates of a digest.
    Info,
    /// Counts each digest as not spam.
    Whitelist,
}

impl Operation {
    /// All operations, in the order in which the documentation of the access file lists them.
    pub const ALL: [Self; 6] =
        [Self::Check, Self::Report, Self::Ping, Self::Pong, Self::Info, Self::Whitelist];

    /// Parses a word of the header `Op`, which is in lower case.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name().as_bytes() == word)
    }

    /// Returns its word in the header `Op` and in access files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Report => "report",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Info => "info",
            Self::Whitelist => "whitelist",
        }
    }

    /// Returns what a request for it asks the store about its digests; `None` for a request that needs no store.
    #[must_use]
    pub const fn store_op(self) -> Option<StoreOp> {
        match self {
            Self::Ping | Self::Pong => None,
            Self::Check | Self::Info => Some(StoreOp::Read),
            Self::Report => Some(StoreOp::Report),
            Self::Whitelist => Some(StoreOp::Whitelist),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
