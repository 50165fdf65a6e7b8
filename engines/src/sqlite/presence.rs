//! Whether the open files still are those that their paths name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file_id::FileId;

/// Why a path does not lead to the open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Away {
    #[error("{0}")]
    Database(crate::file_id::Away),
    #[error("a file of its log, `-wal` or `-shm`, was removed or replaced while pyzord had it open")]
    Log,
}

/// The open files.
#[derive(Debug)]
pub(super) struct Files {
    database: FileId,
    handle: Option<File>,
    /// The log, with a descriptor of its own for syncs. It is closed at any time: SQLite has no locks in this file.
    pub(super) log: Arc<File>,
    log_id: FileId,
    /// The index of the log, which all processes share.
    index_id: FileId,
}

impl Files {
    /// Returns the files of a database whose connections are open. `database` is what its path led to before they were.
    pub(super) fn of(path: &Path, database: FileId) -> io::Result<Self> {
        let log = File::options().read(true).write(true).open(log_path(path))?;
        let log_id = FileId::of(&log.metadata()?);
        let index_id = id(&index_path(path))?;
        Ok(Self { database, handle: handle(path)?, log: Arc::new(log), log_id, index_id })
    }

    /// Whether the database has no name any more, so that it is lost when it is closed.
    pub(super) fn is_nameless(&self) -> bool {
        let links = self.handle.as_ref().map(|handle| handle.metadata().map(|metadata| metadata.nlink()));
        !matches!(links, Some(Ok(1..)))
    }

    /// Whether another file has the name of the log.
    pub(super) fn is_log_replaced(&self, path: &Path) -> bool {
        self.log_id.away_from(&log_path(path)) == Some(crate::file_id::Away::Replaced)
    }

    /// Returns why a path does not lead to its file, if one does not.
    pub(super) fn away(&self, path: &Path) -> Option<Away> {
        let log = || {
            let away = self.log_id.away_from(&log_path(path));
            away.or_else(|| self.index_id.away_from(&index_path(path))).map(|_| Away::Log)
        };
        self.database.away_from(path).map(Away::Database).or_else(log)
    }
}

/// Returns what a path leads to.
pub(super) fn id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|metadata| FileId::of(&metadata))
}

/// Opens what a path leads to without the right to read it: to close this releases no lock that SQLite has.
#[cfg(target_os = "linux")]
fn handle(path: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::PATH.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path).map(Some)
}

#[cfg(not(target_os = "linux"))]
fn handle(_path: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

/// Returns the path of the log, as SQLite names it: links are followed first.
pub(super) fn log_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn index_path(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(end);
    name.into()
}
