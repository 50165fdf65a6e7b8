//! Whether an open file still is the database that its path names.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why the path does not lead to the open file. What is stored into the file is lost when it is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Away {
    /// There is no file of that name: it was removed or renamed, or its folder was.
    #[error("its file was removed or renamed while pyzord had it open")]
    Removed,
    /// Another file has the name.
    #[error("its file was replaced by another one while pyzord had it open")]
    Replaced,
}

/// What identifies a file, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Returns why the path does not lead to this file, if it does not. A path that cannot be followed, as on a disk
    /// with errors, tells nothing.
    pub(super) fn away_from(self, path: &Path) -> Option<Away> {
        match fs::metadata(path) {
            Ok(metadata) => (Self::of(&metadata) != self).then_some(Away::Replaced),
            Err(error) if is_missing(&error) => Some(Away::Removed),
            Err(_) => None,
        }
    }
}

/// A file that was put in the database's place, as an upkeep saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Substitute {
    id: FileId,
    length: u64,
    modified: Option<SystemTime>,
}

impl Substitute {
    pub(super) fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let (id, length, modified) = (FileId::of(&metadata), metadata.len(), metadata.modified().ok());
        Some(Self { id, length, modified })
    }
}

/// Returns the name that an open file has now, if it has one and the system tells it.
pub(super) fn current_name(file: &File) -> Option<PathBuf> {
    let metadata = file.metadata().ok().filter(|metadata| metadata.nlink() > 0)?;
    let name = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let same = fs::metadata(&name).is_ok_and(|named| FileId::of(&named) == FileId::of(&metadata));
    same.then_some(name)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_followed_by_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link, elsewhere] = ["db", "link", "else"].map(|name| folder.path().join(name));
        fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let file = File::open(&path).unwrap();
        let id = FileId::of(&file.metadata().unwrap());
        let away = || [&path, &link].map(|path| id.away_from(path));
        assert_eq!(away(), [None, None]);
        fs::rename(&path, &elsewhere).unwrap();
        assert_eq!(away(), [Some(Away::Removed); 2]);
        assert_eq!(current_name(&file), Some(elsewhere.canonicalize().unwrap()));
        fs::write(&path, "").unwrap();
        assert_eq!(away(), [Some(Away::Replaced); 2]);
        fs::rename(&elsewhere, &path).unwrap();
        assert_eq!(away(), [None, None]);
        fs::remove_file(&path).unwrap();
        assert_eq!((away(), current_name(&file)), ([Some(Away::Removed); 2], None));
        assert_eq!(id.away_from(&path.join("below a file")), Some(Away::Removed));
    }
}
