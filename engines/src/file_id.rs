//! What identifies an open file, whatever its name.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Why a path does not lead to the open file. What is stored into the file is lost when it is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[cfg_attr(not(feature = "gdbm"), expect(unreachable_pub, reason = "the gdbm engine publishes it"))]
pub enum Away {
    /// There is no file of that name: it was removed or renamed, or its folder was.
    #[error("its file was removed or renamed while pyzord had it open")]
    Removed,
    /// Another file has the name.
    #[error("its file was replaced by another one while pyzord had it open")]
    Replaced,
}

/// What identifies a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Returns why the path does not lead to this file, if it does not. A path that cannot be followed, as on a disk
    /// with errors, tells nothing.
    pub(crate) fn away_from(self, path: &Path) -> Option<Away> {
        match fs::metadata(path) {
            Ok(metadata) => (Self::of(&metadata) != self).then_some(Away::Replaced),
            Err(error) if is_missing(&error) => Some(Away::Removed),
            Err(_) => None,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
