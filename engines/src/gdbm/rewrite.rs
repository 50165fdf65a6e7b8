//! Rewrites a file: a recovery, which keeps a backup of the old file, and a reorganization.
//!
//! All records are stored into a new file beside the database, which is synced and then renamed to the database's
//! name. The backup is a second name of the old file, so there is a whole file under the database's name at every
//! moment. Each record is judged as a new one is: one that has no place in the new file does not make it grow without
//! limit.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::backup::{BackupError, keep, remove, sync_directory};
use super::ffi::{Database, GdbmError};
use super::inspect::{self, InspectError};
use super::mapping::Mapping;
use super::presence::Away;
use super::record_file::RecordFile;
use super::salvage::{self, Lost};
use super::write_error::WriteError;
use crate::access::Access;

/// Why a file could not be rewritten. The database is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// A record cannot be stored into the new file.
    #[error("the new file cannot be written: {0}")]
    Write(#[from] WriteError),
    /// libgdbm failed to create the new file.
    #[error("the new file cannot be created: {0}")]
    Create(GdbmError),
    /// The file has records or buckets that cannot be read, and only a recovery does without them.
    #[error("{records} records and {buckets} buckets of it cannot be read")]
    Unreadable {
        /// Records whose bucket can be read.
        records: u64,
        /// Buckets, each with many records.
        buckets: u64,
    },
    /// Its header cannot be read.
    #[error("it cannot be read: {0}")]
    Header(Box<dyn std::error::Error + Send + Sync>),
    /// Another file has the database's name, or none.
    #[error(transparent)]
    Away(#[from] Away),
    /// The backup cannot be made; nothing was changed without one.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The system failed to read the old file, or to sync or rename the new one; a new file that exists may be lost in
    /// a crash of the system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a recovery did.
#[derive(Debug)]
pub(super) struct Recovery {
    /// How many keys the new file has.
    keys: u64,
    /// How many of them no readable bucket led to.
    found: u64,
    /// How many were left out, as the new file has no place for them.
    refused: u64,
    lost: Lost,
    /// The name of the old file.
    backup: PathBuf,
}

impl Recovery {
    /// Logs what was recovered, for the operator.
    pub(super) fn log(&self, name: impl std::fmt::Display) {
        let Self { keys, found, refused, lost: Lost { slots, buckets }, backup } = self;
        log::warn!(
            "database {name}: recovered {keys} records, {found} of them from outside of readable buckets; {slots} \
             records and {buckets} buckets were unreadable, {refused} records had no place; how many records are lost \
             cannot be known, counts of the seconds before the crash may be, and records that have expired may be back until the next round of expiry; the file as it was is {}",
            backup.display()
        );
    }
}

/// Recovers a file that libgdbm gave up if it is damaged, and returns whether it was: after other failures, as that of a
/// full disk, libgdbm refuses every call, too. Then the file is only rewritten.
pub(super) fn repair(file: &mut RecordFile) -> Result<bool, RewriteError> {
    log::warn!(
        "database {}: libgdbm refuses to work with it; it is checked and, if damaged, recovered",
        file.name()
    );
    let header = inspect::header(&file.descriptor)?;
    if inspect::body(&file.descriptor, &header)?.is_some() {
        recover(file)?;
        return Ok(true);
    }
    match reorganized(file) {
        // The inspection reads no keys.
        Err(RewriteError::Unreadable { .. }) => {
            recover(file)?;
            return Ok(true);
        }
        rewritten => *file = rewritten?,
    }
    log::warn!("database {}: nothing had to be recovered", file.name());
    Ok(false)
}

/// Replaces a file by one with every record that can be found in it, and keeps a backup.
///
/// A record that has expired may come back, see [`salvage`].
pub(super) fn recover(file: &mut RecordFile) -> Result<(), RewriteError> {
    let (new, recovery) = recovered(file)?;
    *file = new;
    recovery.log(file.name());
    Ok(())
}

/// Replaces a file by one without the space that deleted keys left. Fails if a record cannot be read, or has no place in
/// the new file.
pub(super) fn reorganize(file: &mut RecordFile) -> Result<(), RewriteError> {
    *file = reorganized(file)?;
    log::info!("database {}: reorganized, to give the freed space back", file.name());
    Ok(())
}

/// Returns a new file with every record that can be found in the old one, under the old one's name.
fn recovered(old: &RecordFile) -> Result<(RecordFile, Recovery), RewriteError> {
    let header = inspect::header(&old.descriptor)?;
    let mut new = NewFile::create(old)?;
    let (mut refused, mut blank, file) = (0, 0, new.file_mut());
    let mut lost = salvage::by_directory(&old.descriptor, &header, |key, value| {
        // Kept, the value would make its digest unreadable for ever.
        if salvage::is_blank(key, value) {
            blank += 1;
            return Ok::<_, RewriteError>(());
        }
        match file.insert(key, value) {
            Err(WriteError::NoPlace) => refused += 1,
            stored => drop(stored?),
        }
        Ok(())
    })?;
    lost.slots += blank;
    let before = file.count;
    salvage::by_search(&old.descriptor, &header, |key, value| {
        match file.insert_newer(key, value) {
            Err(WriteError::NoPlace) => refused += 1,
            stored => drop(stored?),
        }
        Ok::<_, RewriteError>(())
    })?;
    let keys = file.count.unwrap_or_default();
    let found = keys - before.unwrap_or_default();
    let backup = keep(&new.target, &old.descriptor)?;
    let new = new.take_over(old).inspect_err(|_| remove(&backup))?;
    Ok((new, Recovery { keys, found, refused, lost, backup }))
}

/// Returns a new file with all records of the old one, under the old one's name.
fn reorganized(old: &RecordFile) -> Result<RecordFile, RewriteError> {
    let header = inspect::header(&old.descriptor)?;
    let mut new = NewFile::create(old)?;
    let file = new.file_mut();
    let lost = salvage::by_directory(&old.descriptor, &header, |key, value| {
        file.insert(key, value).map(drop).map_err(RewriteError::Write)
    })?;
    match lost {
        Lost { slots: 0, buckets: 0 } => new.take_over(old),
        Lost { slots, buckets } => Err(RewriteError::Unreadable { records: slots, buckets }),
    }
}

impl From<InspectError> for RewriteError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Io(error) => Self::Io(error),
            other => Self::Header(other.into()),
        }
    }
}

