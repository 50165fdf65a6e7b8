//! Room on the file systems that the server writes to.

use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, statvfs};
use rustix::process::geteuid;

/// Less room than this is none, in bytes: gdbm reserves so much at once.
const LEAST: u64 = 1 << 20;

/// A file that grows.
#[derive(Clone, Debug)]
pub(crate) struct GrowingFile {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
}

impl GrowingFile {
    /// Returns why the file cannot grow, if it cannot.
    pub(super) fn trouble(&self) -> Option<String> {
        let path = self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Self { what, path: file } = self;
        match statvfs(path) {
            Ok(found) if room(&found) >= LEAST => None,
            Ok(found) => Some(format!(
                "the disk of {what} {} is full: {} KiB are free",
                file.display(),
                room(&found) / 1024
            )),
            Err(error) => {
                Some(format!("the folder of {what} {} cannot be looked at: {error}", file.display()))
            }
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
        assert_eq!(file.trouble(), None);
        file.path = folder.path().join("gone/pyzord.log");
        let trouble = file.trouble().unwrap();
        assert!(trouble.starts_with("the folder of the log /") && trouble.contains("gone"), "{trouble}");
        // A file system without blocks is always full.
        let full = StatVfs { f_bfree: 0, f_bavail: 0, ..statvfs(folder.path()).unwrap() };
        assert_eq!(room(&full), 0);
    }
}
