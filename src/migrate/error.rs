//! Why a migration ends early. The one place where a cause becomes a message for the operator.

use std::error::Error as StdError;
use std::fmt;

use pyzord_core::StoreFailure;
use thiserror::Error;

use super::journal::JournalError;
use crate::home::HomeError;

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
    #[error(
        "--on-conflict add needs --delete: records that stay in the source would be added again by the next run"
    )]
    AddWithoutDelete,
    #[error("{side}: {cause}")]
    Open { side: Side, cause: Box<dyn StdError + Send + Sync> },
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{0}")]
    Database(DatabaseError),
    /// Some records may be moved already.
    #[error("{0}; when that is mended, the same command goes on where this one stopped")]
    Interrupted(DatabaseError),
    /// The destination works, and refuses one record after the other.
    #[error("destination: {count} records in a row were refused: {cause}; see to the cause first")]
    Refused { count: u32, cause: String },
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

impl From<DatabaseError> for MigrateError {
    fn from(error: DatabaseError) -> Self {
        Self::Interrupted(error)
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
