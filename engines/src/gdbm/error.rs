//! Why a call on an open gdbm file fails.

use std::io;

use super::ffi::GdbmError;
use super::inspect::{Damage, InspectError};
use super::rewrite::RewriteError;

/// The cause of a failure; the failure names the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Library(#[from] GdbmError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error("syncing it failed: {0}")]
    Sync(io::Error),
    #[error("it is being rewritten, or its disk does not answer; try again later")]
    Busy,
    #[error("it is damaged, and not recovered yet")]
    NotRecovered,
    #[error("it is damaged again after a recovery; pyzord must be restarted to try once more")]
    DamagedAgain,
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Damage(#[from] Damage),
}

impl FileError {
    /// Returns whether libgdbm refuses every call until the database is recovered.
    pub(super) fn needs_recovery(&self) -> bool {
        matches!(self, Self::Library(error) | Self::Rewrite(RewriteError::Library(error)) if error.needs_recovery())
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        InspectError::Io(error).into()
    }
}
