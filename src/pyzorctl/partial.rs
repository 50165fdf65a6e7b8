//! A file that takes its name once it is whole and on the disk. Until then it is in a folder of its own beside that name.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::geteuid;
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::folder_owner;
use crate::output::complain;
use crate::write_access;

/// What the name of the folder ends with.
const SUFFIX: &str = ".partial";
/// What the names of files end with that SQLite keeps beside a database, and applies to it when it is opened.
const LOGS: [&str; 2] = ["-wal", "-journal"];

/// Why a file cannot be written.
#[derive(Debug, Error)]
pub(crate) enum PartialError {
    #[error("it exists already; --replace replaces it")]
    Exists,
    #[error("it is no regular file")]
    NotAFile,
    #[error("it has no name")]
    NoName,
    #[error(
        "{} is beside it, the log of a database that is open or was not closed, which would be applied to the new file: \
         name another file",
        .0.display()
    )]
    Log(PathBuf),
    #[error("{}: another pyzorctl is at work with it", .0.display())]
    Busy(PathBuf),
    #[error("{}: it is not of this user's pyzorctl; remove it", .0.display())]
    Foreign(PathBuf),
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// A file that is being written. Its folder is removed with it.
#[derive(Debug)]
pub(crate) struct PartialFile {
    target: PathBuf,
    replace: bool,
    folder: Folder,
    /// Whether a signal may end the process. Locked while the file gets its name.
    open: Arc<Mutex<bool>>,
}

impl PartialFile {
    /// Makes the folder for a file of this name. A folder that a killed process has left is emptied.
    pub(crate) fn create(target: &Path, replace: bool) -> Result<Self, PartialError> {
        let name = target.file_name().ok_or(PartialError::NoName)?;
        check_target(target, replace)?;
        let folder = Folder::create(with_suffix(target, SUFFIX), name.into())?;
        Ok(Self { target: target.to_owned(), replace, folder, open: Arc::new(Mutex::new(true)) })
    }

    /// Returns where the file is to be written.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.file()
    }

    /// Lets INT and TERM remove the file and end the process. Call it before any thread is started.
    pub(crate) fn end_on_signals(&self) -> io::Result<()> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block()?;
        let (open, path, name) = (self.open.clone(), self.folder.path.clone(), self.folder.name.clone());
        let wait = move || {
            let Ok(signal) = signals.wait() else { return };
            let open = lock(&open);
            if *open {
                // What cannot be removed is removed by the next run.
                let _ = empty(&path, &name).and_then(|()| fs::remove_dir(&path));
                complain!("pyzorctl: {signal} received; nothing was written");
                process::exit(1);
            }
        };
        thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
    }

    /// Writes the file to the disk and gives it its name. The file must be closed.
    pub(crate) fn finish(self) -> Result<(), PartialError> {
        let file = self.folder.file();
        sync(&file).map_err(|error| failed(&file, error))?;
        let mut open = lock(&self.open);
        check_target(&self.target, self.replace)?;
        let renamed = if self.replace {
            fs::rename(&file, &self.target)
        } else {
            // Unlike a rename, a link fails if the name is taken meanwhile.
            match fs::hard_link(&file, &self.target) {
                Ok(()) => fs::remove_file(&file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
                Err(_) => fs::rename(&file, &self.target),
            }
        };
        renamed.map_err(|error| failed(&self.target, error))?;
        *open = false;
        drop(open);
        folder_owner::give(Some("pyzorctl"), &self.target);
        let folder = write_access::folder(&self.target);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))
    }
}

/// Fails if the file may not be written.
fn check_target(target: &Path, replace: bool) -> Result<(), PartialError> {
    match target.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        Err(error) => return Err(failed(target, error)),
        Ok(found) if !found.is_file() => return Err(PartialError::NotAFile),
        Ok(_) if !replace => return Err(PartialError::Exists),
        Ok(_) => (),
    }
    let logs = LOGS.iter().map(|suffix| with_suffix(target, suffix));
    // SQLite leaves an empty one when a database is only read.
    let has_content = |log: &PathBuf| log.metadata().is_ok_and(|found| !found.is_file() || found.len() > 0);
    match logs.into_iter().find(has_content) {
        Some(log) => Err(PartialError::Log(log)),
        None => Ok(()),
    }
}

/// Writes a file and its mode to the disk.
fn sync(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_mode(0o600);
    file.set_permissions(permissions)?;
    file.sync_all()
}

/// A folder for one file, and for those that its library makes beside it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The name of the file.
    name: PathBuf,
    /// Open and locked: two processes at once would remove each other's files.
    _lock: File,
}

