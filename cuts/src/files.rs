//! The files of a folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The content of each file of a folder, by its name.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Reads the regular files of a folder. It has no folders in it.
///
/// # Errors
/// If the folder or one of its files cannot be read.
pub fn read(folder: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.file_name().into(), fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// Writes files into a folder, as they are after the system has started again: all of them are older than that.
///
/// # Errors
/// If one of them cannot be written.
pub fn write(folder: &Path, files: &Files) -> io::Result<()> {
    for (name, content) in files {
        let path = folder.join(name);
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, content)?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))?;
    }
    Ok(())
}
