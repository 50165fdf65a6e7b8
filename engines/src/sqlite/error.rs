//! Why the database does not do what it is asked.

use std::io;

use rusqlite::{Error, ErrorCode};

use super::presence::Away;

/// Why a call failed: one line that names the remedy.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    /// There is no room.
    #[error("the disk is full, or a quota or limit of file sizes is reached: free some space")]
    Full,
    /// Its pages contradict each other.
    #[error(
        "it is damaged ({0}): see the system's log for errors of the disk, run `pyzorctl check-database`, and put a backup in \
         its place if that finds damage"
    )]
    Damaged(Error),
    /// Another process has locked it.
    #[error("another process has locked it for too long: `fuser -v` on the file names it")]
    Busy,
    /// A thread of this process writes.
    #[error("other requests have written to it for too long")]
    Occupied,
    /// The system refuses to read or write.
    #[error("{0} (extended code {1}): {remedy}", remedy = io_remedy(*.1))]
    Io(Error, i32),
    /// The file or its folder may not be written.
    #[error("it cannot be written, or its folder cannot: {0}")]
    ReadOnly(Error),
    /// Something else.
    #[error("{0}")]
    Other(Error),
    /// A sync failed or takes too long.
    #[error("{0}")]
    NotDurable(#[from] super::durability::NotDurable),
    /// The path does not lead to the open files.
    #[error("{0}")]
    Away(#[from] Away),
    /// The file of the log.
    #[error("its log cannot be used: {0}")]
    Log(#[from] io::Error),
}

/// Returns what to do. SQLite tells a write beyond a quota or a limit of file sizes from one to a full disk.
const fn io_remedy(extended_code: i32) -> &'static str {
    if extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE {
        "a quota or a limit of file sizes is reached, or the disk fails, which the system's log tells"
    } else {
        "see the system's log for errors of the disk"
    }
}

/// The number of causes that [`DatabaseError::index`] tells apart.
pub(super) const CAUSES: usize = 9;

impl DatabaseError {
    /// Returns a number for the cause, below [`CAUSES`].
    pub(super) const fn index(&self) -> usize {
        match self {
            Self::Full => 0,
            Self::Damaged(_) => 1,
            Self::Busy => 2,
            Self::Occupied => 3,
            Self::Io(..) | Self::Log(_) => 4,
            Self::ReadOnly(_) => 5,
            Self::Other(_) => 6,
            Self::NotDurable(_) => 7,
            Self::Away(_) => 8,
        }
    }

    /// Whether pages contradict each other.
    pub(super) const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        let Error::SqliteFailure(failure, _) = &error else { return Self::Other(error) };
        let extended = failure.extended_code;
        match failure.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged(error),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                Self::ReadOnly(error)
            }
            ErrorCode::SystemIoFailure => Self::Io(error, extended),
            _ => Self::Other(error),
        }
    }
}
