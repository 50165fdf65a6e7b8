//! Whether an open file still is the database that its path names.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use crate::file_id::Away;
pub(super) use crate::file_id::FileId;

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
