//! Why a migration ends early. The one place where a cause becomes a message for the operator.

use std::error::Error as StdError;
use std::fmt;

use pyzord_core::StoreFailure;
use thiserror::Error;

/// Which of the two databases fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// Why a migration does not start, or does not end. The message is one line and has no secret.
#[derive(Debug, Error)]
pub(crate) enum MigrateError {
    #[error("the logger cannot be installed: {0}")]
    Logger(#[from] log::SetLoggerError),
    #[error("the source and the destination are the same database")]
    SameDatabase,
    #[error("{side}: {cause}")]
    Open { side: Side, cause: Box<dyn StdError + Send + Sync> },
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("{0}")]
    Database(DatabaseError),
    /// Some records may be moved already.
    #[error("{0}; run it again to go on")]
    Interrupted(DatabaseError),
}

/// A database failed as a whole, not for a single record.
#[derive(Clone, Debug, Error)]
#[error("{side}: {failure}")]
pub(crate) struct DatabaseError {
    pub(crate) side: Side,
    pub(crate) failure: StoreFailure,
}

impl Side {
    /// Makes a failure the error of this database.
    pub(crate) fn failed(self, failure: StoreFailure) -> DatabaseError {
        DatabaseError { side: self, failure }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}
