//! Whether a file could be written, without opening it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// How many links lead from one name to another, as in the system.
const MOST_LINKS: usize = 40;

/// Fails if this process could not write the file, or create it if there is none. `coming` is a folder that may be
/// created before the file.
pub(crate) fn check(path: &Path, coming: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let target = target(path)?;
            let folder = folder(&target);
            // Whether it can be created is another question.
            if folder == coming && !coming.exists() { Ok(()) } else { check_folder(folder) }
        }
        Err(error) => Err(error),
    }
}

/// Fails if this process could not write a SQLite database and the files beside it, or create them. `coming` is a folder that
/// may be created before.
pub(crate) fn check_database(path: &Path, coming: &Path) -> io::Result<()> {
    check(path, coming)?;
    let target = target(path)?;
    for suffix in ["-wal", "-shm"] {
        let mut name = target.clone().into_os_string();
        name.push(suffix);
        check(name.as_ref(), coming)?;
    }
    Ok(())
}

/// Returns whether a start creates a database of this name. It treats an empty file as none.
pub(crate) fn is_absent(path: &Path) -> bool {
    match path.metadata() {
        Ok(file) => file.is_file() && file.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Fails if this process could not create a file in the folder.
pub(crate) fn check_folder(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Returns the folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the file that is created when this name is opened: links to nothing are followed.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&target) {
            Ok(next) => target = folder(&target).join(next),
            Err(_) => return Ok(target),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_and_folders_that_cannot_be_had_are_errors() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("file"), "").unwrap();
        for (link, to) in [("into", "none/file"), ("beside", "new"), ("loop", "loop")] {
            symlink(to, path(link)).unwrap();
        }
        let verdict = |name: &str| check(&path(name), &path("home")).map_err(|error| error.kind());
        for good in ["file", "new", "beside", "home/new"] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
        for (bad, kind) in [
            ("", io::ErrorKind::IsADirectory),
            ("none/file", io::ErrorKind::NotFound),
            ("into", io::ErrorKind::NotFound),
            ("file/new", io::ErrorKind::NotADirectory),
        ] {
            assert_eq!(verdict(bad), Err(kind), "{bad}");
        }
        assert!(verdict("loop").is_err());
        assert_eq!(check(Path::new("new-file"), Path::new("/none")).map_err(|error| error.kind()), Ok(()));
    }
}
