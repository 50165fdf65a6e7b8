//! The one place where a cause becomes a code and words.

use crate::protocol::signature::BadSignature;
use crate::store::StoreError;

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: more than [`MAX_REQUEST`](crate::MAX_REQUEST) bytes.
    TooLong,
    /// 400: no header `PV`.
    NoVersion,
    /// 400: `PV` is not a number.
    BadVersion,
    /// 400: an `Op-Digest` is not 40 hex digits.
    BadDigest,
    /// 400: the operation needs a digest and the request has none.
    NoDigest,
    /// 400: this server has forwarded the request itself: its list of servers names it.
    OwnForward,
    /// 401: the signature does not prove that the request is its user's.
    Signature(BadSignature),
    /// 403: the access rules do not allow the user this operation.
    Forbidden,
    /// 500: the store failed.
    Store(StoreError),
    /// 501: the access rules grant a word that is not an operation.
    NotImplemented,
    /// 505: the integer part of `PV` is not 2.
    Version,
}

impl Refusal {
    /// Returns the reply's `Code`.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::TooLong
            | Self::NoVersion
            | Self::BadVersion
            | Self::BadDigest
            | Self::NoDigest
            | Self::OwnForward => 400,
            Self::Signature(_) => 401,
            Self::Forbidden => 403,
            Self::Store(_) => 500,
            Self::NotImplemented => 501,
            Self::Version => 505,
        }
    }

    /// Returns the reply's `Diag`: the Python server's words where it refuses for the same cause.
    #[must_use]
    pub const fn diag(self) -> &'static str {
        match self {
            Self::TooLong => "Bad request: Request is longer than 8192 bytes",
            Self::NoVersion => "Bad request: Protocol Version not specified in request",
            Self::BadVersion => "Bad request: Invalid Protocol Version",
            Self::BadDigest => "Bad request: Digest is not 40 hexadecimal digits",
            Self::NoDigest => "Bad request: Digest not specified in request",
            Self::OwnForward => "Bad request: this server forwards to itself; take it out of `servers`",
            Self::Signature(BadSignature::UnknownUser) => "Unauthorized: Signature Error: Unknown user.",
            Self::Signature(BadSignature::Timestamp) => {
                "Unauthorized: Signature Error: Timestamp not within allowed range."
            }
            Self::Signature(BadSignature::Invalid) => "Unauthorized: Signature Error: Invalid signature.",
            Self::Forbidden => "Forbidden: User is not authorized to request the operation.",
            Self::Store(StoreError::Unreadable) => {
                "Internal Server Error: The record of this digest is unreadable."
            }
            Self::Store(StoreError::NoPlace) => {
                "Internal Server Error: The database has no place for this digest."
            }
            // The last one is no refusal; the words fit a store that gives it for a read.
            Self::Store(
                StoreError::Unavailable
                | StoreError::Unknown
                | StoreError::Unsettled
                | StoreError::AlreadyCounted,
            ) => "Internal Server Error: Database temporarily unavailable.",
            Self::NotImplemented => "Not implemented: Requested operation is not implemented.",
            Self::Version => "Version Not Supported: ",
        }
    }

    /// Returns the first part of [`diag`](Self::diag), for a request whose reply has no room for more.
    pub(crate) fn short_diag(self) -> &'static str {
        let diag = self.diag();
        diag.split_once(':').map_or(diag, |(first, _)| first)
    }
}