/// A file that is to take the place of another. Dropping it removes it.
struct NewFile {
    file: Option<RecordFile>,
    path: PathBuf,
    /// The file that the database's path leads to, through symbolic links.
    target: PathBuf,
    taken: bool,
}

impl NewFile {
    /// Creates an empty file beside the one that the database's path leads to.
    fn create(old: &RecordFile) -> Result<Self, RewriteError> {
        old.check_presence()?;
        let target = fs::canonicalize(old.path())?;
        let path = leftover(&target);
        // The old file is locked, so what has this name was left by a process that was killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => (),
        }
        // Not mapped: libgdbm maps a growing file again for each block.
        let database = Database::open(&path, Access::Create, false).map_err(RewriteError::Create)?;
        let mut new = Self { file: None, path, target, taken: false };
        let descriptor = database.file()?;
        new.file = Some(RecordFile::new(old.path().to_owned(), database, Mapping::Unmapped, descriptor, 0)?);
        Ok(new)
    }

    #[expect(clippy::expect_used, reason = "`create` puts the file there, and only `take_over` takes it")]
    fn file_mut(&mut self) -> &mut RecordFile {
        self.file.as_mut().expect("the new file is open")
    }

    /// Gives the file the owner, the mode and the name of the old one.
    fn take_over(mut self, old: &RecordFile) -> Result<RecordFile, RewriteError> {
        let file = self.file_mut();
        let (metadata, own) = (old.descriptor.metadata()?, file.descriptor.metadata()?);
        if (metadata.uid(), metadata.gid()) != (own.uid(), own.gid()) {
            fchown(&file.descriptor, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        file.descriptor.set_permissions(fs::Permissions::from_mode(metadata.mode()))?;
        file.sync_all()?;
        old.check_presence()?;
        fs::rename(&self.path, &self.target)?;
        self.taken = true;
        // The new file is in use from now on, whether its name is durable or not.
        if let Err(error) = sync_directory(&self.target) {
            log::error!(
                "{}: a crash of the system may bring the old file back: {error}",
                self.target.display()
            );
        }
        self.file.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.taken {
            remove(&self.path);
        }
    }
}

/// Returns the new file of a rewrite of this database that is under way, or was cut short.
#[must_use]
pub fn temporary_files(path: &Path) -> Vec<PathBuf> {
    let file = fs::canonicalize(path).map(|target| leftover(&target));
    file.into_iter().filter(|file| file.exists()).collect()
}

/// Returns the name that a rewrite gives to the new file; a process that is killed leaves it there.
pub(super) fn leftover(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".~rewrite~");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::super::backup::candidates;
    use super::super::open::open;
    use super::*;

    /// A copy that an operator had named so was taken for what a rewrite left, and removed when one failed.
    #[test]
    fn nothing_but_its_own_file_is_removed_when_a_rewrite_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let theirs = directory.path().join("db.backup");
        fs::write(&theirs, "").unwrap();
        let file = open(&path, Access::Create).unwrap();
        fs::write(leftover(&path), "left by a process that was killed").unwrap();
        let new = NewFile::create(&file).unwrap();
        assert!(new.path.exists() && new.path != theirs);
        drop(new);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert!(theirs.exists());
        assert_eq!(candidates(&path), [""; 0].map(PathBuf::from));
    }
}
