//! A copy of a database, made while others use it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::connection;
use super::error::DatabaseError;
use super::store::Sqlite;
use super::table;

/// How many pages are copied at once: 1 MB.
const STEP: i32 = 1024;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is a file of that name.
    #[error("{} exists: name another file", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("{} cannot be written: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The database cannot be copied.
    #[error("{0}")]
    Copy(String),
}

impl Sqlite {
    /// Copies the database as it is at one moment to a file that does not exist yet, and writes it to the disk. Others use
    /// the database meanwhile.
    ///
    /// # Errors
    /// If it cannot be read, or the copy not written; then nothing is left of it.
    pub fn backup(&self, to: &Path) -> Result<(), BackupError> {
        let copied = self.database.read(&self.reader, |reader| Ok(copy(reader, to)));
        copied.unwrap_or_else(|error| Err(BackupError::Copy(self.database.failure(error).to_string())))
    }

    /// Returns what is wrong with the pages of the database: nothing if it is sound.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn check(&self) -> Result<Vec<String>, pyzord_core::StoreFailure> {
        let mut found = Vec::new();
        let checked = self.database.read(&self.reader, |reader| {
            let mut statement = reader.prepare("PRAGMA integrity_check(100)")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let text: String = row.get(0)?;
                found.extend(text.lines().map(str::to_owned));
            }
            Ok(())
        });
        found.retain(|line| line != "ok" && !line.starts_with("***"));
        match checked {
            Ok(()) => Ok(found),
            // Some damage ends the check.
            Err(DatabaseError::Damaged(error)) => {
                found.push(error.to_string());
                Ok(found)
            }
            Err(error) => Err(self.database.failure(error)),
        }
    }

    /// Returns the number of records that is kept, if one is, and the number that there are. It reads all of them.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn record_figures(&self) -> Result<(Option<u64>, u64), pyzord_core::StoreFailure> {
        let read = self.database.read(&self.reader, |reader| {
            let figures = connection::in_one_state(reader, |reader| {
                let counted: i64 = reader.query_row("SELECT count(*) FROM digests", [], |row| row.get(0))?;
                Ok((table::records(reader)?, counted.unsigned_abs()))
            });
            Ok(figures?)
        });
        read.map_err(|error| self.database.failure(error))
    }
}

/// Copies a database to a new file.
pub(super) fn copy(database: &Connection, to: &Path) -> Result<(), BackupError> {
    let failed = |cause| BackupError::Io { path: to.to_owned(), cause };
    if fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let temporary = with_suffix(to, ".part");
    // What an interrupted copy has left.
    remove(&temporary).map_err(failed)?;
    let made = copy_to(database, &temporary).and_then(|()| publish(&temporary, to).map_err(failed));
    if made.is_err() {
        remove(&temporary).unwrap_or_else(|error| log::debug!("a part of a copy is left: {error}"));
    }
    made
}

fn copy_to(database: &Connection, path: &Path) -> Result<(), BackupError> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| BackupError::Io { path: path.to_owned(), cause })?;
    let copied = || -> Result<(), DatabaseError> {
        let mut target = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // The state of one moment, however long it takes: else it begins anew at each commit of others.
        connection::in_one_state(database, |source| {
            let _: i64 = source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Backup::new(source, &mut target)?.run_to_completion(STEP, Duration::ZERO, None)
        })?;
        Ok(())
    };
    copied().map_err(|error| BackupError::Copy(error.to_string()))
}

/// Gives a whole copy its name.
fn publish(temporary: &Path, to: &Path) -> io::Result<()> {
    File::open(temporary)?.sync_all()?;
    // Unlike a rename, it replaces nothing.
    fs::hard_link(temporary, to)?;
    fs::remove_file(temporary)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns a path with something at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
