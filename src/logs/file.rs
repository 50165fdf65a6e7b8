//! A log file: lines are appended to it, and it can be opened again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

/// Why there is no log.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    /// A log file cannot be opened.
    #[error("log file {}: {cause}", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The process has a log already.
    #[error("log: {0}")]
    Installed(#[source] log::SetLoggerError),
}

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(append(path)?) })
    }

    /// Opens the file again by its name.
    pub(super) fn reopen(&self) -> Result<(), LogError> {
        let file = append(&self.path)?;
        *self.lock() = file;
        Ok(())
    }

    /// Appends whole lines.
    pub(super) fn write(&self, lines: &str) {
        // A full disk must not stop the server; the lines are lost.
        let _ = self.lock().write_all(lines.as_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(path: &Path) -> Result<File, LogError> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|cause| LogError::File { path: path.to_owned(), cause })
}
