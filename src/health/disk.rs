//! Room on the file systems that the server writes to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, statvfs};
use rustix::process::geteuid;

use super::cause::Cause;

/// Less room than this is none, in bytes: gdbm reserves so much at once.
const LEAST: u64 = 1 << 20;
/// Less room than this, and less than a twentieth of the file system, is little.
const LITTLE: u64 = 1 << 30;

/// A file that grows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GrowingFile {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    /// What this process can still write.
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// What the files of a server take, and what is left for them, as the last look has found it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct DiskUse {
    /// The size of a database in a file, with what belongs to it.
    pub(crate) database: Option<u64>,
    /// Each file with the room of its file system.
    pub(crate) rooms: Vec<(GrowingFile, Room)>,
}

/// Returns the size of a database and of the logs that SQLite keeps beside it, in bytes.
pub(super) fn database_size(path: &Path) -> Option<u64> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::metadata(name).map_or(0, |file| file.len())
    };
    Some(fs::metadata(path).ok()?.len() + beside("-wal"))
}

impl GrowingFile {
    /// Looks at the room of the file system.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub(crate) fn room(&self) -> io::Result<Room> {
        let folder = self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let found = statvfs(folder)?;
        Ok(Room { free: room(&found), total: found.f_blocks.saturating_mul(found.f_frsize) })
    }

    /// Returns what keeps the file from growing, or soon will.
    pub(super) fn cause(&self, room: &io::Result<Room>) -> Option<Cause> {
        let (what, path) = (self.what, self.path.clone());
        match room {
            Ok(Room { free, .. }) if *free < LEAST => Some(Cause::DiskFull { what, path, free: *free }),
            Ok(Room { free, total }) if *free < LITTLE && *free < total / 20 => {
                Some(Cause::DiskNearlyFull { what, path, free: *free, total: *total })
            }
            Ok(_) => None,
            Err(error) => Some(Cause::NoFolder { what, path, error: error.to_string() }),
        }
    }
}

/// Returns how many bytes this process can still write.
fn room(found: &StatVfs) -> u64 {
    // What is kept for root is root's to use.
    let blocks = if geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    blocks.saturating_mul(found.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_gone_is_a_trouble_and_one_with_room_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = GrowingFile { what: "the log", path: folder.path().join("pyzord.log") };
        assert_eq!(file.cause(&Ok(Room { free: 2 << 30, total: 1 << 50 })), None);
        assert!(file.room().is_ok());
        file.path = folder.path().join("gone/pyzord.log");
        let cause = file.cause(&file.room()).unwrap().to_string();
        assert!(cause.starts_with("the folder of the log /") && cause.contains("gone"), "{cause}");
        // A file system without blocks is always full.
        let full = StatVfs { f_bfree: 0, f_bavail: 0, ..statvfs(folder.path()).unwrap() };
        assert_eq!(room(&full), 0);
    }

    #[test]
    fn little_room_is_named_before_there_is_none() {
        let file = GrowingFile { what: "the database", path: "/data/pyzord.db".into() };
        for (free, total, name) in [
            (0, 1 << 40, Some("disk-full")),
            (LEAST - 1, 1 << 21, Some("disk-full")),
            (LITTLE - 1, 1 << 40, Some("disk-nearly-full")),
            (LITTLE, 1 << 50, None),
            (5 << 20, 100 << 20, None),
            ((5 << 20) - 1, 100 << 20, Some("disk-nearly-full")),
        ] {
            let cause = file.cause(&Ok(Room { free, total }));
            assert_eq!(cause.map(|cause| cause.name()), name, "{free} of {total}");
        }
    }
}
