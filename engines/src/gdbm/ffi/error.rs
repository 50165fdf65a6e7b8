//! Errors of libgdbm.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::io;

use super::c;

/// Why a call of libgdbm failed: its error code, and the system's error if there was one.
#[derive(Debug)]
pub struct GdbmError {
    code: c_int,
    os: Option<io::Error>,
    needs_recovery: bool,
}

impl GdbmError {
    /// Returns the error of the last call, which this thread must have made: each thread has an error code of
    /// its own, and the next call overwrites it.
    pub(super) fn last() -> Self {
        let os = io::Error::last_os_error();
        // SAFETY: libgdbm gives each thread an int that lives as long as the thread.
        let code = unsafe { *c::gdbm_errno_location() };
        // SAFETY: no preconditions; any code may be asked about.
        let os = (unsafe { c::gdbm_check_syserr(code) } != 0).then_some(os);
        Self { code, os, needs_recovery: code == c::NEED_RECOVERY }
    }

    /// Returns the error with the state that the call left the database in.
    pub(super) fn with_state(self, needs_recovery: bool) -> Self {
        Self { needs_recovery: self.needs_recovery || needs_recovery, ..self }
    }

    /// Returns the error of data whose size libgdbm cannot handle.
    pub(super) fn malformed() -> Self {
        Self { code: c::MALFORMED_DATA, os: None, needs_recovery: false }
    }

    /// Returns the error of a file that cannot grow. libgdbm was not called, and the database is unchanged.
    pub(in super::super) fn no_room(error: io::Error) -> Self {
        Self { code: c::FILE_WRITE_ERROR, os: Some(error), needs_recovery: false }
    }

    /// Returns the error of a file whose structure cannot be read. libgdbm was not called.
    pub(in super::super) fn unreadable(error: io::Error) -> Self {
        Self { code: c::FILE_READ_ERROR, os: Some(error), needs_recovery: false }
    }

    /// Returns whether every call fails until the database is recovered.
    pub(in super::super) fn needs_recovery(&self) -> bool {
        self.needs_recovery
    }

    /// Returns whether another process holds the database's lock.
    pub(in super::super) fn in_use(&self) -> bool {
        matches!(self.code, c::CANT_BE_READER | c::CANT_BE_WRITER)
    }

    /// Returns whether a key does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.code == c::ITEM_NOT_FOUND
    }

    /// Returns the system's error if the file could not be opened at all.
    pub(in super::super) fn into_open_failure(self) -> Result<io::Error, Self> {
        match self.os {
            Some(os) if self.code == c::FILE_OPEN_ERROR => Ok(os),
            os => Err(Self { os, ..self }),
        }
    }
}

impl fmt::Display for GdbmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: libgdbm answers every code with a string that is never freed.
        let message = unsafe { CStr::from_ptr(c::gdbm_strerror(self.code)) };
        write!(f, "{} (gdbm error {})", message.to_string_lossy(), self.code)?;
        self.os.as_ref().map_or(Ok(()), |os| write!(f, ": {os}"))
    }
}

impl std::error::Error for GdbmError {}
