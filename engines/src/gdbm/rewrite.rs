//! Rewrites a file: a recovery, which keeps a backup of the old file, and a reorganization.
//!
//! libgdbm writes all records into a temporary file beside the database, syncs it, and renames it to the
//! database's name. libgdbm can make a backup by renaming the database first: a process that is killed
//! between the two leaves no file under the name, and the next start creates an empty database. So the backup
//! is made here, as a second name of the same file, and there is a whole file under the database's name at
//! every moment.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ffi::{Database, GdbmError, Salvage};

/// How many bytes a copy reads at once.
const CHUNK: usize = 1 << 16;

/// Why a file could not be rewritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// libgdbm failed; the file is unchanged.
    #[error(transparent)]
    Library(GdbmError),
    /// The backup cannot be made; nothing was changed without one.
    #[error("the backup {} cannot be made: {error}", path.display())]
    Backup {
        /// The name of the backup.
        path: PathBuf,
        /// Why it cannot be made.
        error: io::Error,
    },
    /// The system failed to read the file's metadata or to sync its folder; a new file that exists may be
    /// lost in a crash of the system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a recovery did.
#[derive(Debug)]
pub(super) struct Recovery {
    salvage: Salvage,
    /// The name of the old file; `None` if libgdbm found no damage and rewrote nothing.
    pub(super) backup: Option<PathBuf>,
}

impl Recovery {
    /// Logs what was recovered, for the operator.
    pub(super) fn log(&self, path: &Path) {
        let name = path.display();
        let Some(backup) = &self.backup else {
            return log::warn!("database {name}: nothing had to be recovered");
        };
        let backup = backup.display();
        let Salvage { keys, failed_keys, failed_buckets, duplicate_keys } = self.salvage;
        log::warn!(
            "database {name}: recovered {keys} records; lost {failed_keys} records, {failed_buckets} buckets of \
             records and {duplicate_keys} duplicates; the file as it was is {backup}"
        );
    }
}

/// Replaces the file by a new one with every key that can be read. Without `force`, does nothing if libgdbm
/// finds no damage.
///
/// `file` is the open database. It is borrowed: with a POSIX lock, closing any descriptor of the file
/// releases the lock.
pub(super) fn recover(
    database: &mut Database,
    path: &Path,
    file: &File,
    force: bool,
) -> Result<Recovery, RewriteError> {
    let backup = keep(path, file)?;
    let recovered = cleanly(path, || database.recover(force));
    let renewed = fs::metadata(path)?.ino() != file.metadata()?.ino();
    if renewed {
        sync_directory(path)?;
    } else {
        fs::remove_file(&backup)?;
    }
    let salvage = recovered.map_err(RewriteError::Library)?;
    Ok(Recovery { salvage, backup: renewed.then_some(backup) })
}

/// Replaces the file by a new one without the space that deleted keys left, if every key can be read.
pub(super) fn reorganize(database: &mut Database, path: &Path) -> Result<(), RewriteError> {
    cleanly(path, || database.reorganize()).map_err(RewriteError::Library)?;
    Ok(sync_directory(path)?)
}

/// Rewrites the file, and removes the temporary file if that fails, as on a full disk.
fn cleanly<T>(path: &Path, rewrite: impl FnOnce() -> Result<T, GdbmError>) -> Result<T, GdbmError> {
    let before = leftovers(path);
    let result = rewrite();
    if result.is_err() {
        // The database is locked, so a temporary file that appeared meanwhile is this process's.
        for leftover in leftovers(path).iter().filter(|leftover| !before.contains(leftover)) {
            remove(leftover);
        }
    }
    result
}

/// Gives the file a second name: the first free one of `.~1~`, `.~2~` and so on, or the one that it has from
/// an interrupted recovery.
fn keep(path: &Path, file: &File) -> Result<PathBuf, RewriteError> {
    let metadata = file.metadata()?;
    let same = |other: fs::Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
    let mut number = 1_u64;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".~{number}~"));
        let backup = PathBuf::from(name);
        if fs::symlink_metadata(&backup).is_ok_and(same) {
            return Ok(backup);
        }
        // File systems without hard links fail with different errors, so a copy is tried after any of them.
        let made = match fs::hard_link(path, &backup) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => copy(file, &metadata, &backup),
            linked => linked,
        };
        match made.and_then(|()| sync_directory(path)) {
            Ok(()) => return Ok(backup),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(RewriteError::Backup { path: backup, error }),
        }
    }
}

/// Copies the open file. Removes the copy if that fails.
fn copy(file: &File, metadata: &fs::Metadata, to: &Path) -> io::Result<()> {
    let mut copy = File::options().write(true).create_new(true).mode(metadata.mode()).open(to)?;
    let mut chunk = vec![0; CHUNK];
    let mut position = 0;
    let mut copied = || loop {
        let read = file.read_at(&mut chunk, position)?;
        match chunk.get(..read).filter(|read| !read.is_empty()) {
            Some(read) => copy.write_all(read)?,
            None => return copy.sync_all(),
        }
        position += read as u64;
    };
    copied().inspect_err(|_| remove(to))
}

/// Returns the files beside the database that are named as libgdbm names its temporary ones.
#[must_use]
pub fn leftovers(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let mut prefix = OsString::from(name);
    prefix.push(".");
    let parent = directory(path);
    let names: Vec<OsString> = match fs::read_dir(parent).and_then(|entries| entries.map(file_name).collect())
    {
        Ok(names) => names,
        Err(error) => {
            log::debug!("{}: cannot be searched for temporary files: {error}", parent.display());
            return Vec::new();
        }
    };
    let left = names.into_iter().filter(|name| {
        let suffix = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        suffix.is_some_and(|suffix| suffix.len() == 6 && suffix.iter().all(u8::is_ascii_alphanumeric))
    });
    left.map(|name| parent.join(name)).collect()
}

/// Makes the names of new files durable: after a crash of the system, a folder that was not synced may have
/// the old ones.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// Removes a file that is not needed; one that stays is the operator's to remove.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        log::warn!("{}: cannot be removed: {error}", path.display());
    }
}

fn file_name(entry: io::Result<fs::DirEntry>) -> io::Result<OsString> {
    entry.map(|entry| entry.file_name())
}

/// Returns the folder of a file.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;

    #[test]
    fn a_copy_is_the_same_and_never_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let [path, backup] = ["db", "backup"].map(|name| directory.path().join(name));
        let bytes: Vec<u8> = (0..3 * CHUNK + 1).map(|index| index.to_le_bytes()[0]).collect();
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        copy(&file, &file.metadata().unwrap(), &backup).unwrap();
        assert_eq!(fs::read(&backup).unwrap(), bytes);
        let again = copy(&file, &file.metadata().unwrap(), &backup).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&backup).unwrap(), bytes);
    }

    #[test]
    fn a_backup_gets_a_free_name_and_an_interrupted_one_its_own_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        fs::write(&path, "damaged").unwrap();
        fs::write(directory.path().join("db.~1~"), "older").unwrap();
        let file = File::open(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(keep(&path, &file).unwrap(), directory.path().join("db.~2~"));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_a_failed_rewrite_leaves_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let theirs = directory.path().join("db.backup");
        fs::write(&theirs, "").unwrap();
        drop(Database::open(&path, Access::Create, true).unwrap());
        let mut reader = Database::open(&path, Access::Read, true).unwrap();
        let failed = cleanly(&path, || {
            fs::write(directory.path().join("db.a1B2c3"), "").unwrap();
            reader.store(b"key", b"")
        });
        assert!(failed.is_err());
        assert_eq!(leftovers(&path), [theirs]);
    }
}
