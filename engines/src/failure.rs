//! Failures that name their database.

use std::error::Error;
use std::fmt;

use pyzord_core::StoreFailure;

/// A cause with the database's name in front of it.
#[derive(Debug, thiserror::Error)]
#[error("{database}: {cause}")]
struct DatabaseError {
    database: String,
    cause: Box<dyn Error + Send + Sync>,
}

/// Returns the failure of a database that logs name `database`; the name must not hold a password.
pub(crate) fn failure(
    database: impl fmt::Display,
    cause: impl Into<Box<dyn Error + Send + Sync>>,
) -> StoreFailure {
    StoreFailure::new(DatabaseError { database: database.to_string(), cause: cause.into() })
}
