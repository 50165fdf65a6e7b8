//! Why a call on an open gdbm file fails.

use std::io;

use super::backup::BackupError;
use super::ffi::GdbmError;
use super::inspect::{Damage, InspectError};
use super::presence::Away;
use super::rewrite::RewriteError;
use super::write_error::WriteError;

/// The cause of a failure; the failure names the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Library(#[from] GdbmError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    Away(#[from] Away),
    #[error("syncing it failed: {0}")]
    Sync(io::Error),
    #[error(
        "its file has no name, and cannot be saved: {0}; while pyzord runs, its records are in /proc/{pid}/fd",
        pid = std::process::id()
    )]
    NotSaved(BackupError),
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
        match self {
            Self::Library(error) | Self::Write(WriteError::Library(error)) => error.needs_recovery(),
            _ => false,
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        InspectError::Io(error).into()
    }
}
