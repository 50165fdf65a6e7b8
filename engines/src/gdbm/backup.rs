//! Backups and copies beside a database, and the files that may be one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::inspect;

/// How many bytes a copy reads at once.
const CHUNK: usize = 1 << 16;
/// The end of the name of a saved file.
const REMOVED: &str = ".removed";

/// A backup that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the backup {} cannot be made: {error}", path.display())]
pub struct BackupError {
    path: PathBuf,
    error: io::Error,
}

/// Gives the file a second name: the first free one of `.~1~`, `.~2~` and so on, or the one that it has from
/// an interrupted recovery.
pub(super) fn keep(path: &Path, file: &File) -> Result<PathBuf, BackupError> {
    let metadata = metadata(path, file)?;
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
            Err(error) => return Err(BackupError { path: backup, error }),
        }
    }
}

/// Saves an open file whose name is gone, under a name beside that path: `.removed`, or `.removed.2` and so on. The file
/// must not be written meanwhile.
pub(super) fn save_removed(path: &Path, file: &File) -> Result<PathBuf, BackupError> {
    let metadata = metadata(path, file)?;
    let mut number = 1_u64;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(REMOVED);
        if number > 1 {
            name.push(format!(".{number}"));
        }
        let saved = PathBuf::from(name);
        match copy(file, &metadata, &saved).and_then(|()| sync_directory(path)) {
            Ok(()) => return Ok(saved),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(BackupError { path: saved, error }),
        }
    }
}

fn metadata(path: &Path, file: &File) -> Result<fs::Metadata, BackupError> {
    file.metadata().map_err(|error| BackupError { path: path.to_owned(), error })
}

/// Copies the open file. Removes the copy if that fails.
fn copy(file: &File, metadata: &fs::Metadata, to: &Path) -> io::Result<()> {
    let mut copy = File::options().write(true).create_new(true).mode(metadata.mode() & 0o7777).open(to)?;
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

/// Returns the gdbm files beside a database that is missing, one of which may be it: a backup, a saved file, or what a
/// reorganization of libgdbm left.
pub(super) fn candidates(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let mut prefix = OsString::from(name);
    prefix.push(".");
    let parent = directory(path);
    let names: Vec<OsString> = match fs::read_dir(parent).and_then(|entries| entries.map(file_name).collect())
    {
        Ok(names) => names,
        Err(error) => {
            log::debug!("{}: cannot be searched for databases: {error}", parent.display());
            return Vec::new();
        }
    };
    let named =
        names.into_iter().filter(|name| name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()));
    let mut found: Vec<PathBuf> =
        named.map(|name| parent.join(name)).filter(|path| is_database(path)).collect();
    found.sort();
    found
}

/// Returns whether a file is one that libgdbm can open, as far as its header tells.
fn is_database(path: &Path) -> bool {
    let regular = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    regular && File::open(path).is_ok_and(|file| inspect::header(&file).is_ok())
}

/// Makes the names of new files durable: after a crash of the system, a folder that was not synced may have
/// the old ones.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// Removes a file that is not needed; one that stays is the operator's to remove.
pub(super) fn remove(path: &Path) {
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
}
