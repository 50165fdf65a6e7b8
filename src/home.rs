//! The home directory: the names of files are relative to it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{User, getuid};
use thiserror::Error;

use crate::write_access;

/// The configuration directory, absolute.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

/// The home directory of a server that has no other one, and of the packages.
const SYSTEM: &str = "/etc/pyzor";
/// The configuration file in a home directory.
pub(crate) const CONFIG: &str = "config";

/// Why there is no home directory.
#[derive(Debug, Error)]
pub(crate) enum HomeError {
    /// The system does not tell the current directory, or the name is empty.
    #[error("home directory {}: {cause}", path.display())]
    Unresolved {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The directory does not exist and cannot be created.
    #[error("home directory {}: cannot create it: {cause}", path.display())]
    NotCreated {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Home {
    /// Returns the given directory, else `$HOME/.pyzor`, else `/etc/pyzor`.
    pub(crate) fn new(given: Option<&Path>) -> Result<Self, HomeError> {
        let path = given.map_or_else(default, Path::to_path_buf);
        match std::path::absolute(&path) {
            Ok(absolute) => Ok(Self(absolute)),
            Err(cause) => Err(HomeError::Unresolved { path, cause }),
        }
    }

    /// Returns the home directory of the server that a tool is to use: the given one; else that of [`new`](Self::new), or
    /// `/etc/pyzor` if only that has a configuration file. A server that a package has set up is asked, not one that the
    /// operator's own account does not have.
    pub(crate) fn for_tools(given: Option<&Path>) -> Result<Self, HomeError> {
        match given {
            Some(_) => Self::new(given),
            None => Self::new(Some(&with_config(default(), Path::new(SYSTEM)))),
        }
    }

    /// Creates the directory unless it exists. The process's umask makes it accessible to its owner alone.
    pub(crate) fn create(&self) -> Result<(), HomeError> {
        match fs::create_dir(&self.0) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists || !self.0.is_dir() => {
                Err(HomeError::NotCreated { path: self.0.clone(), cause })
            }
            _ => Ok(()),
        }
    }

    /// Fails where [`create`](Self::create) would, and creates nothing.
    pub(crate) fn check(&self) -> Result<(), HomeError> {
        if self.0.is_dir() {
            return Ok(());
        }
        let checked = match self.0.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => write_access::check_folder(write_access::folder(&self.0)),
        };
        checked.map_err(|cause| HomeError::NotCreated { path: self.0.clone(), cause })
    }

    /// Returns a file's absolute name: `~` and `~user` are home directories, and a relative name is in this directory.
    pub(crate) fn resolve(&self, name: &str) -> PathBuf {
        let expanded = expand_user(name).unwrap_or_else(|| PathBuf::from(name));
        self.0.join(expanded)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Returns `$HOME/.pyzor`, else `/etc/pyzor`.
fn default() -> PathBuf {
    env_home().map_or_else(|| PathBuf::from(SYSTEM), |home| home.join(".pyzor"))
}

/// Returns the other folder if only that has a configuration file.
fn with_config(folder: PathBuf, other: &Path) -> PathBuf {
    if !has_config(&folder) && has_config(other) { other.to_owned() } else { folder }
}

/// Whether there is a configuration file. One that the account may not see counts: the error names it, while a default
/// would answer for another server.
fn has_config(folder: &Path) -> bool {
    match folder.join(CONFIG).symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

fn env_home() -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// Expands `~` and `~user` as Python's `os.path.expanduser` does; `None` leaves the name as it is. The crate
/// shellexpand knows `~` alone.
fn expand_user(name: &str) -> Option<PathBuf> {
    let rest = name.strip_prefix('~')?;
    let (user, path) = rest.split_once('/').unwrap_or((rest, ""));
    // A user that the system does not know, or cannot look up, leaves the name as it is.
    let account_home = |found: nix::Result<Option<User>>| Some(found.ok()??.dir);
    let home = if user.is_empty() {
        env_home().or_else(|| account_home(User::from_uid(getuid())))
    } else {
        account_home(User::from_name(user))
    };
    Some(home?.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside a server of the package, `pyzorctl status` told of one in the operator's home directory.
    #[test]
    fn tools_take_the_folder_that_has_a_config() {
        let folder = tempfile::tempdir().unwrap();
        let [own, system] = ["own", "system"].map(|name| folder.path().join(name));
        let chosen = || with_config(own.clone(), &system);
        assert_eq!(chosen(), own);
        fs::create_dir(&own).unwrap();
        fs::create_dir(&system).unwrap();
        assert_eq!(chosen(), own);
        fs::write(system.join(CONFIG), "").unwrap();
        assert_eq!(chosen(), system);
        fs::write(own.join(CONFIG), "").unwrap();
        assert_eq!(chosen(), own);
        fs::remove_file(system.join(CONFIG)).unwrap();
        assert_eq!(chosen(), own);
        // A link to nothing is a file that an operator has put there.
        fs::remove_file(own.join(CONFIG)).unwrap();
        std::os::unix::fs::symlink("gone", system.join(CONFIG)).unwrap();
        assert_eq!(chosen(), system);
        assert_eq!(Home::for_tools(Some(&own)).unwrap().path(), own);
    }

    #[test]
    fn names_are_resolved_as_python_resolves_them() {
        let home = Home::new(Some(Path::new("/var/lib/pyzor"))).unwrap();
        let user = env_home().unwrap();
        for (name, expected) in [
            ("pyzord.db", PathBuf::from("/var/lib/pyzor/pyzord.db")),
            ("/tmp/x.db", PathBuf::from("/tmp/x.db")),
            ("~/x.db", user.join("x.db")),
            ("~root/x.db", PathBuf::from("/root/x.db")),
            ("~nobody-of-this-name/x", PathBuf::from("/var/lib/pyzor/~nobody-of-this-name/x")),
        ] {
            assert_eq!(home.resolve(name), expected);
        }
    }
}
