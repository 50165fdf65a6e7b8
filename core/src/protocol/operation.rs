//! What a client may ask for.

use core::fmt;

/// The six operations of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// How often was this digest reported and whitelisted?
    Check,
    /// Count this digest as spam.
    Report,
    /// Are you there?
    Ping,
    /// Like check, but always answered with the largest count: a client's self-test.
    Pong,
    /// Like check, with the dates.
    Info,
    /// Count this digest as not spam.
    Whitelist,
}

impl Operation {
    /// All of them, in the order in which the access file's documentation lists them.
    pub const ALL: [Self; 6] =
        [Self::Check, Self::Report, Self::Ping, Self::Pong, Self::Info, Self::Whitelist];

    /// The operation that `word` names, in lower case, as in the header `Op`.
    #[must_use]
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name().as_bytes() == word)
    }

    /// The word for it in the header `Op` and in access files.
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

    /// Whether it says nothing without a digest.
    #[must_use]
    pub const fn needs_digest(self) -> bool {
        !matches!(self, Self::Ping | Self::Pong)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
