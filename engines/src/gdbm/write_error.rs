//! Why a record cannot be stored.

use std::io;

use super::ffi::GdbmError;

/// Why a record cannot be stored. The file is unchanged, except perhaps after a failure of libgdbm.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// libgdbm failed.
    #[error(transparent)]
    Library(#[from] GdbmError),
    /// The file's structure cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// As many keys as fit have the same hash value, or one that differs in the last bits only.
    #[error(
        "there is no place for it: too many keys have similar hash values, which only happens on purpose"
    )]
    NoPlace,
}