impl Folder {
    fn create(path: PathBuf, name: PathBuf) -> Result<Self, PartialError> {
        let created = match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(&path, error)),
        };
        let opened = open_folder(&path).map_err(|error| failed(&path, error))?;
        match opened.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(PartialError::Busy(path)),
            Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
        }
        if !created {
            let found = opened.metadata().map_err(|error| failed(&path, error))?;
            let is_ours = found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
            if !is_ours || empty(&path, &name).is_err() {
                return Err(PartialError::Foreign(path));
            }
        }
        Ok(Self { path, name, _lock: opened })
    }

    fn file(&self) -> PathBuf {
        self.path.join(&self.name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = empty(&self.path, &self.name).and_then(|()| fs::remove_dir(&self.path)) {
            complain!("pyzorctl: {} cannot be removed: {error}", self.path.display());
        }
    }
}

fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Removes the file, and those whose names begin as its name does.
fn empty(folder: &Path, name: &Path) -> io::Result<()> {
    let name = name.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(name) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

/// Returns a path with a text behind it.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn failed(path: &Path, error: io::Error) -> PartialError {
    PartialError::Io { path: path.to_owned(), error }
}

fn lock(open: &Mutex<bool>) -> MutexGuard<'_, bool> {
    // No code panics while it has the lock.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn create(target: &Path, replace: bool) -> Result<PartialFile, String> {
        PartialFile::create(target, replace).map_err(|error| error.to_string())
    }

    /// Returns the names in a folder, sorted.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("copy");
        let partial = create(&target, false).unwrap();
        fs::write(partial.path(), "one").unwrap();
        fs::write(partial.path().with_extension("db-journal"), "").unwrap();
        assert_eq!(names(home.path()), ["copy.partial"]);
        assert!(create(&target, false).unwrap_err().contains("another pyzorctl is at work"));
        partial.finish().unwrap();
        assert_eq!(names(home.path()), ["copy"]);
        assert_eq!(target.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(create(&target, false).unwrap_err().contains("--replace"));

        let partial = create(&target, true).unwrap();
        fs::write(partial.path(), "half").unwrap();
        drop(partial);
        assert_eq!(
            (names(home.path()), fs::read_to_string(&target).unwrap()),
            (vec!["copy".into()], "one".into())
        );
        let partial = create(&target, true).unwrap();
        fs::write(partial.path(), "two").unwrap();
        partial.finish().unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "two");
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("copy");
        let partial = create(&target, false).unwrap();
        fs::write(partial.path(), "mine").unwrap();
        fs::write(&target, "theirs").unwrap();
        assert!(matches!(partial.finish(), Err(PartialError::Exists)));
        assert_eq!(
            (names(home.path()), fs::read_to_string(&target).unwrap()),
            (vec!["copy".into()], "theirs".into())
        );
    }

    /// A log that is left from another database would be applied to the new one.
    #[test]
    fn logs_and_what_is_no_file_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for log in ["copy-wal", "copy-journal"] {
            fs::write(path(log), "").unwrap();
            drop(create(&path("copy"), true).unwrap());
            fs::write(path(log), "pages").unwrap();
            assert!(create(&path("copy"), true).unwrap_err().contains(log));
            fs::remove_file(path(log)).unwrap();
        }
        symlink("none", path("link")).unwrap();
        for (target, cause) in
            [("", "no regular file"), ("link", "no regular file"), ("none/x", "No such file")]
        {
            let error = create(&path(target), true).unwrap_err();
            assert!(error.contains(cause), "{target}: {error}");
        }
        assert!(create(Path::new(".."), true).unwrap_err().contains("no name"));
        assert_eq!(names(home.path()), ["link"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let (target, folder) = (home.path().join("copy"), home.path().join("copy.partial"));
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        fs::write(folder.join("copy-wal"), "half").unwrap();
        let partial = create(&target, false).unwrap();
        assert!(names(&folder).is_empty());
        drop(partial);
        for kind in ["file", "link", "mode", "other"] {
            match kind {
                "file" => fs::write(&folder, "mine").unwrap(),
                "link" => symlink("/tmp", &folder).unwrap(),
                "mode" => DirBuilder::new().mode(0o777).create(&folder).unwrap(),
                _ => DirBuilder::new().mode(0o700).create(&folder).unwrap(),
            }
            if kind == "other" {
                fs::write(folder.join("mine"), "").unwrap();
            }
            if kind == "mode" {
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
            }
            assert!(create(&target, false).is_err(), "{kind}");
            assert!(folder.symlink_metadata().is_ok(), "{kind}");
            let removed = fs::remove_file(&folder).or_else(|_| fs::remove_dir_all(&folder));
            removed.unwrap();
        }
    }
}
