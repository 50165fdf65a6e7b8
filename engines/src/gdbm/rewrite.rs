//! Writing the file anew: a recovery, which keeps the file as it was, and a reorganization.
//!
//! libgdbm writes all records into a temporary file beside the database and, when that is on the disk, renames it to
//! the database's name. Its own backup would be a renaming before that one: a process killed between them would leave
//! nothing under the name, and the next start would take that for a new database. So the backup is made here, of a
//! second name for the same file, and at every moment there is a whole file under the database's name.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ffi::{Database, Fault, Salvage};

/// What a copy reads at once.
const CHUNK: usize = 1 << 16;

/// Why a file could not be written anew; it is as it was.
#[derive(Debug)]
pub(super) enum Failed {
    /// libgdbm gave up.
    Library(Fault),
    /// There is no backup, and without one nothing is touched.
    Backup(PathBuf, io::Error),
    /// The new file is there, but the system may not know it after a crash.
    Io(io::Error),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(fault) => fault.fmt(f),
            Self::Backup(path, error) => write!(f, "the backup {} cannot be made: {error}", path.display()),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes the file anew from every key that can be read; says what was saved, and the name of the file as it was.
/// Unless it is forced, a file in which libgdbm finds no fault is left alone: then there is no such name.
///
/// `file` is the open database. It is borrowed, since where the lock is a POSIX one, closing any descriptor gives it
/// up.
pub(super) fn recover(
    database: &mut Database,
    path: &Path,
    file: &File,
    force: bool,
) -> Result<(Salvage, Option<PathBuf>), Failed> {
    let backup = keep(path, file)?;
    let recovered = cleanly(path, || database.recover(force));
    let renewed = fs::metadata(path)?.ino() != file.metadata()?.ino();
    if renewed {
        sync_directory(path)?;
    } else {
        fs::remove_file(&backup)?;
    }
    Ok((recovered.map_err(Failed::Library)?, renewed.then_some(backup)))
}

/// Writes the file anew, without the space that deleted keys left, if every key can be read.
pub(super) fn reorganize(database: &mut Database, path: &Path) -> Result<(), Failed> {
    cleanly(path, || database.reorganize()).map_err(Failed::Library)?;
    Ok(sync_directory(path)?)
}

/// Does what may leave a temporary file when it fails, as on a full disk, and removes that.
fn cleanly<T>(path: &Path, rewrite: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let before = leftovers(path);
    let result = rewrite();
    if result.is_err() {
        // The database is locked, so a file that came meanwhile is libgdbm's.
        for leftover in leftovers(path).iter().filter(|leftover| !before.contains(leftover)) {
            if let Err(error) = fs::remove_file(leftover) {
                log::warn!("{}: cannot be removed: {error}", leftover.display());
            }
        }
    }
    result
}

/// Gives the file a second name, the first free one of `.~1~`, `.~2~` and so on. One that an interrupted recovery
/// gave it is used again.
fn keep(path: &Path, file: &File) -> Result<PathBuf, Failed> {
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
        // A file system without links has many words for it; what a link cannot, a copy may.
        let made = match fs::hard_link(path, &backup) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => copy(file, &metadata, &backup),
            linked => linked,
        };
        match made.and_then(|()| sync_directory(path)) {
            Ok(()) => return Ok(backup),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(Failed::Backup(backup, error)),
        }
    }
}

/// Copies the open file; whole or not at all, unless the process is killed.
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
    copied().inspect_err(|_| drop(fs::remove_file(to)))
}

/// Files beside the database that are named as libgdbm names its temporary ones.
pub(super) fn leftovers(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let mut prefix = OsString::from(name);
    prefix.push(".");
    let parent = directory(path);
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let left = names.filter(|name| {
        let suffix = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        suffix.is_some_and(|suffix| suffix.len() == 6 && suffix.iter().all(u8::is_ascii_alphanumeric))
    });
    left.map(|name| parent.join(name)).collect()
}

/// Makes the names of new files durable; without it a crash of the system could bring the old ones back.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

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
    fn what_a_failed_rewriting_leaves_is_removed_and_nothing_else() {
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
